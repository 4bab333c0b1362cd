//! Which certificates are accepted: those of the machine's authorities, and of those in one more file.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::error::ClientError;

/// The TLS settings of a client, and whether any authority is known.
pub(crate) struct Tls {
    pub(crate) config: ClientConfig,
    pub(crate) no_authorities: bool,
}

/// Trusts the machine's authorities (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured), if it has any, and those in
/// `ca_file`. Never fails for want of authorities: an image made from scratch has none, and `http://` needs none.
pub(crate) fn tls(ca_file: Option<&Path>) -> Result<Tls, ClientError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for problem in &native.errors {
        tracing::debug!(%problem, "some of the machine's CA certificates cannot be read");
    }
    roots.add_parsable_certificates(native.certs);
    if let Some(path) = ca_file {
        add_file(&mut roots, path)?;
    }
    let no_authorities = roots.is_empty();
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|source| ClientError::Setup(source.into()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // HTTP/2 would bring nothing for one request at a time, and its stream windows slow a download over a long line.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls { config, no_authorities })
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), ClientError> {
    let problem = |problem: String| ClientError::CaFile { path: path.to_owned(), problem };
    let before = roots.len();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| problem(pem_problem(&error)))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| problem(pem_problem(&error)))?;
        roots.add(certificate).map_err(|error| problem(error.to_string()))?;
    }
    if roots.len() == before {
        return Err(problem("it has no certificate in PEM form".to_owned()));
    }
    Ok(())
}

fn pem_problem(error: &rustls::pki_types::pem::Error) -> String {
    match error {
        rustls::pki_types::pem::Error::Io(error) => error.to_string(),
        other => format!("it is not PEM ({other:?})"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use super::tls;

    #[test]
    fn a_ca_file_that_is_missing_or_has_no_certificate_is_named() {
        let missing = tls(Some(Path::new("/nonexistent/ca.pem"))).err().unwrap().to_string();
        assert!(
            missing.starts_with("the CA file /nonexistent/ca.pem cannot be used: No such file"),
            "{missing}"
        );
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"not a certificate\n").unwrap();
        let empty = tls(Some(file.path())).err().unwrap().to_string();
        assert!(empty.ends_with("it has no certificate in PEM form"), "{empty}");
    }
}
