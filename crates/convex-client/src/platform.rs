//! The service that knows where a deployment is.

use convault_core::Secret;
use reqwest::{Method, Url};

use crate::error::ClientError;
use crate::http::{ConnectionSettings, Http};

/// Where Convex's own platform answers.
pub const DEFAULT_PROVISION_URL: &str = "https://api.convex.dev";

/// The platform's API, as far as a deploy key may use it.
#[derive(Debug, Clone)]
pub struct Platform {
    http: Http,
    key: Secret,
}

impl Platform {
    /// Prepares to talk to the platform at `url` with `key`. Nothing is sent.
    pub fn new(url: Url, key: &Secret, settings: &ConnectionSettings) -> Result<Self, ClientError> {
        Ok(Self { http: Http::new(url, "Bearer", key, settings)?, key: Secret::new(key.expose().trim()) })
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
}
