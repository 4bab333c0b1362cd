//! [`Access`]: who may read and who may act.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, StatusCode, header};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use convault_core::{Secret, Sha256};
use subtle::ConstantTimeEq as _;

use crate::problem::Problem;

/// Who may read and who may act.
///
/// Listening on loopback, everyone on the machine may read, and requests that name another host are refused: a web
/// page elsewhere can make a browser send them (DNS rebinding). Listening on another address, reading needs the
/// token if there is one. Acting always needs it.
#[derive(Debug, Clone)]
pub struct Access {
    loopback: bool,
    token: Option<Secret>,
}

impl Access {
    /// Access to a server that listens on `listen`.
    pub fn new(listen: SocketAddr, token: Option<Secret>) -> Self {
        Self { loopback: listen.ip().is_loopback(), token }
    }

    /// Checks the name that a request calls this server by.
    pub(crate) fn check_host(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(host) = headers.get(header::HOST).filter(|_| self.loopback) else { return Ok(()) };
        let known = host.to_str().is_ok_and(is_loopback_name);
        if known {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this server listens on loopback and answers only to localhost and loopback addresses: a proxy in front \
             of it must send `Host: localhost`",
        ))
    }

    /// Checks that a request may read. A browser sends the token as the password of any user.
    pub(crate) fn check_read(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(token) = self.token.as_ref().filter(|_| !self.loopback) else { return Ok(()) };
        if [bearer(headers), password(headers)].iter().flatten().any(|shown| equal(shown, token)) {
            return Ok(());
        }
        Err(Problem::new(StatusCode::UNAUTHORIZED, "reading needs the token of the settings (daemon.token)")
            .challenge("Basic realm=\"convault\", charset=\"UTF-8\""))
    }

    /// Checks that a request may act. Never by password: a browser adds that to requests that a page elsewhere makes.
    pub(crate) fn check_act(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(token) = &self.token else {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "nothing can be started over HTTP, since the settings have no token: set daemon.token, or use the \
                 command line on the machine of the daemon",
            ));
        };
        if bearer(headers).is_some_and(|shown| equal(&shown, token)) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "this needs the header `Authorization: Bearer …` with the token of the settings (daemon.token)",
        )
        .challenge("Bearer realm=\"convault\""))
    }
}

/// Whether a `Host` header names this machine's loopback, with or without a port.
fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The credentials of a scheme, whose name may be in any case (RFC 9110 §11.1).
fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let (named, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    named.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

fn bearer(headers: &HeaderMap) -> Option<Secret> {
    credentials(headers, "bearer").map(Secret::new)
}

fn password(headers: &HeaderMap) -> Option<Secret> {
    let decoded = BASE64_STANDARD.decode(credentials(headers, "basic")?).ok()?;
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(Secret::new(password))
}

/// Takes equally long wherever the two differ. Comparing digests hides the length as well.
fn equal(shown: &Secret, token: &Secret) -> bool {
    let digest = |secret: &Secret| Sha256::of(secret.expose().as_bytes()).0;
    digest(shown).ct_eq(&digest(token)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_known() {
        for good in ["localhost", "LOCALHOST:9640", "127.0.0.1:9640", "127.8.8.8", "[::1]:9640", "[::1]"] {
            assert!(is_loopback_name(good), "{good} was refused");
        }
        for bad in
            ["evil.example", "localhost.evil.example", "10.0.0.1:9640", "", "[::2]", "127.0.0.1.evil.example"]
        {
            assert!(!is_loopback_name(bad), "{bad} was taken");
        }
    }
}
