//! Scheduled functions and crons, as their rows are: each number as the server wrote it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::deployment::Deployment;
use crate::error::ClientError;
use crate::value::decode_bytes;

const ARGUMENTS: &str = "_system/frontend/scheduler:getArgs";
/// Rows of one page; the server ends a page sooner where they are large.
const ROWS: u32 = 1_000;

/// A page of rows, each the JSON text that the server sent.
#[derive(Debug)]
pub struct RowPage {
    /// Its rows; a page before the last may have none.
    pub rows: Vec<Box<RawValue>>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<String>,
}

impl Deployment {
    /// A page of the scheduled functions of one component (`None`: of the root) that are pending or running, the next
    /// due first. Needs `deployment:data:view`.
    pub async fn scheduled_functions(
        &self,
        component: Option<&str>,
        cursor: Option<&str>,
    ) -> Result<RowPage, ClientError> {
        let arguments =
            PageOf { component_id: component, pagination_opts: Pagination { cursor, num_items: ROWS } };
        let page: Page = self.query("_system/frontend/paginatedScheduledJobs", &arguments).await?;
        Ok(RowPage { rows: page.rows, next: (!page.is_done).then_some(page.continue_cursor) })
    }

    /// The arguments of a scheduled function that are kept apart from its row because they are large: UTF-8 JSON, a
    /// list in `convex_encoded_json`; `None` where there are none of this id. Needs `deployment:data:view`.
    pub async fn scheduled_arguments(
        &self,
        component: Option<&str>,
        id: &str,
    ) -> Result<Option<Vec<u8>>, ClientError> {
        let arguments = serde_json::json!({ "argsId": id, "componentId": component });
        let found: Option<KeptArguments> = self.query(ARGUMENTS, &arguments).await?;
        let not_bytes = || self.http.not_convex(ARGUMENTS, "the arguments are not bytes");
        found.map(|found| decode_bytes(&found.args).ok_or_else(not_bytes)).transpose()
    }

    /// The crons of one component (`None`: of the root), with their last and next runs. Needs `deployment:data:view`.
    pub async fn crons(&self, component: Option<&str>) -> Result<Vec<Box<RawValue>>, ClientError> {
        self.query("_system/frontend/listCronJobs", &OfComponent { component_id: component }).await
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OfComponent<'a> {
    pub(crate) component_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageOf<'a> {
    component_id: Option<&'a str>,
    pagination_opts: Pagination<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pagination<'a> {
    cursor: Option<&'a str>,
    num_items: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(rename = "page")]
    rows: Vec<Box<RawValue>>,
    is_done: bool,
    #[serde(default)]
    continue_cursor: String,
}

#[derive(Deserialize)]
struct KeptArguments {
    args: Box<RawValue>,
}
