//! `[[mask]]`: values that nobody needs to read in a copy; and the tables of a deployment that act by themselves.

use convault_core::{DeploymentName, FieldPath, Mask, MaskWith, TableRef};

use crate::{
    names::Names,
    reading::{Reading, Refusal},
    section::{Plain, Section},
};

/// One `[[mask]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskSettings {
    /// The deployment whose copies are masked.
    pub deployment: DeploymentName,
    /// What is masked, and how.
    pub mask: Mask,
}

/// What an import cannot do without.
const NEVER_MASKED: [&str; 2] = ["_id", "_creationTime"];

pub(crate) fn read(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
    deployments: &Names<DeploymentName>,
) -> Option<MaskSettings> {
    let deployment = section.parsed(reading, "deployment", |_, text, _| deployments.refer(text));
    let table = section.parsed(reading, "table", |_, text, _| user_table(text));
    let field = section.parsed(reading, "field", |_, text, _| field(text));
    let with = read_with(section, reading);
    Some(MaskSettings { deployment: deployment?, mask: Mask { table: table?, field: field?, with: with? } })
}

fn read_with(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<MaskWith> {
    Some(match section.word_or_table(reading, "with")? {
        Ok("email") => MaskWith::Email,
        Ok("null") => MaskWith::Null,
        Ok(_) => MaskWith::Hash,
        Err(table) => match table.plain(reading, "fixed")? {
            Plain::Text(text) => MaskWith::text(&text),
            Plain::Other(json) => MaskWith::Fixed(json),
        },
    })
}

/// A table of the deployment's own: those of the backend begin with `_`.
pub(crate) fn user_table(text: &str) -> Result<TableRef, Refusal> {
    let expected = || Refusal::expected("a table such as \"contacts\" or \"component/contacts\"");
    let table: TableRef = text.parse().map_err(|_| expected())?;
    if table.table.starts_with('_') { Err(expected()) } else { Ok(table) }
}

fn field(text: &str) -> Result<FieldPath, Refusal> {
    let field: FieldPath = text.parse().map_err(|_| {
        Refusal::expected("a field such as \"email\", or \"address.street\" for one inside another")
    })?;
    if field.names().next().is_some_and(|first| NEVER_MASKED.contains(&first)) {
        let expected = "another field: an import and the order of documents go by `_id` and `_creationTime`";
        return Err(Refusal::expected(expected));
    }
    Ok(field)
}
