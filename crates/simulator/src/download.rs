//! The body of a download: an archive as a stream of bytes, with what may happen to them in transit.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _, future, stream};
use tokio::sync::mpsc;

use crate::archive::Archive;
use crate::faults::{FaultKind, FaultSet};
use crate::state::AppState;

const PIECE_BYTES: usize = 128 * 1024;
/// Pieces that may wait for a slow reader.
const PIECES_AHEAD: usize = 4;
/// How much shorter a download of the wrong length is.
const MISSING_BYTES: u64 = 100;

/// What happens to a download on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transit {
    /// Nothing.
    Sound,
    /// It is announced shorter than it is, and ends there.
    Short,
    /// The connection is closed in the middle.
    Truncated,
    /// Nothing comes after the middle.
    Stalled,
    /// The lowest bit of the byte in the middle is the other one.
    Corrupt,
}

impl Transit {
    /// What the faults that are on do to the next download.
    pub(crate) fn next(faults: &FaultSet) -> Self {
        let kinds = [
            (FaultKind::WrongLength, Self::Short),
            (FaultKind::TruncatedDownload, Self::Truncated),
            (FaultKind::StalledDownload, Self::Stalled),
            (FaultKind::CorruptDownload, Self::Corrupt),
        ];
        kinds.into_iter().find(|(kind, _)| faults.strike(*kind)).map_or(Self::Sound, |(_, transit)| transit)
    }

    /// The length that is announced for an archive.
    pub(crate) fn announced_bytes(self, size_bytes: u64) -> u64 {
        if self == Self::Short { size_bytes.saturating_sub(MISSING_BYTES) } else { size_bytes }
    }
}

/// Streams an archive. The thread that makes its bytes ends with the stream.
pub(crate) fn stream_of(
    state: &AppState,
    archive: Arc<Archive>,
    transit: Transit,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let size_bytes = archive.size_bytes();
    state.tracker.spawn_blocking(move || {
        let mut pieces = Pieces { sender, piece: BytesMut::with_capacity(PIECE_BYTES) };
        if let Err(error) = archive.write(&mut pieces) {
            tracing::debug!(%error, "a download was not taken to its end");
        }
    });
    let state = state.clone();
    let pieces = stream::unfold(receiver, |mut receiver| async {
        let piece: Bytes = receiver.recv().await?;
        Some((piece, receiver))
    });
    let bytes = in_transit(pieces, transit, size_bytes);
    bytes.inspect(move |piece| {
        if let Ok(piece) = piece {
            state.count(|counters| counters.download_bytes += piece.len() as u64);
        }
    })
}

/// Applies what happens in transit to the pieces of a body of this size.
fn in_transit(
    pieces: impl Stream<Item = Bytes> + Send + 'static,
    transit: Transit,
    size_bytes: u64,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let middle = size_bytes / 2;
    let end = match transit {
        Transit::Sound | Transit::Corrupt => size_bytes,
        Transit::Short => transit.announced_bytes(size_bytes),
        Transit::Truncated | Transit::Stalled => middle,
    };
    let mut position = 0;
    let before_end = pieces.filter_map(move |mut piece| {
        let start = position;
        position += piece.len() as u64;
        piece.truncate(usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX));
        if transit == Transit::Corrupt && (start..position).contains(&middle) {
            piece = with_flipped_bit(&piece, middle - start);
        }
        future::ready((!piece.is_empty()).then_some(Ok(piece)))
    });
    let mut left = end;
    let bounded =
        before_end.take_while(move |_| future::ready(left > 0)).inspect(move |piece: &io::Result<Bytes>| {
            left = left.saturating_sub(piece.as_ref().map_or(0, |piece| piece.len() as u64));
        });
    bounded.chain(stream::once(ending(transit)).filter_map(future::ready))
}

/// What comes after the last byte.
async fn ending(transit: Transit) -> Option<io::Result<Bytes>> {
    match transit {
        Transit::Truncated => {
            // While the body is pending the server sends what it has: without that it may drop the connection with the
            // head of the answer still unsent, which is another fault.
            tokio::task::yield_now().await;
            Some(Err(io::Error::from(io::ErrorKind::ConnectionAborted)))
        }
        Transit::Stalled => future::pending().await,
        Transit::Sound | Transit::Short | Transit::Corrupt => None,
    }
}

fn with_flipped_bit(piece: &Bytes, at: u64) -> Bytes {
    let mut flipped = piece.to_vec();
    if let Some(byte) = usize::try_from(at).ok().and_then(|at| flipped.get_mut(at)) {
        *byte ^= 1;
    }
    Bytes::from(flipped)
}

/// Collects what is written into pieces, and waits while the reader is slow.
struct Pieces {
    sender: mpsc::Sender<Bytes>,
    piece: BytesMut,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, BytesMut::with_capacity(PIECE_BYTES));
        self.sender.blocking_send(piece.freeze()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..now]);
        if self.piece.len() == PIECE_BYTES {
            self.send()?;
        }
        Ok(now)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() { Ok(()) } else { self.send() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use futures::{StreamExt as _, stream};

    use super::{Transit, in_transit};

    async fn received(transit: Transit) -> (Vec<u8>, bool) {
        let pieces = stream::iter((0..30_u8).map(|number| Bytes::from(vec![number; 10])));
        let mut stream = Box::pin(in_transit(pieces, transit, 300));
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => bytes.extend_from_slice(&piece),
                Err(_) => return (bytes, false),
            }
        }
        (bytes, true)
    }

    #[tokio::test]
    async fn each_accident_of_transit_shows_in_the_bytes() {
        let (sound, ended) = received(Transit::Sound).await;
        assert_eq!((sound.len(), ended), (300, true));
        let (short, ended) = received(Transit::Short).await;
        assert_eq!((&short[..], ended), (&sound[..200], true));
        let (truncated, ended) = received(Transit::Truncated).await;
        assert_eq!((&truncated[..], ended), (&sound[..150], false));
        let (corrupt, ended) = received(Transit::Corrupt).await;
        assert!(ended && corrupt.len() == 300);
        let changed: Vec<usize> = (0..300).filter(|at| corrupt[*at] != sound[*at]).collect();
        assert_eq!(changed, [150]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_download_never_ends() {
        let result = tokio::time::timeout(Duration::from_hours(1), received(Transit::Stalled)).await;
        assert!(result.is_err());
    }
}
