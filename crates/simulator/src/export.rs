//! Snapshot exports: their routes and the worker that makes them.

use axum::Router;

use crate::state::AppState;

const DAY_NS: i64 = 86_400_000_000_000;
/// The clean-up job leaves an expired export alone for so long.
const KEPT_EXPIRED_NS: i64 = 30 * DAY_NS;

/// The routes of exports.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
}

/// Removes exports that expired long ago.
pub(crate) fn remove_expired(state: &AppState) -> usize {
    let before = state.next_timestamp() - KEPT_EXPIRED_NS;
    let removed = state.exports().remove_expired(before);
    state.changed();
    removed
}
