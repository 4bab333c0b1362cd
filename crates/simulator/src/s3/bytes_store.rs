//! Where the bytes are: in memory, or in files below a folder, so that no object has to fit in memory.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use s3s::{S3Result, dto::StreamingBlob, s3_error};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use super::counters::LiveCounters;

const CHUNK_BYTES: u64 = 256 << 10;
const WRITE_BUFFER_BYTES: usize = 1 << 20;

/// Bytes that arrived in one request. An object is one piece, or one for each part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) size: u64,
    place: Place,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Place {
    #[serde(skip)]
    Memory(Bytes),
    /// The name of a file in the folder for bytes.
    File(String),
}

impl Piece {
    /// The file it is in.
    pub(super) fn file_name(&self) -> Option<&str> {
        match &self.place {
            Place::Memory(_) => None,
            Place::File(name) => Some(name),
        }
    }
}

/// What was received, with its SHA-256.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) piece: Piece,
    pub(super) sha256: [u8; 32],
}

#[derive(Debug)]
pub(super) struct BytesStore {
    /// The folder for files; none in memory.
    folder: Option<PathBuf>,
}

impl BytesStore {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// Takes in a body as it arrives.
    pub(super) async fn receive(
        &self,
        body: Option<StreamingBlob>,
        length: Option<i64>,
        counters: &LiveCounters,
    ) -> S3Result<Received> {
        let mut digest = Sha256::new();
        let mut sink = Sink::open(self.folder.as_deref(), length).await.map_err(internal)?;
        let mut size = 0;
        if let Some(mut body) = body {
            while let Some(chunk) = body.next().await {
                let chunk =
                    chunk.map_err(|error| s3_error!(IncompleteBody, "the body broke off: {error}"))?;
                digest.update(&chunk);
                sink.write(&chunk).await.map_err(internal)?;
                size += chunk.len() as u64;
                counters.bytes_in.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
        }
        let place = sink.finish().await.map_err(internal)?;
        Ok(Received { piece: Piece { size, place }, sha256: digest.finalize().into() })
    }

    /// Forgets pieces that nothing refers to any more.
    pub(super) fn discard<'a>(&self, pieces: impl IntoIterator<Item = &'a Piece>) {
        let Some(folder) = &self.folder else { return };
        for name in pieces.into_iter().filter_map(Piece::file_name) {
            if let Err(error) = fs::remove_file(folder.join(name)) {
                tracing::warn!(%name, %error, "a file of the S3 server could not be removed");
            }
        }
    }

    /// The bytes `range` of the pieces one after the other.
    pub(super) fn read(
        self: &Arc<Self>,
        pieces: Arc<Vec<Piece>>,
        range: Range<u64>,
        corrupt: bool,
        counters: Arc<LiveCounters>,
    ) -> StreamingBlob {
        let start = Reading { store: self.clone(), pieces, place: 0, range, corrupt };
        let chunks = stream::try_unfold(start, |mut reading| async move {
            let chunk = tokio::task::spawn_blocking(move || {
                let chunk = reading.next_chunk();
                chunk.map(|chunk| chunk.map(|chunk| (chunk, reading)))
            });
            chunk.await.map_err(io::Error::other)?
        });
        let counted = chunks.inspect(move |chunk: &io::Result<Bytes>| {
            if let Ok(chunk) = chunk {
                counters.bytes_out.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
        });
        StreamingBlob::wrap(counted)
    }

    fn read_at(&self, piece: &Piece, range: Range<u64>) -> io::Result<Bytes> {
        let position = |at: u64| usize::try_from(at).map_err(io::Error::other);
        match &piece.place {
            Place::Memory(bytes) => Ok(bytes.slice(position(range.start)?..position(range.end)?)),
            Place::File(name) => {
                let folder = self.folder.as_deref().unwrap_or(Path::new("."));
                let mut bytes = vec![0; position(range.end - range.start)?];
                File::open(folder.join(name))?.read_exact_at(&mut bytes, range.start)?;
                Ok(bytes.into())
            }
        }
    }
}

pub(super) fn internal(error: io::Error) -> s3s::S3Error {
    s3_error!(error, InternalError, "the simulator's own disk failed")
}

/// A GET under way.
struct Reading {
    store: Arc<BytesStore>,
    pieces: Arc<Vec<Piece>>,
    /// The piece that is read; `range` counts from its beginning.
    place: usize,
    range: Range<u64>,
    corrupt: bool,
}

impl Reading {
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        while let Some(piece) = self.pieces.get(self.place).filter(|piece| self.range.start >= piece.size) {
            self.range = self.range.start - piece.size..self.range.end.saturating_sub(piece.size);
            self.place += 1;
        }
        let Some(piece) = self.pieces.get(self.place).filter(|_| !self.range.is_empty()) else {
            return Ok(None);
        };
        let end = self.range.end.min(piece.size).min(self.range.start + CHUNK_BYTES);
        let chunk = self.store.read_at(piece, self.range.start..end)?;
        self.range.start = end;
        if !std::mem::take(&mut self.corrupt) {
            return Ok(Some(chunk));
        }
        let mut flipped = BytesMut::from(&chunk[..]);
        if let Some(byte) = flipped.first_mut() {
            *byte ^= 1;
        }
        Ok(Some(flipped.freeze()))
    }
}

/// Where a body goes while it arrives. A file that is not finished is removed again.
enum Sink {
    Memory(Vec<u8>),
    File { file: tokio::fs::File, unfinished: Unfinished },
}

impl Sink {
    async fn open(folder: Option<&Path>, length: Option<i64>) -> io::Result<Self> {
        let Some(folder) = folder else {
            let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
            return Ok(Self::Memory(Vec::with_capacity(length)));
        };
        let name = format!("{:032x}", rand::random::<u128>());
        let path = folder.join(&name);
        let mut file = tokio::fs::File::create_new(&path).await?;
        file.set_max_buf_size(WRITE_BUFFER_BYTES);
        Ok(Self::File { file, unfinished: Unfinished { name, path: Some(path) } })
    }

    async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        match self {
            Self::Memory(bytes) => {
                bytes.extend_from_slice(chunk);
                Ok(())
            }
            Self::File { file, .. } => file.write_all(chunk).await,
        }
    }

    async fn finish(self) -> io::Result<Place> {
        match self {
            Self::Memory(bytes) => Ok(Place::Memory(bytes.into())),
            Self::File { mut file, mut unfinished } => {
                file.flush().await?;
                unfinished.path = None;
                Ok(Place::File(std::mem::take(&mut unfinished.name)))
            }
        }
    }
}

struct Unfinished {
    name: String,
    path: Option<PathBuf>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "an unfinished file could not be removed");
        }
    }
}
