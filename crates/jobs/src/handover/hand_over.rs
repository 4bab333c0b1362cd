//! [`hand_over`]: documents of a snapshot, on their way to a [`Receiver`].

use bytes::Bytes;
use convault_core::{RunEvent, TableRef};

use super::{Columns, Made, Receiver};
use crate::{Content, JobError, RunContext, Wanted, look::no_table};

/// Lines are handed on once there are so many bytes of them.
const BATCH_BYTES: usize = 1 << 20;
/// Or so many of them.
const BATCH_LINES: usize = 4096;

/// What was handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedOver {
    /// What was made.
    pub made: Made,
    /// Documents of each table.
    pub tables: Vec<(TableRef, u64)>,
}

/// Hands over the documents of `tables` that are wanted. Streams; of a receiver that needs columns, every table is read
/// twice.
pub async fn hand_over(
    content: &Content<'_>,
    tables: &[TableRef],
    wanted: &Wanted,
    mut receiver: Box<dyn Receiver>,
    context: &RunContext,
) -> Result<HandedOver, JobError> {
    let mut handed = Vec::new();
    for table in tables {
        let columns = match receiver.flattens() {
            Some(flat) => Some(columns(content, table, wanted, flat, context).await?),
            None => None,
        };
        receiver = blocking(receiver, {
            let table = table.clone();
            move |receiver| receiver.begin(&table, columns)
        })
        .await?;
        let (back, documents) = lines(content, table, wanted, receiver, context).await?;
        receiver = blocking(back, Receiver::end).await?;
        handed.push((table.clone(), documents));
    }
    let finished = tokio::task::spawn_blocking(move || receiver.finish()).await;
    Ok(HandedOver { made: finished.map_err(|error| bug(&error))??, tables: handed })
}

async fn columns(
    content: &Content<'_>,
    table: &TableRef,
    wanted: &Wanted,
    flat: bool,
    context: &RunContext,
) -> Result<Columns, JobError> {
    let mut columns = Columns::new(table.to_string(), flat);
    let mut lines = content.lines(table).await?.ok_or_else(|| no_table(content, table))?;
    while let Some(line) = context.or_stop(lines.next()).await?? {
        if wanted.matches(&line) {
            columns.add(&line)?;
        }
    }
    Ok(columns)
}

async fn lines(
    content: &Content<'_>,
    table: &TableRef,
    wanted: &Wanted,
    mut receiver: Box<dyn Receiver>,
    context: &RunContext,
) -> Result<(Box<dyn Receiver>, u64), JobError> {
    let mut lines = content.lines(table).await?.ok_or_else(|| no_table(content, table))?;
    let (mut batch, mut batch_bytes, mut documents) = (Vec::new(), 0, 0);
    loop {
        let line = context.or_stop(lines.next()).await??;
        let ended = line.is_none();
        if let Some(line) = line.filter(|line| wanted.matches(line)) {
            documents += 1;
            batch_bytes += line.len();
            batch.push(line);
        }
        if ended || batch_bytes >= BATCH_BYTES || batch.len() >= BATCH_LINES {
            let taken: Vec<Bytes> = std::mem::take(&mut batch);
            batch_bytes = 0;
            receiver = blocking(receiver, move |receiver| receiver.take(&taken)).await?;
            context.tell(RunEvent::Transferred { done_bytes: content.read_bytes(), total_bytes: None });
        }
        if ended {
            return Ok((receiver, documents));
        }
    }
}

/// Does what may block where that does no harm.
async fn blocking(
    mut receiver: Box<dyn Receiver>,
    work: impl FnOnce(&mut dyn Receiver) -> Result<(), JobError> + Send + 'static,
) -> Result<Box<dyn Receiver>, JobError> {
    let done = tokio::task::spawn_blocking(move || work(receiver.as_mut()).map(|()| receiver)).await;
    done.map_err(|error| bug(&error))?
}

fn bug(error: &tokio::task::JoinError) -> JobError {
    JobError::Bug(error.to_string())
}
