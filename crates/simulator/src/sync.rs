//! The WebSocket through which clients follow queries.

use axum::Router;

use crate::state::AppState;

/// The routes of the WebSocket.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
}
