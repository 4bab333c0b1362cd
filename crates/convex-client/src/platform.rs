//! The service that knows where a deployment is.

use convault_core::Secret;
use reqwest::{Method, Url};
use serde::Deserialize;

use crate::error::ClientError;
use crate::http::{ConnectionSettings, Http, Service};

/// Where Convex's own platform answers.
pub const DEFAULT_PROVISION_URL: &str = "https://api.convex.dev";

/// A default environment variable of a project.
#[derive(Debug, Clone)]
pub struct DefaultVariable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Secret,
    /// The types of new deployments that get it: `dev`, `prod`, `preview`, `custom`.
    pub deployment_types: Vec<String>,
}

/// A page of default environment variables.
#[derive(Debug, Clone)]
pub struct DefaultsPage {
    /// Its variables.
    pub variables: Vec<DefaultVariable>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<String>,
}

/// The platform's API: where a deploy key belongs, and, with an access token in its place, what is set for a project.
#[derive(Debug, Clone)]
pub struct Platform {
    pub(crate) http: Http,
    key: Secret,
}

impl Platform {
    /// Prepares to talk to the platform at `url` with `key`. Nothing is sent.
    pub fn new(url: Url, key: &Secret, settings: &ConnectionSettings) -> Result<Self, ClientError> {
        Ok(Self {
            http: Http::new(url, Service::Platform, key, settings)?,
            key: Secret::new(key.expose().trim()),
        })
    }

    /// Where the deployment of the key is reached. Cloud deploy keys only; the address cannot be derived from the
    /// key, because of regions and custom domains (protocol §1.4).
    pub async fn url_for_key(&self) -> Result<Url, ClientError> {
        let body = serde_json::json!({ "deployKey": self.key.expose() });
        let request =
            self.http.request(Method::POST, self.http.url(&["api", "deployment", "url_for_key"])).json(&body);
        let text: String = self.http.json("url_for_key", request).await?;
        Url::parse(&text).map_err(|_| self.http.not_convex("url_for_key", "it is not an address"))
    }

    /// A page of the default environment variables of a project, by its number. Needs an access token.
    pub async fn project_defaults(
        &self,
        project: u64,
        cursor: Option<&str>,
    ) -> Result<DefaultsPage, ClientError> {
        let call = "list_default_environment_variables";
        let mut url = self.http.url(&["v1", "projects", &project.to_string(), call]);
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("cursor", cursor);
        }
        let page: Page = self.http.json(call, self.http.request(Method::GET, url)).await?;
        let next = page.pagination.next_cursor.filter(|_| page.pagination.has_more);
        if page.pagination.has_more && next.is_none() {
            return Err(self.http.not_convex(call, "there is more of it, but not where"));
        }
        Ok(DefaultsPage { variables: page.items.into_iter().map(DefaultVariable::from).collect(), next })
    }
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Item>,
    #[serde(default)]
    pagination: Pagination,
}

/// What the platform says after a page of a listing.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Pagination {
    pub(crate) has_more: bool,
    pub(crate) next_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    name: String,
    value: String,
    #[serde(default)]
    deployment_types: Vec<String>,
}

impl From<Item> for DefaultVariable {
    fn from(item: Item) -> Self {
        Self { name: item.name, value: Secret::new(item.value), deployment_types: item.deployment_types }
    }
}
