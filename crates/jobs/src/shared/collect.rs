//! Collects the stored files of a run: before the export those that nobody has yet, after it the rest.

use std::{collections::VecDeque, time::Duration};

use convault_core::{DestinationName, FileRow, Layout, RunPhase, Sha256, Source};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesOrdered};
use tokio::sync::Semaphore;

use crate::{
    BackupJob, JobError, RunContext,
    prepare::Ready,
    shared::{
        book::{Book, Collected},
        fetch::{Fetched, Fetcher, Wish},
        lock::FileLock,
        place::Place,
    },
};

/// So many files may be on their way at once; how fast they are asked for is the source's affair.
const AT_ONCE: usize = 16;

/// Which of the two listings is gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// Before the export.
    First,
    /// After the export, whose snapshot is of this time: microseconds since the Unix epoch.
    Second { snapshot_us: i64 },
}

/// What collecting may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Memory for parts on their way.
    pub(crate) upload_memory_bytes: u64,
    /// How long a destination may take no data.
    pub(crate) stall_limit: Duration,
}

impl Pace {
    pub(crate) fn of(job: &BackupJob) -> Self {
        Self { upload_memory_bytes: job.upload_memory_bytes, stall_limit: job.stall_limit }
    }
}

/// The stored files of one run.
pub(crate) struct Collection<'a> {
    work: Work<'a>,
    book: Book,
}

/// What does not change while files are collected.
struct Work<'a> {
    pace: Pace,
    source: &'a dyn Source,
    layout: Layout,
    /// Held by the large file that is on its way.
    large: Semaphore,
    context: &'a RunContext,
}

/// A file of which it is known, or being found out, what becomes of it.
type Pending<'b> = BoxFuture<'b, Result<(FileRow, Fetched), JobError>>;

impl<'a> Collection<'a> {
    /// Reads what the destinations have, and begins the listing in each.
    /// Each comes with how its file objects are to be locked.
    pub(crate) async fn begin(
        pace: Pace,
        source: &'a dyn Source,
        taking: Vec<(&Ready, Option<FileLock>)>,
        context: &'a RunContext,
    ) -> Result<Self, JobError> {
        let layout = Layout::new(source.deployment().clone());
        let book = Book::begin(pace, taking, &layout, context).await?;
        Ok(Self { work: Work { pace, source, layout, large: Semaphore::new(1), context }, book })
    }

    /// Lists the files and stores those that a destination lacks.
    pub(crate) async fn before_export(&mut self) -> Result<(), JobError> {
        self.work.context.phase(RunPhase::Files);
        self.work.pass(&mut self.book, Pass::First).await?;
        self.book.end_first();
        Ok(())
    }

    /// The destinations that failed, and why.
    pub(crate) fn failed(&self) -> Vec<(DestinationName, String)> {
        let failed = |place: &Place| Some((place.name().clone(), place.failed.clone()?));
        self.book.places.iter().filter_map(failed).collect()
    }

    /// Lists the files again after an export whose snapshot is of `snapshot_ts_ns`, stores what is still lacking, and
    /// closes the listing and the refs.
    pub(crate) async fn after_export(&mut self, snapshot_ts_ns: i64) -> Result<(), JobError> {
        self.work.context.phase(RunPhase::Files);
        // A time in floating point milliseconds may be a little later than the commit it stands for.
        let snapshot_us = snapshot_ts_ns / 1000 + 1;
        self.work.pass(&mut self.book, Pass::Second { snapshot_us }).await
    }

    /// Closes the listing and the refs.
    pub(crate) async fn close(self) -> Result<Collected, JobError> {
        let Self { work, book } = self;
        book.close(&work.layout, work.pace.stall_limit, work.context).await
    }

    /// Gives the listing up. Files that were stored stay: the next run finds them, or they are swept.
    pub(crate) async fn abort(self) {
        self.book.abort().await;
    }
}

impl Work<'_> {
    /// Goes through a listing in its order, with a window of files on their way.
    async fn pass(&self, book: &mut Book, pass: Pass) -> Result<(), JobError> {
        let fetcher = Fetcher {
            source: self.source,
            layout: &self.layout,
            upload_memory_bytes: self.pace.upload_memory_bytes.saturating_sub(book.reserved_bytes()),
            stall_limit: self.pace.stall_limit,
            large: &self.large,
            context: self.context,
        };
        let mut rows = self.source.list_files();
        let mut window = Window { pending: FuturesOrdered::new(), contents: VecDeque::new() };
        while let Some(row) = self.context.or_stop(rows.next()).await? {
            let row = row?;
            if book.passes_over(pass, &row) {
                continue;
            }
            // A file of the same content that is on its way already will be there then.
            while window.contents.len() >= AT_ONCE || window.contents.contains(&row.sha256) {
                self.settle_next(&mut window, book, pass).await?;
            }
            let wishes = book.wishes(&row);
            window.contents.push_back(row.sha256);
            window.pending.push_back(if wishes.is_empty() {
                futures::future::ready(Ok((row, Fetched::Stored(Vec::new())))).boxed()
            } else {
                fetch(fetcher, row, wishes).boxed()
            });
        }
        while !window.contents.is_empty() {
            self.settle_next(&mut window, book, pass).await?;
        }
        Ok(())
    }

    async fn settle_next(
        &self,
        window: &mut Window<'_>,
        book: &mut Book,
        pass: Pass,
    ) -> Result<(), JobError> {
        let Some(done) = self.context.or_stop(window.pending.next()).await? else { return Ok(()) };
        window.contents.pop_front();
        let (row, fetched) = done?;
        book.settle(pass, &row, fetched, &self.layout, self.pace.stall_limit, self.context).await
    }
}

async fn fetch(
    fetcher: Fetcher<'_>,
    row: FileRow,
    wishes: Vec<Wish>,
) -> Result<(FileRow, Fetched), JobError> {
    let outcome = fetcher.fetch(&row, &wishes).await?;
    Ok((row, outcome))
}

/// Files on their way, in the listing's order, and the digests of their contents.
struct Window<'b> {
    pending: FuturesOrdered<Pending<'b>>,
    contents: VecDeque<Sha256>,
}
