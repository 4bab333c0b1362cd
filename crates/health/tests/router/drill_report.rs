//! The page about a drill.

use convault_core::{
    Comparison, DocumentFormat, DrillCheck, DrillFailure, DrillPhase, DrillProof, DrillRight, DrillSubject,
    DrillTarget, DrillTotals, DrilledTable, PhaseTime, RunId, ScratchKind, Sha256, TableNames, TableRef,
    TargetIdentity,
};
use convault_health::{drill_report_html, drill_report_text};

fn proof(passed: bool) -> DrillProof {
    let run = RunId::parse("20261122T030056Z-700000").unwrap();
    let at = |text: &str| text.parse().unwrap();
    let table = TableRef::new("", "<b>contacts</b>");
    let failure = DrillFailure::of_table(DrillSubject::Content, &table, "documents came back changed");
    DrillProof {
        format: 1,
        kind: "drill".to_owned(),
        run: run.clone(),
        repository: run.clone(),
        drill: "weekly".parse().unwrap(),
        deployment: "crm".parse().unwrap(),
        destination: "offsite".parse().unwrap(),
        snapshot: run,
        manifest_sha256: Sha256::of(b"manifest"),
        snapshot_time: at("2026-11-22T01:00:00Z"),
        started: at("2026-11-22T03:00:00Z"),
        finished: at("2026-11-22T03:01:00Z"),
        passed,
        target: DrillTarget {
            kind: ScratchKind::Platform,
            right: DrillRight::Made,
            identity: TargetIdentity {
                instance: "<script>alert(1)</script>".to_owned(),
                number: None,
                deployment_type: None,
                url: "https://x.example".to_owned(),
                server_version: "\u{1b}[31m".to_owned(),
            },
        },
        phases: vec![PhaseTime { phase: DrillPhase::Import, seconds: 41.0 }],
        restore_seconds: Some(75.0),
        data_age_seconds: 7200.0,
        erasure: 3,
        documents: DocumentFormat::Legacy,
        comparison: Comparison::Values,
        totals: DrillTotals { tables: 1, documents: 12_345, ..DrillTotals::default() },
        table_names: TableNames::Plain,
        names_key: None,
        tables: vec![DrilledTable {
            component: String::new(),
            table: "<b>contacts</b>".to_owned(),
            sent: 12_345,
            counted: Some(12_344),
            same: Some(passed),
            changed_by_rule: true,
        }],
        components: Vec::new(),
        checks: vec![DrillCheck {
            subject: DrillSubject::Content,
            number: None,
            says: None,
            compared: 2,
            failed: u64::from(!passed),
        }],
        failures: if passed { Vec::new() } else { vec![failure] },
        failures_unlisted: 0,
        read_bytes: 1 << 20,
        notes: Vec::new(),
        convault_version: "1.2.3".to_owned(),
    }
}

#[test]
fn the_page_of_a_drill_has_no_script_and_lets_nothing_in() {
    let page = drill_report_html(&proof(false), "s3://b/<i>", None);
    assert!(!page.contains("<script") && !page.contains("<b>contacts") && !page.contains("<i>"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("Not passed"), "{page}");
    assert!(!page.contains("http-equiv=\"refresh\"") && !page.contains("src=") && !page.contains("href="));
}

#[test]
fn both_pages_say_how_long_it_took_and_how_old_the_data_was() {
    let text = drill_report_text(&proof(true), "s3://b/proof", Some("1F2E3D4C5B6A7988"));
    for words in [
        "Passed",
        "1 min",
        "2 h",
        "12\u{2009}345",
        "entries 1 to 3",
        "old format",
        "s3://b/proof",
        "key 1F2E3D4C5B6A7988",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "a terminal must not be told anything");
    let page = drill_report_html(&proof(true), "s3://b/proof", Some("1F2E3D4C5B6A7988"));
    assert!(page.contains("1 min") && page.contains("2 h") && page.contains("Passed"));
}

#[test]
fn both_pages_say_what_was_not_covered_and_what_is_to_be_known() {
    let proof = DrillProof { notes: vec!["2 stored files were left out".to_owned()], ..proof(true) };
    for page in
        [drill_report_html(&proof, "s3://b/proof", None), drill_report_text(&proof, "s3://b/proof", None)]
    {
        for words in ["Not covered: environment variables", "2 stored files were left out.", "nobody"] {
            assert!(page.contains(words), "{words}: {page}");
        }
    }
}
