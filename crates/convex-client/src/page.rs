//! One page of the web, as anybody gets it.

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use reqwest::Url;

use crate::{CLIENT_NAME, ClientError, ConnectionSettings, tls::tls};

/// As much of a page is read, bytes.
const LONGEST_PAGE: usize = 1 << 20;

/// Gets a page without any key: its status, whatever that is, and its first MiB. No redirect is followed.
pub async fn page(url: Url, settings: &ConnectionSettings) -> Result<(u16, Bytes), ClientError> {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls(settings.ca_file.as_deref())?.config)
        .user_agent(CLIENT_NAME)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(settings.connect_timeout)
        .timeout(settings.request_timeout)
        .build()
        .map_err(|error| ClientError::Setup(Box::new(error)))?;
    let answer = client.get(url.clone()).send().await.map_err(|error| failed(&url, error))?;
    let status = answer.status().as_u16();
    let (mut page, mut chunks) = (BytesMut::new(), answer.bytes_stream());
    while let Some(chunk) = chunks.next().await {
        page.extend_from_slice(&chunk.map_err(|error| failed(&url, error))?);
        if page.len() >= LONGEST_PAGE {
            page.truncate(LONGEST_PAGE);
            break;
        }
    }
    Ok((status, page.freeze()))
}

fn failed(url: &Url, error: reqwest::Error) -> ClientError {
    let host = url.host_str().unwrap_or_default().to_owned();
    ClientError::Network { call: "get a page", host, source: Box::new(error.without_url()) }
}
