//! What is needed to reach a bucket, and what each provider wants differently.

use std::{fmt, path::PathBuf, time::Duration};

use convault_core::{DestinationName, Secret};

use crate::UploaderError;

/// Whose S3 it is. The profile gives the defaults and says what not to send there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum S3Profile {
    /// Amazon S3. The region is needed, the endpoint follows from it, the bucket is part of the host name.
    #[default]
    Aws,
    /// Cloudflare R2. The endpoint is needed (`https://<account>.r2.cloudflarestorage.com`), region `auto`,
    /// bucket in the path.
    R2,
    /// Backblaze B2. The region is needed (`us-west-004`), the endpoint follows from it, the bucket is in the
    /// path. SHA-256 checksums are not sent, since B2 has answered requests that carry them with an error;
    /// callers read back instead.
    B2,
    /// `MinIO` and servers like it (`SeaweedFS`). The endpoint is needed, region `us-east-1`, bucket in the path.
    Minio,
    /// Ceph RGW. The endpoint is needed, region `default`, bucket in the path. Old versions take checksums and
    /// ignore them: that shows in what is confirmed.
    Ceph,
    /// Garage. The endpoint is needed, region `garage`, bucket in the path. It ignores conditional writes: the
    /// probe shows it.
    Garage,
}

impl S3Profile {
    /// Every profile.
    pub const ALL: [Self; 6] = [Self::Aws, Self::R2, Self::B2, Self::Minio, Self::Ceph, Self::Garage];

    /// The name in the settings: `aws`, `r2`, `b2`, `minio`, `ceph` or `garage`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::R2 => "r2",
            Self::B2 => "b2",
            Self::Minio => "minio",
            Self::Ceph => "ceph",
            Self::Garage => "garage",
        }
    }

    /// The profile of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// The region where none is set; `None` where it must be.
    pub const fn default_region(self) -> Option<&'static str> {
        match self {
            Self::Aws | Self::B2 => None,
            Self::R2 => Some("auto"),
            Self::Minio => Some("us-east-1"),
            Self::Ceph => Some("default"),
            Self::Garage => Some("garage"),
        }
    }

    /// Whether the bucket is part of the path rather than of the host name, where the settings do not say.
    pub const fn default_path_style(self) -> bool {
        !matches!(self, Self::Aws)
    }

    /// Whether SHA-256 checksums are announced and sent beside the bytes.
    pub(crate) const fn sends_checksums(self) -> bool {
        !matches!(self, Self::B2)
    }

    const fn example_region(self) -> &'static str {
        if matches!(self, Self::B2) { "us-west-004" } else { "eu-central-1" }
    }

    const fn example_endpoint(self) -> &'static str {
        if matches!(self, Self::R2) {
            "https://0123456789abcdef.r2.cloudflarestorage.com"
        } else {
            "https://s3.example.com"
        }
    }
}

impl fmt::Display for S3Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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
    /// The region; needed where [`S3Profile::default_region`] has none.
    pub region: Option<String>,
    /// `https://host[:port]` or `http://host[:port]`; needed for every profile but [`S3Profile::Aws`] and
    /// [`S3Profile::B2`].
    pub endpoint: Option<String>,
    /// Whether the bucket is in the path; where unset, [`S3Profile::default_path_style`].
    pub path_style: Option<bool>,
    /// Whose S3 it is.
    pub profile: S3Profile,
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
    /// The region that requests are signed for.
    pub(crate) fn effective_region(&self, destination: &DestinationName) -> Result<String, UploaderError> {
        let set = self.region.clone().filter(|region| !region.is_empty());
        set.or_else(|| self.profile.default_region().map(str::to_owned)).ok_or_else(|| {
            UploaderError::RegionMissing {
                destination: destination.clone(),
                profile: self.profile.name(),
                example: self.profile.example_region(),
            }
        })
    }

    /// The endpoint that requests go to; `None` is Amazon's for the region.
    pub(crate) fn effective_endpoint(
        &self,
        destination: &DestinationName,
        region: &str,
    ) -> Result<Option<String>, UploaderError> {
        match (&self.endpoint, self.profile) {
            (Some(endpoint), _) if is_endpoint(endpoint) => {
                Ok(Some(endpoint.trim_end_matches('/').to_owned()))
            }
            (Some(_), _) => Err(UploaderError::EndpointInvalid { destination: destination.clone() }),
            (None, S3Profile::Aws) => Ok(None),
            (None, S3Profile::B2) => Ok(Some(format!("https://s3.{region}.backblazeb2.com"))),
            (None, profile) => Err(UploaderError::EndpointMissing {
                destination: destination.clone(),
                profile: profile.name(),
                example: profile.example_endpoint(),
            }),
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

    fn settings(profile: S3Profile, endpoint: Option<&str>, region: Option<&str>) -> S3Settings {
        S3Settings {
            bucket: "acme-backups".into(),
            prefix: "/convex/".into(),
            region: region.map(str::to_owned),
            endpoint: endpoint.map(str::to_owned),
            path_style: None,
            profile,
            access_key: Secret::new("AKIAEXAMPLE"),
            secret_key: Secret::new("wJalrXUtnFEMI"),
            session_token: None,
            ca_file: None,
            timeouts: S3Timeouts::default(),
        }
    }

    #[test]
    fn each_profile_says_what_it_needs() {
        let name = DestinationName::new("offsite").unwrap();
        for profile in S3Profile::ALL {
            assert_eq!(S3Profile::from_name(profile.name()), Some(profile));
            let bare = settings(profile, None, None);
            let region = bare.effective_region(&name);
            assert_eq!(region.is_err(), matches!(profile, S3Profile::Aws | S3Profile::B2), "{profile}");
            let endpoint = bare.effective_endpoint(&name, "us-west-004");
            assert_eq!(endpoint.is_err(), !matches!(profile, S3Profile::Aws | S3Profile::B2), "{profile}");
        }
        let b2 = settings(S3Profile::B2, None, Some("us-west-004"));
        let endpoint = b2.effective_endpoint(&name, "us-west-004").unwrap();
        assert_eq!(endpoint.unwrap(), "https://s3.us-west-004.backblazeb2.com");
        assert_eq!(b2.key_prefix(), "convex/");
    }

    #[test]
    fn an_endpoint_with_credentials_or_a_path_is_refused_without_repeating_it() {
        let name = DestinationName::new("offsite").unwrap();
        for bad in
            ["s3.example.com", "https://", "https://user:hunter2@host", "https://host/path", "ftp://host"]
        {
            let error =
                settings(S3Profile::Minio, Some(bad), None).effective_endpoint(&name, "x").unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        for good in ["https://host/", "http://127.0.0.1:9000", "http://[::1]:9000"] {
            let endpoint =
                settings(S3Profile::Minio, Some(good), None).effective_endpoint(&name, "x").unwrap();
            assert_eq!(endpoint.unwrap(), good.trim_end_matches('/'));
        }
    }

    #[test]
    fn no_secret_is_printed() {
        let printed = format!("{:?}", settings(S3Profile::Aws, None, None));
        assert!(!printed.contains("wJalr") && !printed.contains("AKIA"), "{printed}");
    }
}
