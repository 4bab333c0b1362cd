//! Environment variables: reading and changing them.

use std::collections::BTreeMap;

use convault_core::{EnvironmentChange, Secret};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::deployment::Deployment;
use crate::error::ClientError;

const QUERY: &str = "_system/cli/queryEnvironmentVariables";
const LIST: &str = "list_environment_variables";
const UPDATE: &str = "update_environment_variables";
/// Shorter values would also blot out ordinary words.
const MIN_SECRET_BYTES: usize = 4;

impl Deployment {
    /// All environment variables, as the system function has them. Needs `deployment:env:view`.
    pub async fn query_environment(&self) -> Result<BTreeMap<String, Secret>, ClientError> {
        let rows: Vec<Row> = self.query(QUERY, &serde_json::json!({})).await?;
        Ok(rows.into_iter().map(|row| (row.name, Secret::new(row.value))).collect())
    }

    /// All environment variables, as the route has them; servers that lack `/api/v1` are asked without it. Needs
    /// `deployment:env:view`.
    pub async fn list_environment(&self) -> Result<BTreeMap<String, Secret>, ClientError> {
        let list = async |segments: &[&str]| {
            let request = self.http.request(Method::GET, self.http.url(segments));
            self.http.json::<Listing>(LIST, request).await
        };
        let listing = match list(&["api", "v1", LIST]).await {
            Err(error) if error.status() == Some(404) => list(&["api", LIST]).await,
            answer => answer,
        }?;
        let variables = listing.environment_variables.into_iter();
        Ok(variables.map(|(name, value)| (name, Secret::new(value))).collect())
    }

    /// Makes all the changes in one transaction. Making them again changes nothing more. Needs `deployment:env:write`.
    pub async fn update_environment(&self, changes: &[EnvironmentChange]) -> Result<(), ClientError> {
        let change = |change: &EnvironmentChange| Change {
            name: change.name.clone(),
            value: change.value.as_ref().map(|value| value.expose().to_owned()),
        };
        let update = Update { changes: changes.iter().map(change).collect() };
        let request = self.http.request(Method::POST, self.http.url(&["api", UPDATE])).json(&update);
        let result = self.http.empty(UPDATE, request).await;
        result.map_err(|error| without_values(error, changes))
    }
}

/// What the server says of a value that it refuses may quote it.
fn without_values(error: ClientError, changes: &[EnvironmentChange]) -> ClientError {
    let ClientError::Api { call, status, code, mut message, retry_after } = error else { return error };
    let values = changes.iter().filter_map(|change| change.value.as_ref());
    for value in values.map(Secret::expose).filter(|value| value.len() >= MIN_SECRET_BYTES) {
        // The message is on one line by now, whatever the value looked like.
        let on_one_line = value.split_whitespace().collect::<Vec<_>>().join(" ");
        message = message.replace(value, "[redacted]");
        if on_one_line.len() >= MIN_SECRET_BYTES {
            message = message.replace(&on_one_line, "[redacted]");
        }
    }
    ClientError::Api { call, status, code, message, retry_after }
}

#[derive(Deserialize)]
struct Row {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listing {
    environment_variables: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Update {
    changes: Vec<Change>,
}

#[derive(Serialize)]
struct Change {
    name: String,
    value: Option<String>,
}

#[cfg(test)]
mod tests {
    use convault_core::{EnvironmentChange, Secret};

    use super::without_values;
    use crate::error::ClientError;

    #[test]
    fn a_refusal_does_not_quote_the_value_it_refuses() {
        let change =
            |value: &str| EnvironmentChange { name: "A".to_owned(), value: Some(Secret::new(value)) };
        let error = ClientError::Api {
            call: "x",
            status: 400,
            code: "AuthConfigError".to_owned(),
            message: "no hunter2 and no two words please".to_owned(),
            retry_after: None,
        };
        let said =
            without_values(error, &[change("hunter2"), change("two\nwords"), change("no")]).to_string();
        assert_eq!(said, "x: HTTP 400 AuthConfigError: no [redacted] and no [redacted] please");
    }
}
