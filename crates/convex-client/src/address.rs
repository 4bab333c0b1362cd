//! Addresses of servers: what one must be, and which are this machine's own.

use reqwest::Url;

use crate::error::ClientError;
use crate::scrub::one_line;

/// Checks that an address is one of a server and nothing more, and gives its host and port.
pub(crate) fn check_address(url: &Url) -> Result<String, ClientError> {
    let problem = if !matches!(url.scheme(), "http" | "https") {
        Some("it must begin with https:// or http://")
    } else if !url.username().is_empty() || url.password().is_some() {
        Some("it must not have a user name or password in it")
    } else if url.query().is_some() || url.fragment().is_some() {
        Some("it must not have a `?` or `#` in it")
    } else {
        None
    };
    match (problem, url.host_str()) {
        (None, Some(host)) => Ok(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))),
        (problem, _) => {
            // The address may be a key pasted into the wrong field: show no more of it than the origin.
            let shown = match url.host_str() {
                Some(host) => format!("{}://{host}", url.scheme()),
                None => format!("{}:…", url.scheme()),
            };
            Err(ClientError::Address {
                shown: one_line(&shown),
                problem: problem.unwrap_or("it has no host"),
            })
        }
    }
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use reqwest::Url;

    use super::{check_address, is_loopback};

    #[test]
    fn an_address_with_a_credential_is_refused_without_showing_it() {
        for address in ["https://user:hunter2@x.example", "https://x.example/?adminKey=hunter2", "hunter2:x"]
        {
            let error = check_address(&Url::parse(address).unwrap()).unwrap_err().to_string();
            assert!(error.starts_with("the address `") && !error.contains("user:hunter2"), "{error}");
            assert!(!error.contains("adminKey"), "{error}");
        }
        assert_eq!(check_address(&Url::parse("http://[::1]:3210/x").unwrap()).unwrap(), "[::1]:3210");
    }

    #[test]
    fn loopback_addresses_are_known() {
        for (address, loopback) in [
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://10.0.0.1", false),
            ("https://happy-animal-123.convex.cloud", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(address).unwrap()), loopback, "{address}");
        }
    }
}
