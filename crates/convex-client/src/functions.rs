//! Running functions that are not queries of the system: those of the deployment's own code, and what changes files.

use reqwest::Method;
use serde_json::json;
use serde_json::value::RawValue;

use crate::deployment::{Answer, Deployment};
use crate::error::ClientError;
use crate::tables::BatchedQuery;

const FUNCTION: &str = "function";
const GET_FILE: &str = "_system/frontend/fileStorageV2:getFile";
const DELETE_FILES: &str = "_system/frontend/fileStorageV2:deleteFiles";

impl Deployment {
    /// Runs a function of the deployment's own code, public or internal, `dir/file:name`, with `arguments` (JSON, an
    /// object), and gives its result in the encoding `convex_encoded_json`. A failure inside it is
    /// [`ClientError::Function`].
    pub async fn run_function(
        &self,
        function: &str,
        arguments: &RawValue,
    ) -> Result<Box<RawValue>, ClientError> {
        let body = json!({ "path": function, "format": "convex_encoded_json", "args": arguments });
        let request = self.http.request(Method::POST, self.http.url(&["api", FUNCTION])).json(&body);
        let answer: Answer = self.http.json(FUNCTION, request).await?;
        self.result(FUNCTION, answer)
    }

    /// Those of `ids` that are stored files of a component (`None`: of the root). Needs `deployment:data:view`.
    pub async fn stored_among(
        &self,
        component: Option<&str>,
        ids: &[String],
    ) -> Result<Vec<String>, ClientError> {
        let query = |id: &String| BatchedQuery {
            function: GET_FILE,
            arguments: json!({ "componentId": component, "storageId": id }),
        };
        let queries: Vec<BatchedQuery> = ids.iter().map(query).collect();
        let found = self.query_batch(&queries).await?;
        let stored = ids.iter().zip(found).filter(|(_, row)| row.get() != "null");
        Ok(stored.map(|(id, _)| id.clone()).collect())
    }

    /// Deletes stored files of a component (`None`: of the root) in one transaction. One that is not there fails all.
    /// Needs `deployment:data:write`.
    pub async fn delete_files(&self, component: Option<&str>, ids: &[String]) -> Result<(), ClientError> {
        let body = json!({
            "path": DELETE_FILES,
            "format": "convex_encoded_json",
            "args": { "componentId": component, "storageIds": ids },
        });
        let request = self.http.request(Method::POST, self.http.url(&["api", "mutation"])).json(&body);
        let answer: Answer = self.http.json(DELETE_FILES, request).await?;
        self.result(DELETE_FILES, answer).map(drop)
    }
}
