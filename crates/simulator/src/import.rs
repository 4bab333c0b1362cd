//! Snapshot imports.

use axum::Router;

use crate::state::AppState;

/// The routes of imports.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
}
