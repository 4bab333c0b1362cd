//! What can go wrong with one request, and whether it is worth repeating.

use std::path::PathBuf;
use std::time::Duration;

/// Whether a request that failed is worth repeating.
///
/// It says nothing about whether the server acted on it: an answer can be lost after the deed. Where doing it twice
/// would matter, look before repeating.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryClass {
    /// The same request would fail the same way.
    Never,
    /// Perhaps a hiccup, perhaps for good: repeat it a few times.
    FewTimes,
    /// The server is busy, starting or out of reach: repeat it with growing pauses.
    BackOff,
}

/// A request that failed. The text says which call, where and what; it never has a key, nor a URL with a credential.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file of additional certificate authorities cannot be used.
    #[error("the CA file {} cannot be used: {problem}", .path.display())]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The address cannot be that of a deployment.
    #[error("the address `{shown}` cannot be used: {problem}")]
    Address {
        /// The address, without credentials.
        shown: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The key has characters that cannot be sent in a header.
    #[error("the key is empty or has characters that no key has (a line break, perhaps)")]
    KeyText,
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be set up")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No connection, or it broke before the answer was complete.
    #[error("{call}: no connection to {host}, or it broke")]
    Network {
        /// Which call.
        call: &'static str,
        /// Host and port.
        host: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The other side's certificate is not accepted.
    #[error("{call}: the certificate of {host} is not accepted{}", if *.no_authorities {
        " (this machine has no CA certificates at all: set `ca_file`)"
    } else {
        " (is its authority in `ca_file`?)"
    })]
    Certificate {
        /// Which call.
        call: &'static str,
        /// Host and port.
        host: String,
        /// Whether no certificate authority is known at all.
        no_authorities: bool,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing came within the time allowed.
    #[error("{call}: {host} was silent for {} s", .waited.as_secs_f64())]
    TimedOut {
        /// Which call.
        call: &'static str,
        /// Host and port.
        host: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The server answered with a redirect, which is never followed: it would carry the key along.
    #[error("{call}: {host} redirects to {to}; use that address, if it is yours")]
    Redirect {
        /// Which call.
        call: &'static str,
        /// Host and port that answered.
        host: String,
        /// Scheme and host of the redirect's target.
        to: String,
    },
    /// The server answered with an error.
    #[error("{call}: HTTP {status}{}{code}{}{message}", if .code.is_empty() { "" } else { " " }, if .message.is_empty() { "" } else { ": " })]
    Api {
        /// Which call.
        call: &'static str,
        /// The HTTP status.
        status: u16,
        /// The server's code, like `ExportInProgress`; empty where it sent none.
        code: String,
        /// The server's words, bounded, on one line, without the key.
        message: String,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// A function was run and failed: HTTP 200 with `"status":"error"`.
    #[error("{call}: the function failed: {message}")]
    Function {
        /// Which function.
        call: &'static str,
        /// The server's words, bounded, on one line, without the key.
        message: String,
    },
    /// The answer is not what such a service sends.
    #[error("{call}: the answer of {host} is not that of {service}: {problem}")]
    Answer {
        /// Which call.
        call: &'static str,
        /// Host and port.
        host: String,
        /// What it should have been, like `a Convex deployment`.
        service: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl ClientError {
    /// Whether the request is worth repeating (protocol §14.2).
    ///
    /// A 404 without a code comes from something in front of the deployment, or from a server that lacks the route:
    /// a proxy answers so while the deployment behind it starts, so it is worth a few more tries.
    pub fn retry_class(&self) -> RetryClass {
        match self {
            Self::Network { .. } | Self::TimedOut { .. } => RetryClass::BackOff,
            Self::Api { status, code, .. } => status_class(*status, code),
            Self::Answer { .. } | Self::Function { .. } => RetryClass::FewTimes,
            Self::CaFile { .. }
            | Self::Address { .. }
            | Self::KeyText
            | Self::Setup(_)
            | Self::Certificate { .. }
            | Self::Redirect { .. } => RetryClass::Never,
        }
    }

    /// How long the server asks to wait before the next try, where it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Api { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The HTTP status, where there was an answer with an error status.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The server's code, like `ExportInProgress`; empty where there is none.
    pub fn code(&self) -> &str {
        match self {
            Self::Api { code, .. } => code,
            _ => "",
        }
    }

    /// The permission that is missing, like `deployment:backups:create`, where the server's words name one.
    ///
    /// A route says so with 403, a system function with HTTP 200 and a failure (protocol §1.5).
    pub fn missing_permission(&self) -> Option<&str> {
        let (Self::Api { status: 403, message, .. } | Self::Function { message, .. }) = self else {
            return None;
        };
        let name = &message[message.find("deployment:")?..];
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != ':').unwrap_or(name.len());
        Some(name[..end].trim_end_matches(':'))
    }

    /// Whether the request cannot have reached the server: there was no connection to send it over.
    pub fn is_unsent(&self) -> bool {
        match self {
            Self::CaFile { .. }
            | Self::Address { .. }
            | Self::KeyText
            | Self::Setup(_)
            | Self::Certificate { .. } => true,
            Self::Network { source, .. } => {
                source.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect)
            }
            _ => false,
        }
    }

    /// Whether a server that started lately has not counted its tables yet: the same succeeds later.
    pub fn is_still_counting(&self) -> bool {
        match self {
            Self::Api { code, .. } => code == "TableSummariesUnavailable",
            Self::Function { message, .. } => {
                message.contains("TableSummariesUnavailable") || message.contains("summaries")
            }
            _ => false,
        }
    }

    /// Whether the function that was called does not exist there.
    pub fn is_unknown_function(&self) -> bool {
        matches!(self, Self::Function { message, .. } if message.contains("Could not find"))
    }
}

fn status_class(status: u16, code: &str) -> RetryClass {
    match status {
        404 if code.is_empty() => RetryClass::FewTimes,
        500 => RetryClass::FewTimes,
        408 | 421 | 425 | 429 | 501..=599 => RetryClass::BackOff,
        _ => RetryClass::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::{ClientError, RetryClass};

    fn api(status: u16, code: &str, message: &str) -> ClientError {
        ClientError::Api {
            call: "call",
            status,
            code: code.to_owned(),
            message: message.to_owned(),
            retry_after: None,
        }
    }

    #[test]
    fn statuses_are_classed_as_the_protocol_says() {
        for (status, code, class) in [
            (400, "ExportInProgress", RetryClass::Never),
            (401, "BadAdminKey", RetryClass::Never),
            (403, "OperationNotPermitted", RetryClass::Never),
            (404, "ExportNotFound", RetryClass::Never),
            (404, "", RetryClass::FewTimes),
            (408, "", RetryClass::BackOff),
            (409, "", RetryClass::Never),
            (421, "", RetryClass::BackOff),
            (425, "", RetryClass::BackOff),
            (429, "TooManyConcurrentRequests", RetryClass::BackOff),
            (500, "InternalServerError", RetryClass::FewTimes),
            (502, "", RetryClass::BackOff),
            (503, "OptimisticConcurrencyControlFailure", RetryClass::BackOff),
        ] {
            assert_eq!(api(status, code, "").retry_class(), class, "{status} {code}");
        }
    }

    #[test]
    fn the_missing_permission_is_read_from_the_message() {
        let error = api(403, "OperationNotPermitted", "You may not (deployment:backups:create)");
        assert_eq!(error.missing_permission(), Some("deployment:backups:create"));
        assert_eq!(
            api(403, "BadDeployKey", "The provided deploy key was invalid").missing_permission(),
            None
        );
        assert_eq!(api(400, "", "deployment:backups:create").missing_permission(), None);
    }

    #[test]
    fn an_error_without_code_and_message_reads_well() {
        assert_eq!(api(404, "", "").to_string(), "call: HTTP 404");
        assert_eq!(api(503, "Busy", "later").to_string(), "call: HTTP 503 Busy: later");
    }
}
