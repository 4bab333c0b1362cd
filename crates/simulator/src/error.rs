//! What can go wrong when a simulated deployment is set up or spoken to from code.

use std::net::SocketAddr;

/// A failure of the simulator itself. What a simulated deployment answers over HTTP is not an error of this type.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// A JSON text is not a Convex value in the encoding it was read with.
    #[error("not a Convex value: {reason}")]
    InvalidValue {
        /// What is wrong with it, in the words of the backend where they are known.
        reason: String,
    },
    /// A text is not JSON at all.
    #[error("not JSON: {reason}")]
    InvalidJson {
        /// What is wrong with it and where, in the words of the parser.
        reason: String,
    },
    /// A text is not a document ID.
    #[error("`{text}` is not a document ID: {reason}")]
    InvalidId {
        /// The text as it was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A fault was asked for that does not exist, or with a value it does not take.
    #[error("fault `{text}`: {reason}")]
    InvalidFault {
        /// The text as it was given.
        text: String,
        /// What is wrong with it and what is expected instead.
        reason: String,
    },
    /// A component, table or document that was named does not exist.
    #[error("the simulated deployment has no {what} `{name}`")]
    NotFound {
        /// What was looked for: `component`, `table` or `document`.
        what: &'static str,
        /// Its name, path or ID.
        name: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: choose a free port of this machine, or port 0")]
    Listen {
        /// The address as configured.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}
