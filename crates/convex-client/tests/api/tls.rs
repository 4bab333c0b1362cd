//! Certificates: which are accepted, and that their absence harms nobody who needs none.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use crate::server::{KEY, Server, answer, json};
use convault_convex_client::{ClientError, ConnectionSettings, Deployment};
use convault_core::Secret;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

/// A server with a certificate that signs itself, and the certificate as PEM.
async fn secure_server() -> (Server, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let server = Server::start_with(Some(TlsAcceptor::from(Arc::new(config))), |_| json(200, "{}")).await;
    (server, made.cert.pem())
}

fn deployment(server: &Server, ca_file: Option<PathBuf>) -> Deployment {
    let settings = ConnectionSettings { ca_file, ..ConnectionSettings::default() };
    Deployment::new(server.url.clone(), &Secret::new(KEY), &settings).unwrap()
}

#[tokio::test]
async fn a_certificate_is_accepted_once_its_authority_is_in_the_ca_file() {
    let (server, pem) = secure_server().await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(pem.as_bytes()).unwrap();
    deployment(&server, Some(file.path().to_owned())).check_admin_key().await.unwrap();
}

#[tokio::test]
async fn a_certificate_of_nobody_known_is_refused_and_the_remedy_named() {
    let (server, _) = secure_server().await;
    let error = deployment(&server, None).check_admin_key().await.unwrap_err();
    assert!(matches!(error, ClientError::Certificate { .. }), "{error}");
    assert!(error.to_string().contains("`ca_file`"), "{error}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
#[ignore = "the next test runs it, in a process without certificate authorities"]
async fn without_any_authority_http_works_and_https_fails_plainly() {
    let server = Server::start(|_| answer(200, "", "unknown")).await;
    assert_eq!(server.deployment().version().await.unwrap(), "unknown");
    let (server, _) = secure_server().await;
    let error = server.deployment().check_admin_key().await.unwrap_err().to_string();
    assert!(error.ends_with("(this machine has no CA certificates at all: set `ca_file`)"), "{error}");
}

#[test]
fn a_machine_without_certificate_authorities_is_no_reason_to_panic() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tls::without_any_authority_http_works_and_https_fails_plainly", "--ignored"])
        .envs([("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && words.contains("1 passed"), "{words}");
}
