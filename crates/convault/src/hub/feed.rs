//! What one run has told so far, for whoever watches it, from the beginning or from where they were cut off.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use convault_core::{JobName, RunEvent, RunId};
use convault_scheduler::Cancel;
use tokio::sync::watch;

use super::State;

/// Events kept of one run; progress events count once, since only the newest matters.
const REMEMBERED_EVENTS: usize = 2_000;

/// What one run has told so far.
pub(super) struct Feed {
    events: VecDeque<(u64, RunEvent)>,
    pub(super) next: watch::Sender<u64>,
    pub(super) finished: bool,
    pub(super) cancel: Option<Cancel>,
    pub(super) job: JobName,
}

impl Feed {
    pub(super) fn new(job: JobName) -> Self {
        Self { events: VecDeque::new(), next: watch::Sender::new(0), finished: false, cancel: None, job }
    }

    pub(super) fn add(&mut self, event: RunEvent) {
        self.finished |= matches!(event, RunEvent::Finished { .. });
        let is_progress = |event: &RunEvent| matches!(event, RunEvent::Transferred { .. });
        let replaces = is_progress(&event) && self.events.back().is_some_and(|(_, last)| is_progress(last));
        if replaces || self.events.len() == REMEMBERED_EVENTS {
            if replaces {
                self.events.pop_back()
            } else {
                self.events.pop_front()
            };
        }
        let number = *self.next.borrow();
        self.events.push_back((number, event));
        self.next.send_replace(number + 1);
    }

    fn first_from(&self, number: u64) -> Option<(u64, RunEvent)> {
        self.events.iter().find(|(own, _)| *own >= number).cloned()
    }
}

/// One reader of one feed.
pub(super) struct Watcher {
    state: Arc<Mutex<State>>,
    run: RunId,
    next: watch::Receiver<u64>,
    from: u64,
    done: bool,
}

impl Watcher {
    /// A reader of the feed that `next` belongs to, from event number `from` on.
    pub(super) fn new(state: Arc<Mutex<State>>, run: RunId, next: watch::Receiver<u64>, from: u64) -> Self {
        Self { state, run, next, from, done: false }
    }

    pub(super) async fn next_event(mut self) -> Option<((u64, RunEvent), Self)> {
        while !self.done {
            self.next.borrow_and_update();
            if let Some((number, event)) = self.find() {
                self.from = number + 1;
                self.done = matches!(event, RunEvent::Finished { .. });
                return Some(((number, event), self));
            }
            // The feed was forgotten: whoever still wants to know looks into the history.
            self.next.changed().await.ok()?;
        }
        None
    }

    fn find(&self) -> Option<(u64, RunEvent)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.feeds.get(&self.run)?.first_from(self.from)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn progress_is_kept_once_and_numbers_go_on() {
        let mut feed = Feed::new(JobName::new("nightly").unwrap());
        let progress = |done_bytes| RunEvent::Transferred { done_bytes, total_bytes: None };
        feed.add(progress(1));
        feed.add(progress(2));
        feed.add(RunEvent::Message { at: Timestamp::UNIX_EPOCH, text: "a".into() });
        feed.add(progress(3));
        assert_eq!(feed.events.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(feed.first_from(0), Some((1, progress(2))));
        assert_eq!(feed.first_from(4), None);
    }
}
