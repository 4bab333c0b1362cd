//! Writing a set of variables: for programs, for tools that read dotenv files, and for noticing changes.

use std::collections::BTreeMap;

use convault_core::{Collect, EntryDetails, Secret, SurroundingError};

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

/// JSON for people: indented, with a line feed at its end.
pub(crate) fn pretty(value: &impl serde::Serialize) -> Vec<u8> {
    let mut json = serde_json::to_vec_pretty(value).expect("texts and numbers are always JSON");
    json.push(b'\n');
    json
}
