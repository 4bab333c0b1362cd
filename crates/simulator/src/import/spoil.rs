//! The faults of a target that says that all went well, and of one that refuses what an older one took.

use super::apply::{Application, Place, shown};
use super::failure::ImportFailure;
use crate::database::Table;
use crate::faults::{FaultKind, FaultSet};
use crate::value::{Document, Value};

/// A whole number that every double can have.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// Fails as a schema fails it that one document does not match: the middle one of the largest table.
pub(crate) fn refuse_row(application: &Application, faults: &FaultSet) -> Result<(), ImportFailure> {
    if !faults.is_on(FaultKind::ImportRefusesRow) {
        return Ok(());
    }
    let Some(((_, name), table)) = largest(application) else { return Ok(()) };
    let Some(document) = table.documents.values().nth(table.documents.len() / 2) else { return Ok(()) };
    Err(ImportFailure::hit(format!(
        "Failed to insert or update a document in table \"{name}\" because it does not match the schema: Object is \
         missing the required field `addedLater`. Consider wrapping the field validator in `v.optional(...)` if this \
         is expected.\n\nObject: {}\nValidator: v.object({{addedLater: v.string()}})",
        shown(&document)
    )))
}

/// Loses or changes what the faults that are on say.
pub(crate) fn lose(application: &mut Application, faults: &FaultSet) {
    let Some(place) = largest(application).map(|(place, _)| place.clone()) else { return };
    if faults.is_on(FaultKind::ImportDropsSchema)
        && let Some(table) = application.tables.get_mut(&place)
    {
        table.has_marker = false;
    }
    if faults.is_on(FaultKind::ImportChangesNumber) {
        change_number(application);
    }
    if faults.is_on(FaultKind::ImportLosesTable) {
        application.tables.remove(&place);
    }
    if faults.is_on(FaultKind::ImportLosesFile) {
        let mut files = application.files.values_mut();
        if let Some(files) = files.find(|files| !files.is_empty()) {
            files.pop_last();
        }
    }
}

fn largest(application: &Application) -> Option<(&Place, &Table)> {
    application.tables.iter().max_by_key(|(_, table)| table.documents.len())
}

/// Turns the first integer there is into a float, else the first float that is a whole number into an integer.
fn change_number(application: &mut Application) {
    let integer = |value: &Value| match value {
        #[expect(clippy::cast_precision_loss, reason = "a change is what is wanted")]
        Value::Int64(number) => Some(Value::Float64(*number as f64)),
        _ => None,
    };
    let float = |value: &Value| match value {
        #[expect(clippy::cast_possible_truncation, reason = "it is a whole number in range")]
        Value::Float64(number) if number.fract() == 0.0 && number.abs() < WHOLE => {
            Some(Value::Int64(*number as i64))
        }
        _ => None,
    };
    if !change_one(application, &integer) {
        change_one(application, &float);
    }
}

fn change_one(application: &mut Application, change: &dyn Fn(&Value) -> Option<Value>) -> bool {
    for table in application.tables.values_mut() {
        let mut documents = table.documents.iter();
        let changed =
            documents.find_map(|(internal, document)| Some((*internal, changed(document, change)?)));
        drop(documents);
        if let Some((internal, document)) = changed {
            table.documents.insert(internal, &document);
            return true;
        }
    }
    false
}

fn changed(mut document: Document, change: &dyn Fn(&Value) -> Option<Value>) -> Option<Document> {
    let own = document.iter_mut().filter(|(name, _)| !name.starts_with('_'));
    let (value, other) = own.into_iter().find_map(|(_, value)| change(value).map(|other| (value, other)))?;
    *value = other;
    Some(document)
}
