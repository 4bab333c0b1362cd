//! Writing a set of variables: for programs, for tools that read dotenv files, and for noticing changes.

use std::collections::BTreeMap;

use convault_core::{Collect, EntryDetails, Secret, Sha256Stream, SurroundingError};

use super::dotenv;

/// Writes an entry that is small and at hand.
pub(crate) async fn put(taker: &mut dyn Collect, path: &str, bytes: &[u8]) -> Result<(), SurroundingError> {
    taker.begin(path, EntryDetails::default()).await?;
    taker.write(bytes).await
}

/// Writes `variables.env` and `variables.json` below `folder` (empty, or with a `/` at its end), and says each value
/// as `folder` and its name.
pub(crate) async fn put_variables(
    taker: &mut dyn Collect,
    folder: &str,
    variables: &BTreeMap<String, Secret>,
) -> Result<(), SurroundingError> {
    let exposed = || variables.iter().map(|(name, value)| (name.as_str(), value.expose()));
    put(taker, &format!("{folder}variables.env"), dotenv::file(exposed()).as_bytes()).await?;
    let json: BTreeMap<&str, &str> = exposed().collect();
    put(taker, &format!("{folder}variables.json"), &pretty(&json)).await?;
    for (name, value) in variables {
        taker.value(&format!("{folder}{name}"), value).await?;
    }
    Ok(())
}

/// Says the digest of an entry's content as its value: what is noticed is that it changed; the content may be too long to
/// be held, or no text.
pub(crate) async fn put_digest(
    taker: &mut dyn Collect,
    entry: &str,
    digest: Sha256Stream,
) -> Result<(), SurroundingError> {
    taker.value(entry, &Secret::new(digest.finish().to_string())).await
}

/// JSON for people: indented, with a line feed at its end.
pub(crate) fn pretty(value: &impl serde::Serialize) -> Vec<u8> {
    let mut json = serde_json::to_vec_pretty(value).expect("texts and numbers are always JSON");
    json.push(b'\n');
    json
}
