//! Pending scheduled functions and crons.

use std::collections::BTreeMap;

use async_trait::async_trait;
use convault_convex_client::{ComponentRow, Deployment, decode_bytes};
use convault_core::{
    Collect, EntryDetails, NotCovered, Surrounding, SurroundingError, SurroundingErrorKind, SurroundingKind,
    SurroundingName,
};
use serde_json::value::RawValue;

use super::component::{folder, id};
use super::errors::Errors;
use crate::backoff::retrying;
use crate::settings::DeploymentSettings;

/// The scheduled functions that are pending or running (`pending.jsonl`) and the crons (`crons.jsonl`) of each
/// component: one line for each, with the fields of its row, and the arguments decoded in `args`. Those of a component
/// are below `_components/<name>/`, as in an export.
#[derive(Debug)]
pub struct ScheduledFunctions {
    settings: DeploymentSettings,
    errors: Errors,
}

/// A row, or an object within it, with each value as the server wrote it.
type Fields = BTreeMap<String, Box<RawValue>>;

impl ScheduledFunctions {
    /// Those of the deployment that `settings` reach, called `name`. Nothing is sent.
    pub fn new(name: SurroundingName, settings: DeploymentSettings) -> Self {
        Self { settings, errors: Errors::new(name) }
    }

    async fn pending(
        &self,
        deployment: &Deployment,
        component: &ComponentRow,
        taker: &mut dyn Collect,
    ) -> Result<(), SurroundingError> {
        let undone = "cannot read the scheduled functions";
        taker.begin(&format!("{}pending.jsonl", folder(component)), EntryDetails::default()).await?;
        let mut cursor: Option<String> = None;
        loop {
            let page = retrying(&self.settings.retry, || {
                deployment.scheduled_functions(id(component), cursor.as_deref())
            });
            let page = page.await.map_err(|error| self.errors.failed(undone, error))?;
            for row in page.rows {
                let line = self.line(deployment, component, &row).await?;
                taker.write(line.as_bytes()).await?;
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// One scheduled function, its arguments decoded wherever they are kept.
    async fn line(
        &self,
        deployment: &Deployment,
        component: &ComponentRow,
        row: &RawValue,
    ) -> Result<String, SurroundingError> {
        let mut fields = self.fields(row)?;
        let arguments = match fields.get("argsId").and_then(|args_id| text(args_id)) {
            Some(args_id) => {
                let kept = retrying(&self.settings.retry, || {
                    deployment.scheduled_arguments(id(component), &args_id)
                });
                // It may have run since the page was read, and its arguments be gone with it.
                kept.await.map_err(|error| self.errors.failed("cannot read large arguments", error))?
            }
            None => fields.get("udfArgs").and_then(|encoded| decode_bytes(encoded)),
        };
        decode(&mut fields, arguments);
        Ok(as_line(&fields))
    }

    async fn crons(
        &self,
        deployment: &Deployment,
        component: &ComponentRow,
        taker: &mut dyn Collect,
    ) -> Result<(), SurroundingError> {
        let crons = retrying(&self.settings.retry, || deployment.crons(id(component))).await;
        let crons = crons.map_err(|error| self.errors.failed("cannot read the crons", error))?;
        taker.begin(&format!("{}crons.jsonl", folder(component)), EntryDetails::default()).await?;
        for row in crons {
            let mut fields = self.fields(&row)?;
            if let Some(spec) = fields.get("cronSpec") {
                let mut spec = self.fields(spec)?;
                let arguments = spec.get("udfArgs").and_then(|encoded| decode_bytes(encoded));
                decode(&mut spec, arguments);
                fields.insert("cronSpec".to_owned(), self.raw(as_object(&spec))?);
            }
            taker.write(as_line(&fields).as_bytes()).await?;
        }
        Ok(())
    }

    fn fields(&self, row: &RawValue) -> Result<Fields, SurroundingError> {
        serde_json::from_str(row.get()).map_err(|_| self.odd())
    }

    fn raw(&self, json: String) -> Result<Box<RawValue>, SurroundingError> {
        RawValue::from_string(json).map_err(|_| self.odd())
    }

    fn odd(&self) -> SurroundingError {
        let message = "a row is not that of a scheduled function or cron; check the server's version";
        self.errors.error(SurroundingErrorKind::Other, message)
    }
}

#[async_trait]
impl Surrounding for ScheduledFunctions {
    fn name(&self) -> &SurroundingName {
        self.errors.surrounding()
    }

    fn kind(&self) -> SurroundingKind {
        SurroundingKind::State
    }

    fn is_required(&self) -> bool {
        false
    }

    async fn collect(&self, taker: &mut dyn Collect) -> Result<Vec<NotCovered>, SurroundingError> {
        let deployment = self.errors.connected(&self.settings).await?;
        let components = retrying(&self.settings.retry, || deployment.components()).await;
        let components =
            components.map_err(|error| self.errors.failed("cannot list the components", error))?;
        for component in &components {
            self.pending(&deployment, component, taker).await?;
            self.crons(&deployment, component, taker).await?;
        }
        Ok(Vec::new())
    }
}

/// Puts decoded arguments in the place of `udfArgs`. What is no JSON stays as it came.
fn decode(fields: &mut Fields, arguments: Option<Vec<u8>>) {
    let json = arguments.and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some(arguments) = json.and_then(|json| RawValue::from_string(json).ok()) {
        fields.remove("udfArgs");
        fields.insert("args".to_owned(), arguments);
    }
}

fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

fn as_object(fields: &Fields) -> String {
    serde_json::to_string(fields).expect("texts and JSON are always JSON")
}

/// Line feeds can only be between the tokens of what the server sent, where they mean nothing.
fn as_line(fields: &Fields) -> String {
    format!("{}\n", as_object(fields).replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use super::{Fields, as_line, decode};

    #[test]
    fn arguments_are_decoded_with_every_number_as_it_came() {
        let row = r#"{"_id":"k1","nextTs":{"$integer":"BQAAAAAAAAA="},"udfArgs":{"$bytes":"x"},"n":1.50e3}"#;
        let mut fields: Fields = serde_json::from_str(row).unwrap();
        decode(&mut fields, Some(b"[{\"a\":1.0,\n\"b\":1e400}]".to_vec()));
        assert_eq!(
            as_line(&fields),
            "{\"_id\":\"k1\",\"args\":[{\"a\":1.0, \"b\":1e400}],\"n\":1.50e3,\"nextTs\":{\"$integer\":\"BQAAAAAAAAA=\"}}\n"
        );
    }

    #[test]
    fn arguments_that_are_no_json_stay_as_they_came() {
        for arguments in [None, Some(b"\xff".to_vec()), Some(b"[".to_vec())] {
            let mut fields: Fields = serde_json::from_str(r#"{"udfArgs":{"$bytes":"Ww=="}}"#).unwrap();
            decode(&mut fields, arguments);
            assert_eq!(as_line(&fields), "{\"udfArgs\":{\"$bytes\":\"Ww==\"}}\n");
        }
    }
}
