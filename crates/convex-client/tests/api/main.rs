//! The client against servers that answer as told: by these tests, and by recordings of a real backend.

#[cfg(test)]
mod imports;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod server;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod transcripts;
