//! The SDK's client for one bucket: ring for TLS, bounded repeats, limits on every wait.

use std::{fs, path::Path, time::Duration};

use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Config, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
        SharedHttpClient, StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
    },
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use convault_core::DestinationName;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::settings::{S3Settings, S3Timeouts};
use crate::UploaderError;

/// The slowest line on which a request with a body still gets through. Bytes per second.
const SLOWEST_LINE: u64 = 64 << 10;
const LONGEST_BACK_OFF: Duration = Duration::from_secs(20);

pub(super) fn build(
    settings: &S3Settings,
    destination: &DestinationName,
    endpoint: Option<&str>,
) -> Result<Client, UploaderError> {
    let credentials = Credentials::new(
        settings.access_key.expose(),
        settings.secret_key.expose(),
        settings.session_token.as_ref().map(|token| token.expose().to_owned()),
        None,
        "convault",
    );
    let timeouts = settings.timeouts;
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(settings.region.clone()))
        .credentials_provider(credentials)
        .force_path_style(settings.path_style)
        // Checksums are given where they are wanted. The SDK's own, sent unasked, are refused by some servers.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(timeouts.tries.max(1))
                .with_initial_backoff(timeouts.first_back_off)
                .with_max_backoff(LONGEST_BACK_OFF),
        )
        .timeout_config(limits(timeouts, timeouts.answer))
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled().grace_period(timeouts.idle).build(),
        )
        .http_client(http_client(settings, destination, endpoint)?);
    config.set_endpoint_url(endpoint.map(str::to_owned));
    Ok(Client::from_conf(config.build()))
}

/// What one request may override: how long its answer may take, and that it is not repeated by the SDK.
pub(super) fn patient(timeouts: S3Timeouts, body_bytes: u64) -> aws_sdk_s3::config::Builder {
    let answer = timeouts.answer + Duration::from_secs(body_bytes / SLOWEST_LINE);
    Config::builder().timeout_config(limits(timeouts, answer))
}

/// The same for the completion of an upload, during which some stores copy the parts together.
pub(super) fn completing(timeouts: S3Timeouts) -> aws_sdk_s3::config::Builder {
    Config::builder().timeout_config(limits(timeouts, timeouts.answer * 10))
}

fn limits(timeouts: S3Timeouts, answer: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(timeouts.connect).read_timeout(answer).build()
}

fn http_client(
    settings: &S3Settings,
    destination: &DestinationName,
    endpoint: Option<&str>,
) -> Result<SharedHttpClient, UploaderError> {
    if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
        return Ok(Builder::new().build_http());
    }
    let trusted = match &settings.ca_file {
        Some(path) => TrustStore::empty().with_pem_certificate(read_ca_file(path, destination)?),
        None if rustls_native_certs::load_native_certs().certs.is_empty() => {
            return Err(UploaderError::NoCertificates { destination: destination.clone() });
        }
        None => TrustStore::default(),
    };
    // Making the context only fails for certificates that do not parse, which were checked just now.
    let context = TlsContext::builder().with_trust_store(trusted).build();
    let context = context.map_err(|_| UploaderError::NoCertificates { destination: destination.clone() })?;
    Ok(Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(context).build_https())
}

/// Reads and checks the file: the SDK would panic over a bad one at the first request.
fn read_ca_file(path: &Path, destination: &DestinationName) -> Result<Vec<u8>, UploaderError> {
    let pem = fs::read(path).map_err(|source| UploaderError::CaFileUnreadable {
        destination: destination.clone(),
        path: path.to_owned(),
        source,
    })?;
    let invalid = |problem: String| UploaderError::CaFileInvalid {
        destination: destination.clone(),
        path: path.to_owned(),
        problem,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
        roots.add(certificate).map_err(|error| invalid(error.to_string()))?;
    }
    if roots.is_empty() { Err(invalid("there is none in it".to_owned())) } else { Ok(pem) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_that_holds_no_certificate_is_named() {
        let destination = DestinationName::new("offsite").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let missing = read_ca_file(&folder.path().join("none.pem"), &destination).unwrap_err();
        assert!(missing.to_string().contains("none.pem"), "{missing}");
        let path = folder.path().join("ca.pem");
        for text in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            fs::write(&path, text).unwrap();
            let error = read_ca_file(&path, &destination).unwrap_err();
            assert!(error.to_string().contains("certificates in PEM"), "{error}");
        }
    }
}
