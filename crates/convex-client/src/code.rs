//! Deployed code and configuration, as the server has them.

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use reqwest::Method;
use serde_json::value::RawValue;

use crate::deployment::{Deployment, body};
use crate::error::ClientError;
use crate::scheduled::OfComponent;

impl Deployment {
    /// Every component, the root included, as the dashboard lists them. Needs `deployment:data:view`.
    pub async fn component_list(&self) -> Result<Box<RawValue>, ClientError> {
        self.query_text("_system/frontend/components:list", &serde_json::json!({})).await
    }

    /// The functions, HTTP routes and crons of each module of one component, without source. Needs
    /// `deployment:data:view`.
    pub async fn functions(&self, component: Option<&str>) -> Result<Box<RawValue>, ClientError> {
        self.query_text("_system/frontend/modules:list", &OfComponent { component_id: component }).await
    }

    /// The schemas of one component: `{active?, inProgress?}`, each a JSON text within a string. Needs
    /// `deployment:data:view`.
    pub async fn schemas(&self, component: Option<&str>) -> Result<Box<RawValue>, ClientError> {
        self.query_text("_system/frontend/getSchemas", &OfComponent { component_id: component }).await
    }

    /// The indexes of one component. Needs `deployment:data:view`.
    pub async fn indexes(&self, component: Option<&str>) -> Result<Box<RawValue>, ClientError> {
        let mut url = self.http.url(&["api", "get_indexes"]);
        if let Some(component) = component {
            // The published description of the API spells it one way, the server the other.
            url.query_pairs_mut()
                .append_pair("componentId", component)
                .append_pair("component_id", component);
        }
        self.http.json("get_indexes", self.http.request(Method::GET, url)).await
    }

    /// The authentication providers that tokens are accepted from. Needs `deployment:data:view`.
    pub async fn auth_providers(&self) -> Result<Box<RawValue>, ClientError> {
        self.query_text("_system/frontend/listAuthProviders", &serde_json::json!({})).await
    }

    /// The version of the npm package `convex` that pushed last. Needs `deployment:data:view`.
    pub async fn pushed_with(&self) -> Result<Box<RawValue>, ClientError> {
        self.query_text("_system/frontend/getVersion", &serde_json::json!({})).await
    }

    /// Where clients and HTTP actions reach the deployment. Needs `deployment:data:view`.
    pub async fn canonical_urls(&self) -> Result<Box<RawValue>, ClientError> {
        let url = self.http.url(&["api", "v1", "get_canonical_urls"]);
        self.http.json("get_canonical_urls", self.http.request(Method::GET, url)).await
    }

    /// The hash of each module of the root component, and its configuration. Needs `deployment:deploy`.
    pub async fn config_hashes(&self) -> Result<Box<RawValue>, ClientError> {
        let request = self.http.request(Method::POST, self.http.url(&["api", "get_config_hashes"]));
        self.http.json("get_config_hashes", request.json(&self.admin_key())).await
    }

    /// Begins to fetch the configuration of the root component and its bundled modules with their source maps: one
    /// JSON object, as long as the code is. Needs `deployment:deploy`.
    pub async fn config(&self) -> Result<BoxStream<'static, Result<Bytes, ClientError>>, ClientError> {
        let request = self.http.request(Method::POST, self.http.url(&["api", "get_config"]));
        let response = self.http.headers("get_config", request.json(&self.admin_key())).await?;
        Ok(body(self.http.clone(), "get_config", response).boxed())
    }

    /// These two routes look for the key in the body only.
    fn admin_key(&self) -> serde_json::Value {
        serde_json::json!({ "adminKey": self.http.key().expose().trim() })
    }
}
