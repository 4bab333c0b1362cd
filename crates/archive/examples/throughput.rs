//! How fast a ZIP is read on one core, all checks included, beside the speed of the parts of that work.
//!
//! `cargo run --release -p convault-archive --example throughput -- [MiB of documents] [MiB of files]`
//!
//! Times are processor time of this thread, which other work on the machine changes little; Linux only.

#![allow(clippy::print_stdout, reason = "this is what a measurement is for")]
#![allow(clippy::cast_precision_loss, reason = "three digits are printed")]

use std::{error::Error, io::Cursor};

use convault_archive::{Options, Reader};
use convault_core::Sha256;
use miniz_oxide::inflate::{TINFLStatus, core as miniz};
use serde::{Deserialize as _, de::IgnoredAny};
use zip::{ZipWriter, write::SimpleFileOptions};

type Outcome<T> = Result<T, Box<dyn Error>>;

const TEXTS: [&str; 3] = [
    "Called about the invoice of last month, will call back on Thursday",
    "asked for the new price list and a sample",
    "no answer, left a message",
];

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let document_bytes = arguments.next().unwrap_or(Ok(768))? << 20;
    let file_bytes = arguments.next().unwrap_or(Ok(256))? << 20;
    let (zip, content) = export(document_bytes, file_bytes)?;
    for chunk_bytes in [16 << 10, 256 << 10] {
        let documents =
            measure(&format!("everything, chunks of {chunk_bytes}"), content, || read(&zip, chunk_bytes))?;
        println!("  {documents} documents, {} bytes of ZIP", zip.len());
    }
    let documents = documents(64 << 20);
    let deflated = miniz_oxide::deflate::compress_to_vec(&documents, 6);
    measure("zlib-rs alone, documents", documents.len(), || inflate_zlib(&deflated))?;
    measure("miniz_oxide with block boundaries alone, documents", documents.len(), || {
        inflate_miniz(&deflated)
    })?;
    measure("SHA-256 alone, in one piece", documents.len(), || Ok(Sha256::of(&documents).0[0]))?;
    measure("SHA-256 alone, each line", documents.len(), || {
        Ok(lines(&documents).fold(0, |sum, line| sum ^ Sha256::of(line).0[0]))
    })?;
    measure("serde_json without building anything, each line", documents.len(), || check_lines(&documents))?;
    Ok(())
}

fn measure<T>(what: &str, bytes: usize, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let started = processor_seconds()?;
    let outcome = work()?;
    let seconds = processor_seconds()? - started;
    println!("{what}: {:.0} MB/s of content ({seconds:.2} s)", bytes as f64 / seconds / 1e6);
    Ok(std::hint::black_box(outcome))
}

/// Processor time of this thread so far.
fn processor_seconds() -> Outcome<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: u64 = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds as f64 / 1e9)
}

fn read(zip: &[u8], chunk_bytes: usize) -> Outcome<u64> {
    let mut reader = Reader::new(Options::default());
    for chunk in zip.chunks(chunk_bytes) {
        reader.push(chunk)?;
        std::hint::black_box(reader.take_index());
    }
    Ok(reader.finish()?.findings.totals.documents)
}

fn inflate_zlib(deflated: &[u8]) -> Outcome<u64> {
    let mut inflate = zlib_rs::Inflate::new(false, 15);
    let mut output = vec![0; 128 << 10];
    loop {
        let input = &deflated[usize::try_from(inflate.total_in())?..];
        let input = &input[..input.len().min(64 << 10)];
        let status = inflate.decompress(input, &mut output, zlib_rs::InflateFlush::NoFlush);
        if status.map_err(|_| "not deflate")? == zlib_rs::Status::StreamEnd {
            return Ok(inflate.total_out());
        }
    }
}

fn inflate_miniz(mut deflated: &[u8]) -> Outcome<usize> {
    let mut inflate = miniz::DecompressorOxide::new();
    let mut ring = vec![0; 128 << 10];
    let flags = miniz::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT
        | miniz::inflate_flags::TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY;
    let (mut at, mut total) = (0, 0);
    loop {
        let input = &deflated[..deflated.len().min(64 << 10)];
        let (status, consumed, produced) = miniz::decompress(&mut inflate, input, &mut ring, at, flags);
        deflated = &deflated[consumed..];
        at = (at + produced) % ring.len();
        total += produced;
        match status {
            TINFLStatus::Done => return Ok(total),
            TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput | TINFLStatus::BlockBoundary => {}
            _ => return Err("not deflate".into()),
        }
    }
}

fn check_lines(documents: &[u8]) -> Outcome<u64> {
    let mut count = 0;
    for line in lines(documents) {
        IgnoredAny::deserialize(&mut serde_json::Deserializer::from_slice(line))?;
        count += 1;
    }
    Ok(count)
}

/// The lines of a text that ends with a line feed.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', text).map(move |end| &text[std::mem::replace(&mut start, end + 1)..end])
}

/// A ZIP of one table and one stored file, and how much content it has.
fn export(document_bytes: usize, file_bytes: usize) -> Outcome<(Vec<u8>, usize)> {
    use std::io::Write as _;
    let deflate = SimpleFileOptions::default().large_file(true);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut content = 0;
    zip.start_file("notes/documents.jsonl", deflate)?;
    let piece = documents(document_bytes.min(64 << 20));
    while content < document_bytes {
        zip.write_all(&piece)?;
        content += piece.len();
    }
    zip.start_file("_storage/kg2.bin", deflate)?;
    let piece = noise(file_bytes.min(1 << 20));
    let mut file = 0;
    while file < file_bytes {
        zip.write_all(&piece)?;
        file += piece.len();
    }
    Ok((zip.finish()?.into_inner(), content + file))
}

/// Documents as a CRM has them: about 350 bytes, text that compresses about five times.
fn documents(bytes: usize) -> Vec<u8> {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes + 1024);
    let mut number = 0_u64;
    let mut noise = 1_u64;
    while text.len() < bytes {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let body = TEXTS[usize::try_from(noise >> 33).unwrap_or(0) % TEXTS.len()];
        writeln!(
            text,
            "{{\"_creationTime\":{}.0,\"_id\":\"j57{number:012x}{noise:016x}\",\"amount\":{}.5,\"author\":\
             \"k{:015x}\",\"body\":\"{body}. {body} again, as agreed on {}\",\"count\":{number},\"open\":true,\
             \"tags\":[\"call\",\"sales\",null],\"visits\":{{\"first\":1.0,\"last\":{}}}}}",
            1_700_000_000_000 + number,
            noise >> 40,
            noise >> 4,
            noise >> 50,
            noise >> 20,
        )
        .expect("a string takes any text");
        number += 1;
    }
    text.into_bytes()
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise
}
