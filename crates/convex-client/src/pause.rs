//! Whether a deployment serves its users.

use reqwest::Method;
use serde::Deserialize;

use crate::deployment::Deployment;
use crate::error::ClientError;

const STATE: &str = "_system/frontend/backendState:backendState";
const PAUSE: &str = "pause_deployment";
const UNPAUSE: &str = "unpause_deployment";

/// Where the deployment at `url` is asked to serve its users again, for a person who does it by hand.
pub fn unpause_url(url: &str) -> String {
    format!("{}/api/v1/{UNPAUSE}", url.trim_end_matches('/'))
}

impl Deployment {
    /// Whether somebody paused it. Needs a key and no permission.
    pub async fn is_paused(&self) -> Result<bool, ClientError> {
        #[derive(Deserialize)]
        struct BackendState {
            user: String,
        }
        let state: BackendState = self.query(STATE, &serde_json::json!({})).await?;
        Ok(state.user == "paused")
    }

    /// Stops it from serving its users. Needs `deployment:pause`.
    pub async fn pause(&self) -> Result<(), ClientError> {
        let url = self.http.url(&["api", "v1", PAUSE]);
        self.http.empty(PAUSE, self.http.request(Method::POST, url)).await
    }

    /// Lets it serve its users again. Needs `deployment:unpause`.
    pub async fn unpause(&self) -> Result<(), ClientError> {
        let url = self.http.url(&["api", "v1", UNPAUSE]);
        self.http.empty(UNPAUSE, self.http.request(Method::POST, url)).await
    }
}
