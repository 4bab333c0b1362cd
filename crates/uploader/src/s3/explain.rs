//! What a failed request means, in words that say what to do.

use std::fmt;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::http::Response;
use convault_core::{StoreError, StoreErrorKind};

use crate::failure::Attempt;

/// One operation of S3: its permission as policies name it, and whether it carries a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) permission: &'static str,
}

/// The bucket and region in the settings, for the remedies.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) bucket: String,
    pub(super) region: String,
}

/// What the server answered. Servers put no credential in these fields; nothing else of the answer is kept.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    code: Option<String>,
    text: Option<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        self.text.as_ref().map_or(Ok(()), |text| write!(f, ": {text}"))
    }
}

impl std::error::Error for Answer {}

/// Turns a failed request into the store's error.
pub(super) fn explain<E>(
    error: SdkError<E, Response>,
    operation: Operation,
    place: &Place,
    attempt: &Attempt,
) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            let raw = service.raw();
            let region = raw.headers().get("x-amz-bucket-region").map(str::to_owned);
            let answer = Answer {
                status: raw.status().as_u16(),
                code: service.err().code().map(str::to_owned),
                text: service.err().message().map(str::to_owned),
            };
            let (kind, message) = judge(&answer, region.as_deref(), operation, place);
            attempt.failed_by(kind, message, answer)
        }
        SdkError::ResponseError(response) => {
            let status = response.raw().status().as_u16();
            let kind = if status >= 500 || status == 200 {
                StoreErrorKind::Transient
            } else {
                StoreErrorKind::Other
            };
            let message = "the answer broke off or is not S3's: check `endpoint` and `profile`";
            attempt.failed_by(kind, message, Answer { status, code: None, text: None })
        }
        SdkError::TimeoutError(_) => attempt.failed(StoreErrorKind::Transient, "no answer came in time"),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            attempt.failed(StoreErrorKind::Transient, "no connection or no answer came in time")
        }
        SdkError::ConstructionFailure(_) => attempt
            .failed(StoreErrorKind::Other, "no valid request can be made of this key and these settings"),
        failed => {
            let message =
                "the request could not be sent: check `endpoint`, the network and, for TLS, `ca_file`";
            match failed.into_source() {
                Ok(source) => attempt.failed_by(StoreErrorKind::Transient, message, source),
                Err(_) => attempt.failed(StoreErrorKind::Transient, message),
            }
        }
    }
}

/// The kind and the remedy for an answer. A head request has no code, so the status must do.
fn judge(
    answer: &Answer,
    bucket_region: Option<&str>,
    operation: Operation,
    place: &Place,
) -> (StoreErrorKind, String) {
    use StoreErrorKind as Kind;
    let Place { bucket, region } = place;
    match (answer.code.as_deref().unwrap_or_default(), answer.status) {
        ("NoSuchBucket", _) => {
            (Kind::Other, format!("there is no bucket `{bucket}`: make it, or correct `bucket`"))
        }
        ("NoSuchUpload", _) => (Kind::NotFound, "the upload was finished or aborted".to_owned()),
        ("InvalidAccessKeyId" | "NotSignedUp", _) => (
            Kind::Denied,
            "the access key is not known there: check the access key and `endpoint`".to_owned(),
        ),
        ("SignatureDoesNotMatch", _) => {
            (Kind::Denied, "the secret key does not belong to the access key: check both".to_owned())
        }
        ("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired", _) => {
            (Kind::Denied, "the session token is no longer valid: renew the credentials".to_owned())
        }
        ("RequestTimeTooSkewed" | "RequestExpired", _) => {
            (Kind::Denied, "this machine's clock and the server's differ too much: set the time".to_owned())
        }
        (
            "AuthorizationHeaderMalformed"
            | "PermanentRedirect"
            | "TemporaryRedirect"
            | "IllegalLocationConstraintException",
            _,
        )
        | (_, 301 | 307) => {
            let remedy = bucket_region.map_or("the one it is in".to_owned(), |it| format!("`{it}`"));
            (Kind::Other, format!("bucket `{bucket}` is not in region `{region}`: set `region` to {remedy}"))
        }
        ("PreconditionFailed", _) | (_, 412) => {
            (Kind::AlreadyExists, "there is an object of this key, or not the one to be replaced".to_owned())
        }
        ("ConditionalRequestConflict" | "OperationAborted", _) => {
            (Kind::Transient, "another write of the same key was under way".to_owned())
        }
        (
            "BadDigest"
            | "InvalidDigest"
            | "XAmzContentSHA256Mismatch"
            | "XAmzContentChecksumMismatch"
            | "IncompleteBody",
            _,
        ) => (Kind::Corrupt, "what arrived there is not what was sent".to_owned()),
        (
            "QuotaExceeded" | "InsufficientCapacity" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded",
            _,
        )
        | (_, 507) => {
            (Kind::Full, format!("no room is left for bucket `{bucket}`: free space or raise its quota"))
        }
        ("InvalidRange", _) | (_, 416) => (Kind::Other, "the range begins past the end".to_owned()),
        ("NotImplemented", _) | (_, 501 | 405) => {
            (Kind::Unsupported, "the server does not offer this".to_owned())
        }
        ("SlowDown" | "RequestTimeout" | "InternalError" | "ServiceUnavailable" | "Throttling", _)
        | (_, 408 | 429 | 500 | 502..=504) => {
            (Kind::Transient, "the server is overloaded or out of order".to_owned())
        }
        ("AccessDenied" | "AllAccessDisabled" | "AccountProblem", _) | (_, 401 | 403) => {
            let permission = operation.permission;
            (Kind::Denied, format!("the credentials need `{permission}` on bucket `{bucket}`"))
        }
        ("NoSuchVersion", _) => (Kind::NotFound, "there is no such version".to_owned()),
        ("NoSuchKey" | "NotFound", _) | (_, 404) => (Kind::NotFound, "there is no such object".to_owned()),
        _ => (Kind::Other, "the server refused".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_its_kind_and_remedy() {
        use StoreErrorKind as Kind;
        let place = Place { bucket: "acme".into(), region: "eu-central-1".into() };
        let operation = Operation { permission: "s3:PutObject" };
        let cases = [
            (404, "NoSuchBucket", Kind::Other, "no bucket `acme`"),
            (404, "NoSuchKey", Kind::NotFound, "no such object"),
            (404, "", Kind::NotFound, "no such object"),
            (404, "NoSuchUpload", Kind::NotFound, "finished or aborted"),
            (403, "InvalidAccessKeyId", Kind::Denied, "not known there"),
            (403, "SignatureDoesNotMatch", Kind::Denied, "does not belong"),
            (403, "AccessDenied", Kind::Denied, "`s3:PutObject` on bucket `acme`"),
            (403, "", Kind::Denied, "s3:PutObject"),
            (403, "RequestTimeTooSkewed", Kind::Denied, "set the time"),
            (400, "ExpiredToken", Kind::Denied, "renew"),
            (400, "AuthorizationHeaderMalformed", Kind::Other, "set `region` to `us-west-2`"),
            (301, "", Kind::Other, "is not in region `eu-central-1`"),
            (412, "PreconditionFailed", Kind::AlreadyExists, "there is an object"),
            (409, "ConditionalRequestConflict", Kind::Transient, "another write"),
            (400, "BadDigest", Kind::Corrupt, "not what was sent"),
            (507, "", Kind::Full, "free space"),
            (403, "QuotaExceeded", Kind::Full, "quota"),
            (416, "InvalidRange", Kind::Other, "past the end"),
            (501, "NotImplemented", Kind::Unsupported, "does not offer"),
            (503, "SlowDown", Kind::Transient, "overloaded"),
            (500, "InternalError", Kind::Transient, "overloaded"),
            (400, "EntityTooSmall", Kind::Other, "refused"),
        ];
        for (status, code, kind, part) in cases {
            let code = (!code.is_empty()).then(|| code.to_owned());
            let answer = Answer { status, code, text: None };
            let (found, message) = judge(&answer, Some("us-west-2"), operation, &place);
            assert_eq!(found, kind, "{answer}");
            assert!(message.contains(part), "{answer}: {message}");
        }
    }
}
