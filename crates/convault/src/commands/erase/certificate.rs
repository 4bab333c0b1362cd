//! Certificates of erasure: made, and checked.

use std::{
    ffi::OsString,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use convault_core::{DestinationName, Layout};
use convault_jobs::{
    Destination, RunContext,
    erasure::{
        CheckedCopy, LedgerKeys, RewrittenSnapshot, SealedCertificate, certify, check_certificate,
        seal_certificate,
    },
};
use convault_settings::Settings;
use serde_json::json;

use super::Bench;
use crate::{
    commands::{Surroundings, erasures},
    exit::Exit,
    print, wiring,
    worker::VERSION,
};

/// A certificate names every stored snapshot.
const LARGEST_CERTIFICATE_BYTES: u64 = 256 << 20;

/// Looks at what is stored, and writes the certificate.
pub(super) async fn make(
    bench: &Bench<'_>,
    file: &Path,
    rewritten: &[(DestinationName, RewrittenSnapshot)],
) -> anyhow::Result<()> {
    let names = bench.keys.names.as_ref().ok_or(convault_jobs::JobError::NoNamesKey)?;
    let context = bench.context();
    let limits = erasures::limits(bench.settings);
    let certificate =
        certify(&bench.deployment, &bench.destinations, rewritten, &bench.keys, limits, VERSION, &context)
            .await?;
    bench.progress.clear();
    let trust = wiring::trust_of(bench.settings)?;
    let SealedCertificate { json, text, signature } = seal_certificate(&certificate, names, &trust);
    write(file, &json)?;
    write(&beside(file, ".txt"), text.as_bytes())?;
    if let Some(signature) = &signature {
        write(&beside(file, Layout::SIGNATURE_SUFFIX), signature.as_bytes())?;
    }
    let signed = if signature.is_some() { "signed" } else { "not signed, since the settings name no key" };
    print::note(&format!(
        "certificate: {} ({} snapshot(s), {} place(s) where erased data remains; {signed})",
        file.display(),
        certificate.copies.len(),
        certificate.remaining.len()
    ));
    Ok(())
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// One that is there already is left alone.
fn write(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o644).open(file);
    let written = made.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.with_context(|| format!("cannot write {}", file.display()))
}

/// Checks a certificate against what is stored.
pub(super) async fn verify(
    surroundings: &Surroundings,
    settings: &Settings,
    file: &Path,
    destinations: &[Destination],
    keys: &LedgerKeys,
    context: &RunContext,
) -> anyhow::Result<Exit> {
    let json = read(file)?.with_context(|| format!("there is no {}", file.display()))?;
    let signature = read(&beside(file, Layout::SIGNATURE_SUFFIX))?;
    let trust = wiring::trust_of(settings)?;
    let limits = erasures::limits(settings);
    let check =
        check_certificate(&json, signature.as_deref(), destinations, &trust, keys, limits, context).await?;
    let number = |state: CheckedCopy| check.copies.iter().filter(|(_, _, copy)| *copy == state).count();
    let (clean, gone, held_back) =
        (number(CheckedCopy::Clean), number(CheckedCopy::Gone), number(CheckedCopy::HeldBack));
    if surroundings.json {
        print::json(&json!({
            "file": file,
            "deployment": check.certificate.deployment,
            "signed": check.signed,
            "clean": clean,
            "gone": gone,
            "held_back": held_back,
            "remaining": check.certificate.remaining.len(),
            "newer_entries": check.newer_entries,
        }));
        return Ok(Exit::Done);
    }
    let signed = if check.signed { "signed by a trusted key" } else { "not signed; its keyed hash is right" };
    print::line(&format!("{}: it holds ({signed})", file.display()));
    print::line(&format!(
        "{clean} snapshot(s) were looked through and have nothing of what is erased; {gone} are gone since; {held_back} held \
         erased data when it was made"
    ));
    for one in &check.certificate.remaining {
        let what = one.snapshot.as_ref().map_or(String::new(), |id| format!(" {id}"));
        let until = one.until.map(|until| format!(", until {}", print::time(until))).unwrap_or_default();
        print::line(&format!("still stored then: {}{what}: {}{until}", one.destination, one.why));
    }
    if check.newer_entries > 0 {
        print::line(&format!(
            "the ledger has {} newer entries, which it does not speak of",
            check.newer_entries
        ));
    }
    Ok(Exit::Done)
}

fn read(file: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let read = std::fs::File::open(file).and_then(|file| {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(file, LARGEST_CERTIFICATE_BYTES), &mut bytes)?;
        Ok(bytes)
    });
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}
