//! Repeating what the SDK must not repeat by itself, because a try whose answer was lost changes the next answer.

use std::time::Duration;

use convault_core::{StoreError, StoreErrorKind};

use super::settings::S3Timeouts;

const LONGEST_BACK_OFF: Duration = Duration::from_secs(20);

/// What is to be done about the outcome of a try.
pub(super) enum Next<T> {
    /// It is done, or it failed for good.
    Done(Result<T, StoreError>),
    /// Try again.
    Again,
    /// An earlier try, or this one, may have worked without its answer arriving: look before deciding.
    Look(StoreError),
}

/// Judges the outcome of the try number `tried` (from 1). `in_the_way` are the kinds of error that a try gives
/// after one that worked.
pub(super) fn next<T>(
    outcome: Result<T, StoreError>,
    tried: u32,
    timeouts: S3Timeouts,
    in_the_way: &[StoreErrorKind],
) -> Next<T> {
    match outcome {
        Err(error) if error.kind == StoreErrorKind::Transient && tried < timeouts.tries => Next::Again,
        Err(error) if error.kind == StoreErrorKind::Transient => Next::Look(error),
        Err(error) if in_the_way.contains(&error.kind) => Next::Look(error),
        done => Next::Done(done),
    }
}

/// Waits before the next try: longer each time, and not quite the same for everyone.
pub(super) async fn back_off(timeouts: S3Timeouts, tried: u32) {
    let doubled = timeouts.first_back_off.saturating_mul(1 << tried.saturating_sub(1).min(10));
    tokio::time::sleep(doubled.min(LONGEST_BACK_OFF).mul_f64(rand::random_range(0.5..=1.0))).await;
}
