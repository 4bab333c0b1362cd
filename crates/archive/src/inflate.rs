//! Inflates an entry as its bytes come, and finds the places from which inflating can start again.
//!
//! `zlib-rs` is the fastest inflater in safe Rust, but does not say at which bit a block begins: only, when asked
//! to stop there, after which byte. That leaves eight possibilities. Each is tried with `miniz_oxide`, which can
//! start at a bit, against content already known; the one that gives that content is the resume point, proven by
//! having been used. `docs/decisions/0002-resume-points.md` has the measurements.

use miniz_oxide::inflate::{
    TINFLStatus,
    core::{BlockBoundaryState, DecompressorOxide, decompress, inflate_flags},
};
use zlib_rs::{Inflate, InflateFlush, Status};

/// Deflate refers back at most this far.
pub(crate) const WINDOW_BYTES: usize = 32 << 10;

/// Bytes of content with which a resume point is proven.
const PROOF_BYTES: usize = 1 << 10;

const OUTPUT_BYTES: usize = 128 << 10;

/// The data is not deflate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damaged;

/// What came of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Input bytes used.
    pub(crate) consumed: usize,
    /// Bytes of content, at the start of [`Inflater::output`].
    pub(crate) produced: usize,
    /// Whether this was the end of the deflate stream.
    pub(crate) ended: bool,
}

/// A place from which inflating can start again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Boundary {
    /// In the compressed data, bits.
    pub(crate) compressed_bits: u64,
    /// In the content, bytes.
    pub(crate) content_offset: u64,
    /// The content before it, up to [`WINDOW_BYTES`].
    pub(crate) window: Vec<u8>,
}

/// Inflates one entry after the other.
pub(crate) struct Inflater {
    inner: Inflate,
    output: Box<[u8]>,
    consumed: u64,
    produced: u64,
    seeker: Option<Seeker>,
    stopped: Option<u64>,
    found: Option<Boundary>,
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").field("consumed", &self.consumed).finish_non_exhaustive()
    }
}

impl Inflater {
    pub(crate) fn new() -> Self {
        Self {
            inner: Inflate::new(false, 15),
            output: vec![0; OUTPUT_BYTES].into_boxed_slice(),
            consumed: 0,
            produced: 0,
            seeker: None,
            stopped: None,
            found: None,
        }
    }

    /// Begins a new entry; `boundary_every` asks for a [`Boundary`] after about that many compressed bytes each.
    pub(crate) fn reset(&mut self, boundary_every: Option<u64>) {
        self.inner.reset(false);
        (self.consumed, self.produced) = (0, 0);
        self.seeker = boundary_every.map(|every| Seeker { every, last: 0, last_byte: 0, stage: Stage::Idle });
        (self.stopped, self.found) = (None, None);
    }

    /// Inflates some of `input`.
    pub(crate) fn step(&mut self, input: &[u8]) -> Result<Step, Damaged> {
        let flush = match &self.seeker {
            Some(Seeker { stage: Stage::Stopping(_), .. }) => InflateFlush::Block,
            _ => InflateFlush::NoFlush,
        };
        let (before_in, before_out) = (self.inner.total_in(), self.inner.total_out());
        let status = self.inner.decompress(input, &mut self.output, flush).map_err(|_| Damaged)?;
        let step = Step {
            consumed: length(self.inner.total_in() - before_in),
            produced: length(self.inner.total_out() - before_out),
            ended: status == Status::StreamEnd,
        };
        self.consumed += step.consumed as u64;
        self.produced += step.produced as u64;
        if let Some(seeker) = &mut self.seeker {
            let seen = Seen {
                input: &input[..step.consumed],
                output: &self.output[..step.produced],
                stopped: !step.ended && step.consumed < input.len() && step.produced < self.output.len(),
                consumed: self.consumed,
                produced: self.produced,
            };
            let was_proving = matches!(seeker.stage, Stage::Proving(_));
            self.found = seeker.see(&seen, step.ended).or(self.found.take());
            if !was_proving && matches!(seeker.stage, Stage::Proving(_)) {
                self.stopped = Some(self.produced);
            }
        }
        Ok(step)
    }

    /// The content of the last step is at its start.
    pub(crate) fn output(&self) -> &[u8] {
        &self.output
    }

    /// The content offset of a boundary that may be proven in a later step, if the last step ended at one.
    pub(crate) fn take_stop(&mut self) -> Option<u64> {
        self.stopped.take()
    }

    /// A boundary that was found since the last call.
    pub(crate) fn take_boundary(&mut self) -> Option<Boundary> {
        self.found.take()
    }
}

fn length(difference: u64) -> usize {
    usize::try_from(difference).expect("one step moves no more than its buffers hold")
}

/// What one step used and gave.
struct Seen<'a> {
    input: &'a [u8],
    output: &'a [u8],
    /// Input and room for output were left: the step ended at a block boundary, if it was asked to.
    stopped: bool,
    consumed: u64,
    produced: u64,
}

/// Looks for block boundaries, one about every so many compressed bytes.
struct Seeker {
    every: u64,
    /// Compressed offset of the last boundary found or given up.
    last: u64,
    /// The last compressed byte used.
    last_byte: u8,
    stage: Stage,
}

enum Stage {
    /// Not far enough from the last boundary.
    Idle,
    /// Collecting the window that a boundary needs.
    Gathering(Vec<u8>),
    /// The window is complete: stop at the next boundary.
    Stopping(Vec<u8>),
    /// Stopped at a boundary: collecting what proves at which bit it is.
    Proving(Candidate),
}

struct Candidate {
    /// Compressed bytes used up to here; up to 7 bits of the last belong to the next block.
    consumed: u64,
    last_byte: u8,
    content_offset: u64,
    window: Vec<u8>,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Seeker {
    fn see(&mut self, seen: &Seen<'_>, ended: bool) -> Option<Boundary> {
        self.last_byte = seen.input.last().copied().unwrap_or(self.last_byte);
        self.stage = match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle if seen.consumed - self.last >= self.every => Stage::Gathering(Vec::new()),
            Stage::Idle => Stage::Idle,
            Stage::Gathering(mut window) => {
                slide(&mut window, seen.output);
                if window.len() == WINDOW_BYTES || window.len() as u64 == seen.produced {
                    Stage::Stopping(window)
                } else {
                    Stage::Gathering(window)
                }
            }
            Stage::Stopping(mut window) => {
                slide(&mut window, seen.output);
                if seen.stopped {
                    Stage::Proving(Candidate {
                        consumed: seen.consumed,
                        last_byte: self.last_byte,
                        content_offset: seen.produced,
                        window,
                        input: Vec::new(),
                        output: Vec::new(),
                    })
                } else {
                    Stage::Stopping(window)
                }
            }
            Stage::Proving(mut candidate) => {
                candidate.input.extend_from_slice(seen.input);
                let room = PROOF_BYTES - candidate.output.len();
                candidate.output.extend_from_slice(&seen.output[..seen.output.len().min(room)]);
                if candidate.output.len() < PROOF_BYTES && !ended {
                    Stage::Proving(candidate)
                } else {
                    self.last = candidate.consumed;
                    return candidate.prove();
                }
            }
        };
        None
    }
}

/// Keeps the last [`WINDOW_BYTES`] of what was seen.
fn slide(window: &mut Vec<u8>, output: &[u8]) {
    let output = &output[output.len().saturating_sub(WINDOW_BYTES)..];
    let surplus = (window.len() + output.len()).saturating_sub(WINDOW_BYTES);
    window.drain(..surplus.min(window.len()));
    window.extend_from_slice(output);
}

impl Candidate {
    /// Tries each bit; no boundary where none gives the content that is known to follow. Before a stored block,
    /// which begins at the next whole byte, several do, and all are right.
    fn prove(self) -> Option<Boundary> {
        let unused = (0..8_u8).find(|unused| self.gives_known_content(*unused))?;
        Some(Boundary {
            compressed_bits: self.consumed * 8 - u64::from(unused),
            content_offset: self.content_offset,
            window: self.window,
        })
    }

    fn gives_known_content(&self, unused: u8) -> bool {
        if self.output.is_empty() {
            return false;
        }
        let mut resumed = Resumed::start(&self.window, unused, self.last_byte);
        let mut found = 0;
        let mut input = self.input.as_slice();
        while found < self.output.len() {
            let Ok((consumed, content, _)) = resumed.step(input) else { return false };
            let compared = content.len().min(self.output.len() - found);
            if content[..compared] != self.output[found..found + compared]
                || (content.is_empty() && consumed == 0)
            {
                return false;
            }
            found += compared;
            input = &input[consumed..];
        }
        true
    }
}

/// Inflates from a [`Boundary`] on.
pub(crate) struct Resumed {
    inner: Box<DecompressorOxide>,
    /// A ring: what was inflated last is always there to be referred to.
    ring: Box<[u8]>,
    at: usize,
}

impl Resumed {
    /// A power of two, as the ring of `miniz_oxide` must be.
    const RING_BYTES: usize = 2 * WINDOW_BYTES;

    /// With `unused` bits, the highest, of `last_byte` still to be read before the input that follows.
    pub(crate) fn start(window: &[u8], unused: u8, last_byte: u8) -> Self {
        let bit_buf = if unused == 0 { 0 } else { last_byte >> (8 - unused) };
        let state = BlockBoundaryState { num_bits: unused, bit_buf, ..BlockBoundaryState::default() };
        let mut ring = vec![0; Self::RING_BYTES].into_boxed_slice();
        // The window ends where the ring does, so that writing goes on at its start.
        ring[Self::RING_BYTES - window.len()..].copy_from_slice(window);
        Self { inner: Box::new(DecompressorOxide::from_block_boundary_state(&state)), ring, at: 0 }
    }

    /// Inflates some of `input`: bytes used, content, and whether that was the end.
    pub(crate) fn step(&mut self, input: &[u8]) -> Result<(usize, &[u8], bool), Damaged> {
        let start = self.at;
        let flags = inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
        let (status, consumed, produced) = decompress(&mut self.inner, input, &mut self.ring, start, flags);
        self.at = (start + produced) % Self::RING_BYTES;
        match status {
            TINFLStatus::Done => Ok((consumed, &self.ring[start..start + produced], true)),
            TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput => {
                Ok((consumed, &self.ring[start..start + produced], false))
            }
            _ => Err(Damaged),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn text(bytes: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut text = Vec::with_capacity(bytes + 64);
        while text.len() < bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            writeln!(text, "{{\"_id\":\"{state:x}\",\"n\":{}}}", state >> 50).unwrap();
        }
        text
    }

    fn deflate(content: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(level));
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn inflate(data: &[u8], chunk: usize, every: u64) -> (Vec<u8>, Vec<Boundary>) {
        let mut inflater = Inflater::new();
        inflater.reset(Some(every));
        let (mut content, mut boundaries) = (Vec::new(), Vec::new());
        'chunks: for mut input in data.chunks(chunk) {
            while !input.is_empty() {
                let step = inflater.step(input).unwrap();
                content.extend_from_slice(&inflater.output()[..step.produced]);
                boundaries.extend(inflater.take_boundary());
                input = &input[step.consumed..];
                if step.ended {
                    break 'chunks;
                }
            }
        }
        (content, boundaries)
    }

    fn resume(data: &[u8], boundary: &Boundary) -> Vec<u8> {
        let unused = u8::try_from((8 - boundary.compressed_bits % 8) % 8).unwrap();
        let mut input = &data[usize::try_from(boundary.compressed_bits.div_ceil(8)).unwrap()..];
        let last_byte = data[usize::try_from(boundary.compressed_bits / 8).unwrap()];
        let mut resumed = Resumed::start(&boundary.window, unused, last_byte);
        let mut content = Vec::new();
        loop {
            let (consumed, more, ended) = resumed.step(input).unwrap();
            content.extend_from_slice(more);
            input = &input[consumed..];
            if ended {
                return content;
            }
        }
    }

    #[test]
    fn inflating_resumes_at_every_boundary_found() {
        let content = text(3 << 20);
        for level in [0, 4, 6, 9] {
            let data = deflate(&content, level);
            for chunk in [1, 997, 64 << 10] {
                let (inflated, boundaries) = inflate(&data, chunk, 100_000);
                assert!(inflated == content, "level {level}, chunks of {chunk}");
                // A boundary at the very end of a chunk is passed by: with chunks of one byte, each.
                assert!(chunk == 1 || boundaries.len() > 3, "level {level}, chunks of {chunk}");
                for boundary in &boundaries {
                    let offset = usize::try_from(boundary.content_offset).unwrap();
                    assert_eq!(boundary.window, content[offset.saturating_sub(WINDOW_BYTES)..offset]);
                    assert!(resume(&data, boundary) == content[offset..], "level {level}, chunks of {chunk}");
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_not_deflate_are_refused() {
        let mut inflater = Inflater::new();
        inflater.reset(None);
        assert_eq!(inflater.step(&[0xff; 64]), Err(Damaged));
    }
}
