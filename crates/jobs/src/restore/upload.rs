//! Sends what becomes an import: in equal parts, strictly in order, and no part a second time.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use convault_core::{
    ImportId, ImportRequest, ImportUpload, MIN_PART_BYTES, Target, TargetError, TargetErrorKind,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, DuplexStream};

use crate::{JobError, RunContext};

/// What stands between the one who writes and the one who sends.
const PIPE_BYTES: usize = 256 << 10;
/// A deployment takes no more parts than this in one upload.
const MOST_PARTS: u64 = 9_999;
/// What is aimed at: `finish_upload` takes 2 MiB of JSON, in which each part has a token of up to 300 bytes.
const WANTED_PARTS: u64 = 5_000;
const MEBIBYTE: u64 = 1 << 20;
/// How often an upload is begun at most.
const UPLOADS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);

/// What is uploaded. It is written from its start for every upload that is begun.
#[async_trait]
pub(crate) trait Feed: Send + Sync {
    /// What is known of it once it was written.
    type Made: Send;

    /// No fewer bytes than will be written.
    fn largest_bytes(&self) -> u64;

    /// Writes all of it.
    async fn write(
        &self,
        output: &mut (dyn AsyncWrite + Send + Unpin),
        context: &RunContext,
    ) -> Result<Self::Made, JobError>;
}

/// Why an upload came to nothing.
enum Broken {
    /// Whether its last request arrived is not known, or it certainly did not: a new one may succeed.
    Upload(TargetError),
    /// Anything else.
    Final(JobError),
}

/// Uploads `feed` and makes an import of it. An upload of which the fate of a part is not known is never gone on with: a
/// new one is begun, three in all. Nothing is changed on the deployment.
pub(super) async fn upload<F: Feed>(
    feed: &F,
    target: &dyn Target,
    request: &ImportRequest,
    context: &RunContext,
) -> Result<(F::Made, ImportId), JobError> {
    let part_bytes = part_bytes(feed.largest_bytes());
    for _ in 1..UPLOADS {
        match attempt(feed, target, request, part_bytes, context).await {
            Ok(done) => return Ok(done),
            Err(Broken::Final(error)) => return Err(error),
            Err(Broken::Upload(error)) => {
                context.warning(format!("{}; the upload begins again", crate::error::chain(&error)));
                context.or_stop(tokio::time::sleep(PAUSE)).await?;
            }
        }
    }
    attempt(feed, target, request, part_bytes, context).await.map_err(|broken| match broken {
        Broken::Upload(error) => error.into(),
        Broken::Final(error) => error,
    })
}

/// Small enough for memory, large enough for the number of parts.
fn part_bytes(largest_bytes: u64) -> usize {
    let needed = largest_bytes.div_ceil(WANTED_PARTS).next_multiple_of(MEBIBYTE);
    usize::try_from(needed.max(MIN_PART_BYTES)).unwrap_or(usize::MAX)
}

async fn attempt<F: Feed>(
    feed: &F,
    target: &dyn Target,
    request: &ImportRequest,
    part_bytes: usize,
    context: &RunContext,
) -> Result<(F::Made, ImportId), Broken> {
    let begun = context.or_stop(target.begin_upload()).await.map_err(Broken::Final)?;
    let mut upload = begun.map_err(broken)?;
    let (writer, reader) = tokio::io::duplex(PIPE_BYTES);
    let both = futures::future::try_join(
        written(feed, writer, context),
        sent(upload.as_mut(), reader, part_bytes, target),
    );
    let (made, ()) = context.or_stop(both).await.map_err(Broken::Final)??;
    // An import must not come of an upload without anybody knowing its identifier, so this is waited for.
    let id = upload.finish(request).await.map_err(|error| match error.kind {
        TargetErrorKind::Transient => Broken::Upload(error),
        _ => Broken::Final(error.into()),
    })?;
    Ok((made, id))
}

fn broken(error: TargetError) -> Broken {
    match error.kind {
        TargetErrorKind::Transient | TargetErrorKind::Unknown => Broken::Upload(error),
        _ => Broken::Final(error.into()),
    }
}

/// Writes everything, and lets go of its end of the pipe.
async fn written<F: Feed>(
    feed: &F,
    mut writer: DuplexStream,
    context: &RunContext,
) -> Result<F::Made, Broken> {
    feed.write(&mut writer, context).await.map_err(Broken::Final)
}

/// Sends what comes through the pipe. While a part is on its way, the next one is filled.
async fn sent(
    upload: &mut dyn ImportUpload,
    mut reader: DuplexStream,
    part_bytes: usize,
    target: &dyn Target,
) -> Result<(), Broken> {
    let mut part = filled(&mut reader, part_bytes).await.map_err(Broken::Final)?;
    let mut parts = 0;
    while !part.is_empty() {
        parts += 1;
        if parts > MOST_PARTS {
            let what = format!("more came than fits into {MOST_PARTS} parts of {part_bytes} bytes");
            return Err(Broken::Final(JobError::Import { target: target.name().to_owned(), what }));
        }
        let (sent, next) = futures::future::join(upload.send(part), filled(&mut reader, part_bytes)).await;
        sent.map_err(broken)?;
        part = next.map_err(Broken::Final)?;
    }
    Ok(())
}

/// The next part; shorter, or empty, where nothing more comes.
async fn filled(reader: &mut (impl AsyncRead + Unpin), part_bytes: usize) -> Result<Bytes, JobError> {
    let mut part = BytesMut::with_capacity(part_bytes);
    while part.len() < part_bytes {
        let room = (part_bytes - part.len()) as u64;
        let read = (&mut *reader).take(room).read_buf(&mut part).await;
        let failed = |source| JobError::File { path: "the upload".to_owned(), what: "cannot read", source };
        if read.map_err(failed)? == 0 {
            break;
        }
    }
    Ok(part.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_large_enough_for_their_number_and_for_object_stores() {
        assert_eq!(part_bytes(0), 5 << 20);
        assert_eq!(part_bytes(10 << 30), 5 << 20);
        for gibibytes in [25_u64, 100, 1000, 5000] {
            let bytes = gibibytes << 30;
            assert!(bytes.div_ceil(part_bytes(bytes) as u64) <= WANTED_PARTS, "{gibibytes} GiB");
        }
    }

    #[tokio::test]
    async fn what_comes_in_pieces_is_cut_into_equal_parts() {
        let mut reader = tokio::io::join(tokio::io::repeat(7).take(10), tokio::io::sink());
        let mut sizes = Vec::new();
        loop {
            let part = filled(&mut reader, 4).await.unwrap();
            if part.is_empty() {
                break;
            }
            sizes.push(part.len());
        }
        assert_eq!(sizes, [4, 4, 2]);
    }
}
