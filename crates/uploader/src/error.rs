//! What can be wrong with a destination before anything is sent to it.

use std::{io, path::PathBuf};

use convault_core::DestinationName;

/// A destination that cannot be prepared as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum UploaderError {
    /// The file of certificate authorities cannot be read.
    #[error("destination {destination}: cannot read `ca_file` {path}")]
    CaFileUnreadable {
        /// Which destination.
        destination: DestinationName,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file of certificate authorities has none in it, or a damaged one.
    #[error(
        "destination {destination}: `ca_file` {path} must hold one or more certificates in PEM: {problem}"
    )]
    CaFileInvalid {
        /// Which destination.
        destination: DestinationName,
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        problem: String,
    },
    /// The machine knows no certificate authority, so no `https://` endpoint could be trusted.
    #[error("destination {destination}: this machine has no CA certificates: install them, or set `ca_file`")]
    NoCertificates {
        /// Which destination.
        destination: DestinationName,
    },
    /// The endpoint is no URL that requests can be sent to.
    #[error(
        "destination {destination}: `endpoint` must be `https://host` or `http://host`, with a port where needed \
         and without user, path or query"
    )]
    EndpointInvalid {
        /// Which destination.
        destination: DestinationName,
    },
}
