//! The archive's reader on a thread of its own: a batch is analysed while the next one arrives.

use bytes::Bytes;
use convault_archive::{ArchiveError, Finished, Options, Reader};
use tokio::task::JoinHandle;

use crate::JobError;

/// Handing over less is not worth the switch; more is not worth the memory.
const BATCH_BYTES: usize = 1 << 20;

type Step = (Box<Reader>, Result<Bytes, ArchiveError>);

/// A reader that is fed batches, one batch behind.
pub(crate) struct Analysis {
    batch: Vec<Bytes>,
    batch_bytes: usize,
    state: State,
}

enum State {
    Idle(Box<Reader>),
    Busy(JoinHandle<Step>),
    /// Only while a method runs, or after it failed.
    Gone,
}

impl Analysis {
    /// Begins to analyse an export.
    pub(crate) fn new(options: Options) -> Self {
        Self::of(Reader::new(options))
    }

    /// Begins to analyse an export with a reader of the caller's own.
    pub(crate) fn of(reader: Reader) -> Self {
        Self { batch: Vec::new(), batch_bytes: 0, state: State::Idle(Box::new(reader)) }
    }

    /// Takes the next bytes; gives the bytes of the index that are ready, often none.
    pub(crate) async fn push(&mut self, chunk: Bytes) -> Result<Bytes, JobError> {
        self.batch_bytes += chunk.len();
        self.batch.push(chunk);
        if self.batch_bytes < BATCH_BYTES { Ok(Bytes::new()) } else { self.hand_over().await }
    }

    async fn hand_over(&mut self) -> Result<Bytes, JobError> {
        let (mut reader, index) = self.settle().await?;
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        self.state = State::Busy(tokio::task::spawn_blocking(move || {
            let result = batch.iter().try_for_each(|chunk| reader.push(chunk)).map(|()| reader.take_index());
            (reader, result)
        }));
        Ok(index)
    }

    async fn settle(&mut self) -> Result<(Box<Reader>, Bytes), JobError> {
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Idle(reader) => Ok((reader, Bytes::new())),
            State::Busy(task) => {
                let (reader, result) = task.await.map_err(|error| JobError::Bug(error.to_string()))?;
                Ok((reader, result?))
            }
            State::Gone => Err(JobError::Bug("the export was analysed on after a failure".to_owned())),
        }
    }

    /// After the last byte: what was found, with the rest of the index in it, in order.
    pub(crate) async fn finish(mut self) -> Result<(Finished, [Bytes; 3]), JobError> {
        let before = self.hand_over().await?;
        let (reader, last) = self.settle().await?;
        let finished = tokio::task::spawn_blocking(move || reader.finish()).await;
        let finished = finished.map_err(|error| JobError::Bug(error.to_string()))??;
        let tail = finished.index.clone();
        Ok((finished, [before, last, tail]))
    }
}
