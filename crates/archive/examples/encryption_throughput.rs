//! How fast an object is encrypted and opened on one core.
//!
//! `cargo run --release -p convault-archive --example encryption_throughput -- [MiB]`
//!
//! Times are processor time of this thread, which other work on the machine changes little; Linux only.

#![allow(clippy::print_stdout, reason = "this is what a measurement is for")]
#![allow(clippy::cast_precision_loss, reason = "three digits are printed")]

use std::{
    error::Error,
    io::{Read as _, Write as _},
};

use bytes::BytesMut;
use convault_archive::encryption::{Decryptor, Encryptor, Identities, Recipients, generate};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let length = std::env::args().nth(1).map_or(Ok(1024), |text| text.parse::<usize>())? << 20;
    let piece = vec![0x5a; 256 << 10];
    let (public, secret) = generate();
    let (recipients, identities) = (Recipients::parse([&public])?, Identities::parse(&secret)?);

    let mut encryptor = Encryptor::new(&recipients);
    let mut out = BytesMut::with_capacity(1 << 20);
    measure("encrypt", length, || {
        for _ in 0..length / piece.len() {
            out.clear();
            encryptor.push(&piece, &mut out);
        }
        Ok(())
    })?;

    let mut bytes = BytesMut::new();
    let mut encryptor = Encryptor::new(&recipients);
    encryptor.push(&vec![0x5a; length], &mut bytes);
    encryptor.finish(&mut bytes);
    let mut decryptor = Decryptor::new(&identities);
    measure("decrypt", length, || {
        for piece in bytes.chunks(256 << 10) {
            out.clear();
            decryptor.push(piece, &mut out)?;
        }
        Ok(decryptor.finish(&mut out)?)
    })?;

    let recipient: age::x25519::Recipient = public.parse()?;
    let encryptor = age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))?;
    let mut writer = encryptor.wrap_output(std::io::sink())?;
    measure("encrypt, by the age crate", length, || {
        (0..length / piece.len()).try_for_each(|_| writer.write_all(&piece)).map_err(Into::into)
    })?;
    let identity = age::IdentityFile::from_buffer(secret.expose().as_bytes())?.into_identities()?;
    let decryptor = age::Decryptor::new_buffered(&bytes[..])?;
    let mut reader = decryptor.decrypt(identity.iter().map(|key| &**key as &dyn age::Identity))?;
    let mut buffer = vec![0; 256 << 10];
    measure("decrypt, by the age crate", length, || {
        while reader.read(&mut buffer)? > 0 {}
        Ok(())
    })
}

fn measure(what: &str, bytes: usize, work: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
    let started = processor_seconds()?;
    work()?;
    let seconds = processor_seconds()? - started;
    println!("{what}: {:.2} GB/s ({seconds:.2} s)", bytes as f64 / seconds / 1e9);
    Ok(())
}

/// Processor time of this thread so far.
fn processor_seconds() -> Outcome<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split_whitespace().next().unwrap_or_default().parse::<u64>()?;
    Ok(nanoseconds as f64 / 1e9)
}
