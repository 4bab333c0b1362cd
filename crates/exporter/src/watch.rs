//! Whether an export still moves.

use std::time::Duration;

use convault_convex_client::{ExportRow, ExportState};
use tokio::time::Instant;

/// Watches an export's row for changes.
///
/// A new state, a new message or a new attempt is progress, whatever it says: an attempt that begins again after a
/// restart of the server is progress too. An export that keeps failing and beginning again is what the deadline is for.
#[derive(Debug)]
pub(crate) struct Watch {
    limit: Duration,
    seen: Option<Sight>,
    /// When something last changed.
    moved: Instant,
    /// When the row was last seen at all.
    looked: Instant,
}

type Sight = (ExportState, Option<String>, Option<i64>);

impl Watch {
    pub(crate) fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, seen: None, moved: now, looked: now }
    }

    /// Takes note of the row as it is now, and tells whether it has changed.
    pub(crate) fn sees(&mut self, row: &ExportRow, now: Instant) -> bool {
        self.looked = now;
        let sight = Some((row.state.clone(), row.progress_message.clone(), row.start_ts));
        if self.seen == sight {
            return false;
        }
        self.seen = sight;
        self.moved = now;
        true
    }

    /// Whether nothing has changed for the whole limit, though the row was seen.
    pub(crate) fn is_stuck(&self, now: Instant) -> bool {
        now - self.moved >= self.limit && !self.is_blind(now)
    }

    /// Whether the row was not seen for the whole limit.
    pub(crate) fn is_blind(&self, now: Instant) -> bool {
        now - self.looked >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use convault_convex_client::{ExportRow, ExportState};
    use tokio::time::Instant;

    use super::Watch;

    fn row(message: &str) -> ExportRow {
        ExportRow {
            id: "id".to_owned(),
            creation_time_ms: 0.0,
            state: ExportState::InProgress,
            include_storage: Some(true),
            requestor: "snapshotExport".to_owned(),
            start_ts: Some(1),
            complete_ts: None,
            expiration_ts: None,
            size_bytes: None,
            progress_message: Some(message.to_owned()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_row_that_is_seen_and_never_changes_is_stuck() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut watch = Watch::new(Duration::from_mins(1), begun);
        assert!(watch.sees(&row("Backing up a"), at(1)));
        assert!(!watch.sees(&row("Backing up a"), at(59)));
        assert!(!watch.is_stuck(at(59)));
        assert!(watch.is_stuck(at(61)));
        assert!(watch.sees(&row("Beginning backup"), at(62)), "a restart is progress");
        assert!(!watch.is_stuck(at(100)));
        assert!(watch.is_blind(at(130)));
        assert!(!watch.is_stuck(at(130)), "a row that cannot be seen is not known to be stuck");
    }
}
