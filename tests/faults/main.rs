//! A whole backup, from a simulated deployment into a destination, under every fault that the simulator can show:
//! each ends in success after a retry or in a named error with a remedy, and never in a snapshot that counts as good
//! where the data is not whole.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod contents;
#[cfg(test)]
mod download;
#[cfg(test)]
mod export;
#[cfg(test)]
#[path = "../../crates/jobs/tests/support/job.rs"]
mod job;
#[cfg(test)]
mod key;
#[cfg(test)]
mod s3;
#[cfg(test)]
mod shared;

#[cfg(test)]
mod completeness {
    use convault_simulator::{Fault, FaultKind, s3::S3Fault};

    /// The sources of the tests of a deployment's faults.
    const DEPLOYMENT: &str = concat!(
        include_str!("contents.rs"),
        include_str!("download.rs"),
        include_str!("export.rs"),
        include_str!("key.rs"),
        include_str!("shared.rs"),
    );

    /// Faults of deployments that are written to and of the platform that makes them, which no backup can meet; the tests of the simulator and of the
    /// restorer show what they do.
    const OF_TARGETS: [FaultKind; 16] = [
        FaultKind::ImportStaysUploaded,
        FaultKind::ImportFails,
        FaultKind::UploadPart503,
        FaultKind::FinishUploadLostAnswer,
        FaultKind::ImportLosesTable,
        FaultKind::ImportLosesFile,
        FaultKind::ImportChangesNumber,
        FaultKind::ImportDropsSchema,
        FaultKind::ImportRefusesRow,
        FaultKind::ImportAsOldFormat,
        FaultKind::CountsUnavailable,
        FaultKind::FunctionFails,
        FaultKind::CreateDeployment500,
        FaultKind::CreateDeploymentLostAnswer,
        FaultKind::CreateDeployKeyLostAnswer,
        FaultKind::DeleteDeployment500,
    ];

    #[test]
    #[expect(clippy::print_stdout, reason = "the figure of `tests/shows/main-job-faults`")]
    fn every_fault_there_is_has_its_test() {
        let of_backups = Fault::all().iter().filter(|fault| !OF_TARGETS.contains(&fault.kind));
        let names: Vec<String> =
            of_backups
                .map(|fault| (fault.name, format!("FaultKind::{:?}", fault.kind), DEPLOYMENT))
                .chain(S3Fault::all().iter().map(|fault| {
                    (fault.name, format!("S3FaultKind::{:?}", fault.kind), include_str!("s3.rs"))
                }))
                .map(|(name, kind, tests)| {
                    assert!(is_named(tests, &kind), "no test shows `{name}`");
                    name.to_owned()
                })
                .collect();
        println!("figure: {} faults, {} named outcomes", names.len(), names.len());
    }

    /// Whether a test names this kind, and not only one whose name is longer.
    fn is_named(tests: &str, kind: &str) -> bool {
        tests.match_indices(kind).any(|(at, _)| {
            let before = tests[..at].chars().next_back();
            let after = tests[at + kind.len()..].chars().next();
            !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
        })
    }
}
