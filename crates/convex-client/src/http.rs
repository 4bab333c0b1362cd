//! One HTTP connection to one server with one key: sending, time limits, and answers as values or errors.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use convault_core::Secret;
use reqwest::header::{AUTHORIZATION, DATE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::CLIENT_NAME;
use crate::address::{check_address, is_loopback};
use crate::error::ClientError;
use crate::scrub::Scrub;
use crate::tls::tls;

/// The longest answer that is read into memory. A page of a system function stays under 5 MB (protocol §0.5).
const MAX_ANSWER_BYTES: usize = 8 << 20;
/// The longest error body that is read.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// A connection slower than this is one that is not worth waiting for.
const SLOWEST_BYTES_PER_SECOND: usize = 256 << 10;

const CONVEX_CLIENT: HeaderName = HeaderName::from_static("convex-client");

/// How servers are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// A PEM file of certificate authorities to accept beside the machine's own.
    pub ca_file: Option<PathBuf>,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long one request may take, from sending to the end of its answer; for a download, until its first byte.
    pub request_timeout: Duration,
    /// How long a download may be silent. The whole of it may take as long as it likes.
    pub idle_timeout: Duration,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            ca_file: None,
            connect_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_mins(1),
            idle_timeout: Duration::from_mins(2),
        }
    }
}

/// A server's address, a key for it, and a client.
#[derive(Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    base: Url,
    host: String,
    service: Service,
    authorization: HeaderValue,
    scrub: Scrub,
    no_authorities: bool,
    request_timeout: Duration,
    pub(crate) idle_timeout: Duration,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// Whose API is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Deployment,
    Platform,
    Vercel,
}

impl Service {
    /// How the key is announced.
    fn scheme(self) -> &'static str {
        match self {
            Self::Deployment => "Convex",
            Self::Platform | Self::Vercel => "Bearer",
        }
    }

    /// What it is called in errors.
    fn words(self) -> &'static str {
        match self {
            Self::Deployment => "a Convex deployment",
            Self::Platform => "Convex's platform",
            Self::Vercel => "Vercel",
        }
    }
}

impl Http {
    pub(crate) fn new(
        base: Url,
        service: Service,
        key: &Secret,
        settings: &ConnectionSettings,
    ) -> Result<Self, ClientError> {
        let host = check_address(&base)?;
        let tls = tls(settings.ca_file.as_deref())?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.config)
            .user_agent(CLIENT_NAME)
            // A redirect could carry the key to another host; `refuse_redirect` says where it points instead.
            .redirect(reqwest::redirect::Policy::none())
            // Repeating is the caller's decision: some requests must not be made twice.
            .retry(reqwest::retry::never())
            .connect_timeout(settings.connect_timeout);
        if is_loopback(&base) {
            // A proxy of the environment cannot reach this machine's own loopback, and has no use for its key.
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|source| ClientError::Setup(source.into()))?;
        Ok(Self {
            client,
            base,
            host,
            service,
            authorization: authorization(service.scheme(), key)?,
            scrub: Scrub::new(key),
            no_authorities: tls.no_authorities,
            request_timeout: settings.request_timeout,
            idle_timeout: settings.idle_timeout,
        })
    }

    /// The key, for the calls that want it in their body.
    pub(crate) fn key(&self) -> &Secret {
        self.scrub.key()
    }

    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// The address of a path below the base. Each segment is percent-encoded, so an id cannot lead elsewhere.
    pub(crate) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// A request without its key, for paths that need none.
    pub(crate) fn open_request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url).header(CONVEX_CLIENT, CLIENT_NAME)
    }

    /// A request with the key.
    pub(crate) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.open_request(method, url).header(AUTHORIZATION, self.authorization.clone())
    }

    /// Sends a request whose answer has no body worth reading.
    pub(crate) async fn empty(&self, call: &'static str, request: RequestBuilder) -> Result<(), ClientError> {
        self.limited(call, async { self.send(call, request).await.map(drop) }).await
    }

    /// Sends a request and reads its answer as text.
    pub(crate) async fn text(
        &self,
        call: &'static str,
        request: RequestBuilder,
    ) -> Result<String, ClientError> {
        let body = self.body(call, request).await?;
        String::from_utf8(body).map_err(|_| self.not_convex(call, "it is not text"))
    }

    /// Sends a request and reads its answer as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        call: &'static str,
        request: RequestBuilder,
    ) -> Result<T, ClientError> {
        let body = self.body(call, request).await?;
        serde_json::from_slice(&body).map_err(|error| self.not_read(call, &error))
    }

    /// Like [`Http::json`], with more time for a request that has so many bytes of its own.
    pub(crate) async fn json_after_sending<T: DeserializeOwned>(
        &self,
        call: &'static str,
        request: RequestBuilder,
        sent_bytes: usize,
    ) -> Result<T, ClientError> {
        let seconds = u64::try_from(sent_bytes / SLOWEST_BYTES_PER_SECOND).unwrap_or(u64::MAX);
        let limit = self.request_timeout.saturating_add(Duration::from_secs(seconds));
        let body = self.body_within(limit, call, request).await?;
        serde_json::from_slice(&body).map_err(|error| self.not_read(call, &error))
    }

    /// Sends a request and gives back its answer once the headers are there, however long the body may take.
    pub(crate) async fn headers(
        &self,
        call: &'static str,
        request: RequestBuilder,
    ) -> Result<Response, ClientError> {
        self.limited(call, self.send(call, request)).await
    }

    pub(crate) fn not_convex(&self, call: &'static str, problem: &str) -> ClientError {
        let service = self.service.words();
        ClientError::Answer { call, host: self.host.clone(), service, problem: self.scrub.clean(problem) }
    }

    /// JSON that is not what was expected. Only where: the parser's own words repeat the value, which may be a secret.
    pub(crate) fn not_read(&self, call: &'static str, error: &serde_json::Error) -> ClientError {
        let problem = match error.classify() {
            serde_json::error::Category::Data => "a part of it has another form",
            _ => "it is not JSON",
        };
        self.not_convex(call, &format!("{problem} (line {}, column {})", error.line(), error.column()))
    }

    pub(crate) fn clean(&self, text: &str) -> String {
        self.scrub.clean(text)
    }

    pub(crate) fn clean_lines(&self, text: &str) -> String {
        self.scrub.clean_lines(text)
    }

    pub(crate) fn timed_out(&self, call: &'static str, waited: Duration) -> ClientError {
        ClientError::TimedOut { call, host: self.host.clone(), waited }
    }

    /// A failure of the connection, told apart from a certificate that is not accepted.
    pub(crate) fn broken(&self, call: &'static str, error: reqwest::Error) -> ClientError {
        let host = self.host.clone();
        let bad_certificate = is_certificate_error(&error);
        let source = Box::new(error.without_url());
        if bad_certificate {
            ClientError::Certificate { call, host, no_authorities: self.no_authorities, source }
        } else {
            ClientError::Network { call, host, source }
        }
    }

    async fn body(&self, call: &'static str, request: RequestBuilder) -> Result<Vec<u8>, ClientError> {
        self.body_within(self.request_timeout, call, request).await
    }

    async fn body_within(
        &self,
        limit: Duration,
        call: &'static str,
        request: RequestBuilder,
    ) -> Result<Vec<u8>, ClientError> {
        self.within(limit, call, async {
            let mut response = self.send(call, request).await?;
            match self.read(call, &mut response, MAX_ANSWER_BYTES).await? {
                Body::Whole(bytes) => Ok(bytes),
                Body::Cut(_) => Err(self.not_convex(call, "it is longer than 8 MiB")),
            }
        })
        .await
    }

    async fn limited<T>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        self.within(self.request_timeout, call, work).await
    }

    async fn within<T>(
        &self,
        limit: Duration,
        call: &'static str,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        match tokio::time::timeout(limit, work).await {
            Ok(result) => result,
            Err(_elapsed) => Err(self.timed_out(call, limit)),
        }
    }

    async fn send(&self, call: &'static str, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.broken(call, error))?;
        let status = response.status();
        tracing::trace!(call, status = status.as_u16(), "answered");
        if status.is_success() {
            Ok(response)
        } else if status.is_redirection() {
            Err(self.refuse_redirect(call, &response))
        } else {
            Err(self.api_error(call, response).await)
        }
    }

    async fn read(
        &self,
        call: &'static str,
        response: &mut Response,
        limit: usize,
    ) -> Result<Body, ClientError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(call, error))? {
            if bytes.len() + chunk.len() > limit {
                return Ok(Body::Cut(bytes));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Body::Whole(bytes))
    }

    fn refuse_redirect(&self, call: &'static str, response: &Response) -> ClientError {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let target = location.and_then(|location| self.base.join(location).ok());
        // Path and query could repeat anything; the origin is what a person needs in order to see the mistake.
        let to = target.map_or_else(|| "nowhere".to_owned(), |url| url.origin().ascii_serialization());
        ClientError::Redirect { call, host: self.host.clone(), to: self.scrub.clean(&to) }
    }

    async fn api_error(&self, call: &'static str, mut response: Response) -> ClientError {
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        // The status is the answer; a body that cannot be read only costs its words.
        let body = match self.read(call, &mut response, MAX_ERROR_BYTES).await {
            Ok(Body::Whole(bytes) | Body::Cut(bytes)) => bytes,
            Err(_) => Vec::new(),
        };
        let words = ErrorBody::read(&body);
        let (code, message) = (self.scrub.clean(&words.code), self.scrub.clean(&words.message));
        ClientError::Api { call, status, code, message, retry_after }
    }
}

enum Body {
    Whole(Vec<u8>),
    Cut(Vec<u8>),
}

/// What every error of a deployment looks like (protocol §14.1), and within `error` every one of Vercel.
#[derive(Default, Deserialize)]
struct ErrorBody {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    error: Option<Box<ErrorBody>>,
}

impl ErrorBody {
    /// Something in front of the deployment may answer with plain words, or with a page that nobody wants to read.
    fn read(body: &[u8]) -> Self {
        if let Ok(error) = serde_json::from_slice::<Self>(body) {
            return error.error.map_or(Self { error: None, ..error }, |inner| *inner);
        }
        match std::str::from_utf8(body) {
            Ok(text) if !text.contains('<') => Self { message: text.to_owned(), ..Self::default() },
            _ => Self::default(),
        }
    }
}

/// `Retry-After`, as seconds or as a date, which is compared with the answer's own `Date`.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| jiff::fmt::rfc2822::parse(text).ok();
    let until = date(text)?.timestamp();
    let now = date(headers.get(DATE)?.to_str().ok()?)?.timestamp();
    Duration::try_from(until.duration_since(now)).ok()
}

fn authorization(scheme: &str, key: &Secret) -> Result<HeaderValue, ClientError> {
    let key = key.expose().trim();
    if key.is_empty() {
        return Err(ClientError::KeyText);
    }
    let mut value = HeaderValue::try_from(format!("{scheme} {key}")).map_err(|_| ClientError::KeyText)?;
    value.set_sensitive(true);
    Ok(value)
}

fn is_certificate_error(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return true;
        }
        // An `io::Error` shows what it wraps as itself, not as its source.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};

    use super::retry_after;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers), None);
        headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(7)));
        headers.insert(RETRY_AFTER, HeaderValue::from_static("Sun, 22 Nov 2026 01:48:26 GMT"));
        headers.insert(DATE, HeaderValue::from_static("Sun, 22 Nov 2026 01:47:56 GMT"));
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(30)));
        headers.insert(DATE, HeaderValue::from_static("Sun, 22 Nov 2026 01:49:56 GMT"));
        assert_eq!(retry_after(&headers), None);
    }
}
