//! Tables, and how many documents and stored files there are.

use std::collections::BTreeMap;

use convault_core::ComponentContents;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::deployment::{Answer, Deployment};
use crate::error::ClientError;
use crate::scheduled::OfComponent;

const TABLES: &str = "_system/cli/tables";
const MAPPING: &str = "_system/frontend/getTableMapping";
const TABLE_SIZE: &str = "_system/frontend/tableSize";
const FILE_COUNT: &str = "_system/frontend/fileStorageV2:numFiles";
const BATCH: &str = "query_batch";
const ROWS: u32 = 10_000;
/// A mapping of tables has no more than this many, whatever there is (protocol §10).
const MAX_MAPPED: usize = 1_000;

/// One call of a batch: a system function and its arguments.
#[derive(Debug, Clone)]
pub struct BatchedQuery {
    /// Its path, like `_system/frontend/tableSize`.
    pub function: &'static str,
    /// Its arguments, an object.
    pub arguments: Value,
}

impl Deployment {
    /// The names of the user tables of one component (`None`: of the root), empty ones too. `None` is given where a
    /// component has more tables than the server lists. Needs `deployment:data:view`.
    pub async fn table_names(&self, component: Option<&str>) -> Result<Option<Vec<String>>, ClientError> {
        match component {
            None => self.root_table_names().await.map(Some),
            Some(component) => {
                let arguments = OfComponent { component_id: Some(component) };
                let mapping: BTreeMap<String, String> = self.query(MAPPING, &arguments).await?;
                if mapping.len() >= MAX_MAPPED {
                    return Ok(None);
                }
                Ok(Some(mapping.into_values().filter(|name| !name.starts_with('_')).collect()))
            }
        }
    }

    async fn root_table_names(&self) -> Result<Vec<String>, ClientError> {
        let mut names = Vec::new();
        let mut cursor = None;
        loop {
            let arguments = json!({ "paginationOpts": { "cursor": cursor, "numItems": ROWS } });
            let page: Page = self.query(TABLES, &arguments).await?;
            names.extend(page.names.into_iter().map(|row| row.name));
            if page.is_done {
                return Ok(names);
            }
            if cursor.as_ref() == Some(&page.continue_cursor) {
                return Err(self.http.not_convex(TABLES, "its pages have no end"));
            }
            cursor = Some(page.continue_cursor);
        }
    }

    /// How many documents `tables` have and how many stored files there are in one component (`None`: in the root),
    /// all at one moment. Exact. Needs `deployment:data:view`. May fail for a while after the server's start:
    /// [`ClientError::is_still_counting`].
    pub async fn counts(
        &self,
        component: Option<&str>,
        tables: &[String],
    ) -> Result<ComponentContents, ClientError> {
        let size = |table: &String| BatchedQuery {
            function: TABLE_SIZE,
            arguments: json!({ "componentId": component, "tableName": table }),
        };
        let mut queries: Vec<BatchedQuery> = tables.iter().map(size).collect();
        queries.push(BatchedQuery { function: FILE_COUNT, arguments: json!({ "componentId": component }) });
        let answers = self.query_batch(&queries).await?;
        let mut counts = Vec::with_capacity(answers.len());
        for answer in &answers {
            let count = serde_json::from_str(answer.get()).ok().and_then(whole);
            counts.push(count.ok_or_else(|| self.http.not_convex(BATCH, "a count is not a number"))?);
        }
        let files = counts.pop().unwrap_or_default();
        Ok(ComponentContents { tables: tables.iter().cloned().zip(counts).collect(), files })
    }

    /// Runs several system functions, which all see the same data, and gives their results in order, in the encoding
    /// `convex_encoded_json`. The first failure inside a function is the whole batch's.
    pub async fn query_batch(&self, queries: &[BatchedQuery]) -> Result<Vec<Box<RawValue>>, ClientError> {
        #[derive(Serialize)]
        struct One<'a> {
            path: &'static str,
            format: &'static str,
            args: &'a Value,
        }
        #[derive(Serialize)]
        struct Batch<'a> {
            queries: Vec<One<'a>>,
        }
        #[derive(Deserialize)]
        struct Results {
            results: Vec<Answer>,
        }
        fn one(query: &BatchedQuery) -> One<'_> {
            One { path: query.function, format: "convex_encoded_json", args: &query.arguments }
        }
        let batch = Batch { queries: queries.iter().map(one).collect() };
        let request = self.http.request(Method::POST, self.http.url(&["api", BATCH])).json(&batch);
        let answers: Results = self.http.json(BATCH, request).await?;
        if answers.results.len() != queries.len() {
            return Err(self.http.not_convex(BATCH, "it has another number of results than was asked for"));
        }
        let calls = queries.iter().map(|query| query.function);
        calls.zip(answers.results).map(|(call, answer)| self.result(call, answer)).collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(rename = "page")]
    names: Vec<Name>,
    is_done: bool,
    #[serde(default)]
    continue_cursor: String,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

/// A count, which functions answer as a Float64.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a whole number in range")]
pub(crate) fn whole(number: f64) -> Option<u64> {
    let is_whole = number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number);
    is_whole.then_some(number as u64)
}
