//! What is needed to reach a bucket.

use std::{path::PathBuf, time::Duration};

use convault_core::{DestinationName, Secret};

use crate::UploaderError;

/// How long is waited, and how often something is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct S3Timeouts {
    /// For a connection to be made. Default 10 s.
    pub connect: Duration,
    /// From sending a request without a body to the first byte of its answer. A request with a body has longer:
    /// as if the line carried 64 KiB per second; completing an upload has ten times as long. Default 60 s.
    pub answer: Duration,
    /// Without a single byte moving, in either direction, before a transfer is given up. Default 30 s.
    pub idle: Duration,
    /// How often one request is tried in all, at least 1. Default 5.
    pub tries: u32,
    /// About how long is waited before the second try; doubled from one try to the next. Default 500 ms.
    pub first_back_off: Duration,
}

impl Default for S3Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_mins(1),
            idle: Duration::from_secs(30),
            tries: 5,
            first_back_off: Duration::from_millis(500),
        }
    }
}

/// A bucket, how to reach it, and with which key.
///
/// Where credentials come from the environment or from the machine's role, the caller reads them there.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// The bucket. It must exist.
    pub bucket: String,
    /// What every key begins with, without slashes at either end; may be empty.
    pub prefix: String,
    /// The region that requests are signed for.
    pub region: String,
    /// `https://host[:port]` or `http://host[:port]`; `None` is Amazon's for the region.
    pub endpoint: Option<String>,
    /// Whether the bucket is in the path rather than in the host name.
    pub path_style: bool,
    /// Whether SHA-256 checksums are announced and sent beside the bytes. Where not, callers read back instead.
    pub sends_checksums: bool,
    /// The access key id.
    pub access_key: Secret,
    /// The secret access key.
    pub secret_key: Secret,
    /// The session token that belongs to temporary credentials.
    pub session_token: Option<Secret>,
    /// A PEM file with the certificate authorities to trust *instead* of the machine's.
    pub ca_file: Option<PathBuf>,
    /// How long is waited, and how often something is tried again.
    pub timeouts: S3Timeouts,
}

impl S3Settings {
    /// The endpoint that requests go to, checked and without a slash at its end.
    pub(crate) fn endpoint(&self, destination: &DestinationName) -> Result<Option<String>, UploaderError> {
        match &self.endpoint {
            Some(endpoint) if !is_endpoint(endpoint) => {
                Err(UploaderError::EndpointInvalid { destination: destination.clone() })
            }
            endpoint => Ok(endpoint.as_ref().map(|endpoint| endpoint.trim_end_matches('/').to_owned())),
        }
    }

    /// The prefix as keys begin with it: empty, or ending in one slash.
    pub(crate) fn key_prefix(&self) -> String {
        let prefix = self.prefix.trim_matches('/');
        if prefix.is_empty() { String::new() } else { format!("{prefix}/") }
    }
}

/// Whether `text` is scheme and host with perhaps a port. A user name or password in it would end up in logs.
fn is_endpoint(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.map(|rest| rest.strip_suffix('/').unwrap_or(rest)).is_some_and(|host| {
        let of_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
        !host.is_empty() && host.chars().all(of_host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(endpoint: Option<&str>) -> S3Settings {
        S3Settings {
            bucket: "acme-backups".into(),
            prefix: "/convex/".into(),
            region: "us-west-004".into(),
            endpoint: endpoint.map(str::to_owned),
            path_style: true,
            sends_checksums: true,
            access_key: Secret::new("AKIAEXAMPLE"),
            secret_key: Secret::new("wJalrXUtnFEMI"),
            session_token: None,
            ca_file: None,
            timeouts: S3Timeouts::default(),
        }
    }

    #[test]
    fn keys_begin_with_the_prefix_and_one_slash() {
        assert_eq!(settings(None).key_prefix(), "convex/");
        assert_eq!(S3Settings { prefix: "/".into(), ..settings(None) }.key_prefix(), "");
    }

    #[test]
    fn an_endpoint_with_credentials_or_a_path_is_refused_without_repeating_it() {
        let name = DestinationName::new("offsite").unwrap();
        for bad in
            ["s3.example.com", "https://", "https://user:hunter2@host", "https://host/path", "ftp://host"]
        {
            let error = settings(Some(bad)).endpoint(&name).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        for good in ["https://host/", "http://127.0.0.1:9000", "http://[::1]:9000"] {
            let endpoint = settings(Some(good)).endpoint(&name).unwrap();
            assert_eq!(endpoint.unwrap(), good.trim_end_matches('/'));
        }
    }

    #[test]
    fn no_secret_is_printed() {
        let printed = format!("{:?}", settings(None));
        assert!(!printed.contains("wJalr") && !printed.contains("AKIA"), "{printed}");
    }
}
