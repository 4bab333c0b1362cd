//! Which snapshots to read again in full, so that every stored byte is read within a period and every run carries
//! about the same load. A pure function of what is stored and when it was last read.

use std::time::Duration;

use jiff::Timestamp;

use crate::SnapshotId;

/// A snapshot, as far as reading it again is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readable {
    /// Which.
    pub id: SnapshotId,
    /// Bytes to read.
    pub stored_bytes: u64,
    /// When it was last read in full; for one never read since, when it was written.
    pub read: Timestamp,
}

/// The snapshots to read in this run, those unread for longest first.
///
/// Each has its deadline: `within` after it was last read. The load of this run is the smallest that meets all
/// deadlines with equal loads in this and the following runs, one every `interval`; it is filled from the longest
/// unread on, to the nearest snapshot. For snapshots written evenly over time this is
/// `total bytes × interval / within`. What would be past its deadline at the next run is read now, however much that
/// is. So where runs come every `interval` nothing is ever unread for longer than `within`, and where they come late
/// for no longer than `within` and the delay.
pub fn share(all: &[Readable], within: Duration, interval: Duration, now: Timestamp) -> Vec<SnapshotId> {
    let mut queue: Vec<Due> = all.iter().map(|readable| Due::new(readable, within, interval, now)).collect();
    queue.sort_by_key(|due| (due.readable.read, &due.readable.id));
    let load = load(&queue);
    let mut taken = 0;
    let mut chosen = Vec::new();
    for due in queue {
        let bytes = due.bytes();
        // Whichever is nearer to the load: with this snapshot or without it.
        let fits = taken < load && 2 * taken + bytes <= 2 * load;
        if due.runs_left > 1 && !fits {
            break;
        }
        taken += bytes;
        chosen.push(due.readable.id.clone());
    }
    chosen
}

struct Due<'a> {
    readable: &'a Readable,
    /// Runs up to the deadline, this one included; at least 1.
    runs_left: u128,
}

impl<'a> Due<'a> {
    fn new(readable: &'a Readable, within: Duration, interval: Duration, now: Timestamp) -> Self {
        let unread = now.duration_since(readable.read).as_nanos();
        let left = within.as_nanos().saturating_add_signed(-unread);
        Self { readable, runs_left: left / interval.as_nanos().max(1) + 1 }
    }

    fn bytes(&self) -> u128 {
        u128::from(self.readable.stored_bytes)
    }
}

/// The smallest equal load of each run that meets every deadline: for each deadline, what must be read by then,
/// divided by the runs up to then; of these the greatest.
fn load(queue: &[Due<'_>]) -> u128 {
    queue
        .iter()
        .scan(0, |bytes, due| {
            *bytes += due.bytes();
            Some(bytes.div_ceil(due.runs_left))
        })
        .max()
        .unwrap_or(0)
}
