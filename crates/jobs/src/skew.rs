//! How far the store's clock and this machine's are apart. Deleting by a wrong clock is how good copies get lost;
//! storing by one does no harm.

use std::time::Duration;

use convault_core::Store;
use futures::TryStreamExt as _;
use jiff::Timestamp;

/// When the store had the object `key`, by its own clock; `None` where it does not say. A listing is asked, since
/// credentials that only write may list.
pub(crate) async fn written_at(store: &dyn Store, key: &str) -> Option<Timestamp> {
    let found = store.list(key).try_next().await;
    found.ok().flatten().filter(|object| object.key == key).map(|object| object.modified)
}

/// Why the clocks forbid deleting: something written just now, at `now`, has the time `written` in the store.
pub(crate) fn over_limit(now: Timestamp, written: Option<Timestamp>, limit: Duration) -> Option<String> {
    let skew = now.duration_since(written?);
    (skew.unsigned_abs() > limit).then(|| {
        format!(
            "this machine's clock is {} s {} the store's: nothing is deleted until it is right (setting \
             daemon.clock_skew_limit)",
            skew.unsigned_abs().as_secs(),
            if skew.is_negative() { "behind" } else { "ahead of" }
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_too_much_forbid_deleting() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let limit = Duration::from_mins(5);
        assert_eq!(over_limit(at(1000), Some(at(1299)), limit), None);
        assert_eq!(over_limit(at(1000), None, limit), None);
        assert!(over_limit(at(1000), Some(at(1301)), limit).unwrap().contains("301 s behind"));
        assert!(over_limit(at(1301), Some(at(1000)), limit).unwrap().contains("301 s ahead of"));
    }
}
