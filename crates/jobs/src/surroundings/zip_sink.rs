//! [`ZipSink`]: a ZIP on its way to every group while its entries are still being collected.

use bytes::BytesMut;
use convault_archive::{Packing, ZipEntry, ZipWriteError, ZipWriter};

use crate::{
    JobError, RunContext,
    group::{Sending, SentObject},
};

/// Content is packed, and what comes of it sent, in pieces of about this size.
const PIECE_BYTES: usize = 64 << 10;

/// Packs what is written into it once, and sends it to every group, encrypted for each.
pub(crate) struct ZipSink {
    writer: ZipWriter,
    packed: BytesMut,
    sendings: Vec<Sending>,
    /// Of which no destination is left.
    gone: Vec<bool>,
}

impl ZipSink {
    /// An empty ZIP for these.
    pub(crate) fn new(sendings: Vec<Sending>) -> Self {
        let gone = vec![false; sendings.len()];
        Self { writer: ZipWriter::new(), packed: BytesMut::new(), sendings, gone }
    }

    /// Begins an entry.
    pub(crate) fn begin(&mut self, entry: &ZipEntry<'_>) -> Result<(), ZipWriteError> {
        self.writer.begin(entry, Packing::Deflate, &mut self.packed)
    }

    /// Writes the next content of the entry. Fails only when no destination is left.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), JobError> {
        for piece in bytes.chunks(PIECE_BYTES) {
            self.writer.write(piece, &mut self.packed);
            if self.packed.len() >= PIECE_BYTES {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), JobError> {
        for (sending, gone) in self.sendings.iter_mut().zip(&mut self.gone) {
            if *gone {
                continue;
            }
            match sending.write(&self.packed).await {
                Err(JobError::AllDestinationsFailed(_)) => *gone = true,
                written => written?,
            }
        }
        self.packed.clear();
        if self.gone.iter().all(|gone| *gone) {
            return Err(JobError::AllDestinationsFailed("each stopped taking data".to_owned()));
        }
        Ok(())
    }

    /// Ends the ZIP, and waits until it has arrived, or not, in each destination; what became of it in those that failed
    /// is in the results. A stop gives everything up.
    pub(crate) async fn close(mut self, context: &RunContext) -> Result<Vec<SentObject>, JobError> {
        let ended = context.or_stop(self.end()).await.and_then(|ended| ended);
        if let Err(error @ JobError::Stopped) = ended {
            self.abort().await;
            return Err(error);
        }
        let mut sent = Vec::new();
        for sending in self.sendings {
            // The object may be seen at once: what makes the snapshot exist comes later.
            sent.push(sending.close(true, &context.stop).await);
        }
        Ok(sent)
    }

    async fn end(&mut self) -> Result<(), JobError> {
        let writer = std::mem::take(&mut self.writer);
        let finished = writer.finish(&mut self.packed);
        finished.expect("only names and data that is taken over can be refused, and there are none");
        match self.send().await {
            Ok(()) | Err(JobError::AllDestinationsFailed(_)) => {}
            Err(error) => return Err(error),
        }
        for sending in &mut self.sendings {
            match sending.end().await {
                Ok(()) | Err(JobError::AllDestinationsFailed(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives everything up.
    pub(crate) async fn abort(self) {
        for sending in self.sendings {
            sending.abort().await;
        }
    }
}

impl std::fmt::Debug for ZipSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ZipSink").field("groups", &self.sendings.len()).finish_non_exhaustive()
    }
}
