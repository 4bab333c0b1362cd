//! Making and deleting deployments of a project, over the platform's management API (protocol §12).

use convault_core::Secret;
use jiff::Timestamp;
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::ClientError;
use crate::platform::{Pagination, Platform};

const CREATE: &str = "create_deployment";
const LIST: &str = "list_deployments";
const DELETE: &str = "delete deployment";
const CREATE_KEY: &str = "create_deploy_key";
const DELETE_KEY: &str = "delete_deploy_key";

/// A deployment in the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudDeployment {
    /// Its name, like `happy-animal-123`.
    pub name: String,
    /// Where it is reached.
    pub url: Url,
    /// What it was made with to be found by.
    pub reference: Option<String>,
    /// `dev`, `prod`, `preview` or `custom`.
    pub deployment_type: String,
    /// Whether it is its project's default one.
    pub is_default: bool,
}

/// A page of a project's deployments.
#[derive(Debug, Clone)]
pub struct DeploymentPage {
    /// Its deployments.
    pub deployments: Vec<CloudDeployment>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<String>,
}

impl Platform {
    /// Makes a deployment of type `dev` that is not its project's default one. `reference` has 3 to 100 of `a-z`,
    /// `0-9`, `-` and `/`; `expires` is 30 minutes ahead at least. Asking twice may make two.
    pub async fn create_deployment(
        &self,
        project: u64,
        reference: &str,
        expires: Timestamp,
    ) -> Result<CloudDeployment, ClientError> {
        let body = json!({
            "type": "dev",
            "reference": reference,
            "isDefault": false,
            "expiresAt": expires.as_millisecond(),
        });
        let url = self.http.url(&["v1", "projects", &project.to_string(), CREATE]);
        let row: Row = self.http.json(CREATE, self.http.request(Method::POST, url).json(&body)).await?;
        row.cloud().ok_or_else(|| self.http.not_convex(CREATE, "it is not a deployment in the cloud"))
    }

    /// A page of the deployments of a project, those on somebody's own machine left out.
    pub async fn list_deployments(
        &self,
        project: u64,
        cursor: Option<&str>,
    ) -> Result<DeploymentPage, ClientError> {
        let mut url = self.http.url(&["v1", "projects", &project.to_string(), LIST]);
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("cursor", cursor);
        }
        let listing: Listing = self.http.json(LIST, self.http.request(Method::GET, url)).await?;
        let (rows, next) = match listing {
            Listing::All(rows) => (rows, None),
            Listing::Page { items, pagination } => {
                (items, pagination.next_cursor.filter(|_| pagination.has_more))
            }
        };
        Ok(DeploymentPage { deployments: rows.into_iter().filter_map(Row::cloud).collect(), next })
    }

    /// Deletes a deployment with all its data and files.
    pub async fn delete_deployment(&self, name: &str) -> Result<(), ClientError> {
        let url = self.http.url(&["v1", "deployments", name, "delete"]);
        self.http.empty(DELETE, self.http.request(Method::POST, url)).await
    }

    /// Makes a deploy key that may do `actions`, like `deployment:backups:import`, and nothing else, until `expires`,
    /// 30 minutes ahead at least. It is shown this once. Asking twice makes two.
    pub async fn create_deploy_key(
        &self,
        deployment: &str,
        key_name: &str,
        actions: &[&str],
        expires: Timestamp,
    ) -> Result<Secret, ClientError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct NewKey<'a> {
            name: &'a str,
            allowed_actions: &'a [&'a str],
            expires_at: i64,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Made {
            deploy_key: String,
        }
        let body = NewKey { name: key_name, allowed_actions: actions, expires_at: expires.as_millisecond() };
        let url = self.http.url(&["v1", "deployments", deployment, CREATE_KEY]);
        let made: Made = self.http.json(CREATE_KEY, self.http.request(Method::POST, url).json(&body)).await?;
        Ok(Secret::new(made.deploy_key))
    }

    /// Revokes a deploy key by its name.
    pub async fn delete_deploy_key(&self, deployment: &str, key_name: &str) -> Result<(), ClientError> {
        let url = self.http.url(&["v1", "deployments", deployment, DELETE_KEY]);
        let request = self.http.request(Method::POST, url).json(&json!({ "id": key_name }));
        self.http.empty(DELETE_KEY, request).await
    }
}

/// The platform's other listings come in pages, so this one may as well.
#[derive(Deserialize)]
#[serde(untagged)]
enum Listing {
    All(Vec<Row>),
    Page {
        items: Vec<Row>,
        #[serde(default)]
        pagination: Pagination,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(default)]
    kind: Option<String>,
    name: String,
    #[serde(default)]
    deployment_url: Option<String>,
    #[serde(default)]
    reference: Option<String>,
    #[serde(default)]
    deployment_type: String,
    #[serde(default)]
    is_default: bool,
}

impl Row {
    /// Deployments on somebody's own machine are listed too, with other fields.
    fn cloud(self) -> Option<CloudDeployment> {
        if self.kind.is_some_and(|kind| kind != "cloud") {
            return None;
        }
        Some(CloudDeployment {
            name: self.name,
            url: Url::parse(&self.deployment_url?).ok()?,
            reference: self.reference,
            deployment_type: self.deployment_type,
            is_default: self.is_default,
        })
    }
}
