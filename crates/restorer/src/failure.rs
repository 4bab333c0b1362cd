//! What a failed request means for somebody who writes to a deployment, and what they can do about it.

use convault_convex_client::{ClientError, RetryClass};
use convault_core::{TargetError, TargetErrorKind};

/// The failure to do something (`cannot {undone}`) to the deployment called `target`.
pub(crate) fn failed(target: &str, undone: &str, error: ClientError) -> TargetError {
    let kind = kind(&error);
    let message = match error.missing_permission() {
        Some(permission) => format!(
            "cannot {undone}: the key lacks the permission `{permission}`; give a deploy key that has it"
        ),
        None => format!("cannot {undone}: {}", remedy(kind, &error)),
    };
    TargetError { kind, target: target.to_owned(), message, source: Some(Box::new(error)) }
}

/// A failure of which no request is the cause.
pub(crate) fn refused(target: &str, kind: TargetErrorKind, message: impl Into<String>) -> TargetError {
    TargetError { kind, target: target.to_owned(), message: message.into(), source: None }
}

/// The failure of a request that may have been carried out all the same.
pub(crate) fn unknown(target: &str, message: impl Into<String>, error: ClientError) -> TargetError {
    TargetError {
        kind: TargetErrorKind::Unknown,
        target: target.to_owned(),
        message: message.into(),
        source: Some(Box::new(error)),
    }
}

/// Whether a request certainly was not carried out: it never got there, or the server looked at it and refused it.
pub(crate) fn was_not_done(error: &ClientError) -> bool {
    let refused = matches!(error.status(), Some(400 | 401 | 403 | 405 | 409 | 413 | 415));
    refused || error.is_unsent() || matches!(error, ClientError::Redirect { .. })
}

fn kind(error: &ClientError) -> TargetErrorKind {
    if error.missing_permission().is_some() {
        return TargetErrorKind::Permission;
    }
    if error.is_unknown_function() {
        return TargetErrorKind::Unsupported;
    }
    match error {
        ClientError::KeyText | ClientError::Api { status: 401 | 403, .. } => TargetErrorKind::Key,
        ClientError::Api { status: 404, code, .. } if !code.is_empty() => TargetErrorKind::Other,
        ClientError::Api { status: 404 | 405, .. } | ClientError::Answer { .. } => {
            TargetErrorKind::Unsupported
        }
        ClientError::Api { status: 400 | 409 | 413 | 415, .. } => TargetErrorKind::Refused,
        ClientError::Function { .. } => TargetErrorKind::Other,
        _ if error.retry_class() == RetryClass::Never => TargetErrorKind::Other,
        _ => TargetErrorKind::Transient,
    }
}

fn remedy(kind: TargetErrorKind, error: &ClientError) -> &'static str {
    match kind {
        TargetErrorKind::Key | TargetErrorKind::Permission => {
            "the key is refused; give a deploy key of this deployment that has not expired or been revoked"
        }
        TargetErrorKind::Unsupported => "it is no Convex deployment, or too old for this; check `url`",
        TargetErrorKind::Transient => {
            "it did not answer as it should; check that it is running and can be reached from here, then try again"
        }
        TargetErrorKind::Refused if error.status() == Some(413) => {
            "something between here and it takes no body of this size; allow larger ones there"
        }
        TargetErrorKind::Refused => "it refuses this, and would refuse it again",
        TargetErrorKind::Unknown | TargetErrorKind::Other => "it could not be done",
    }
}

#[cfg(test)]
mod tests {
    use convault_convex_client::ClientError;
    use convault_core::TargetErrorKind;

    use super::{failed, was_not_done};

    fn api(status: u16, code: &str, message: &str) -> ClientError {
        let (code, message) = (code.to_owned(), message.to_owned());
        ClientError::Api { call: "call", status, code, message, retry_after: None }
    }

    #[test]
    fn each_failure_has_its_kind_and_its_remedy() {
        for (error, kind, words) in [
            (api(401, "BadAdminKey", ""), TargetErrorKind::Key, "not expired or been revoked"),
            (
                api(403, "OperationNotPermitted", "no (deployment:backups:import)"),
                TargetErrorKind::Permission,
                "`deployment:backups:import`; give a deploy key that has it",
            ),
            (api(404, "", ""), TargetErrorKind::Unsupported, "check `url`"),
            (api(404, "ImportNotFound", ""), TargetErrorKind::Other, "could not be done"),
            (api(400, "InvalidName", ""), TargetErrorKind::Refused, "refuses this"),
            (api(413, "", ""), TargetErrorKind::Refused, "body of this size"),
            (api(503, "Busy", ""), TargetErrorKind::Transient, "then try again"),
        ] {
            let failure = failed("eu", "do this", error);
            assert_eq!(failure.kind, kind);
            let text = failure.to_string();
            assert!(text.starts_with("target eu: cannot do this: ") && text.contains(words), "{text}");
        }
    }

    #[test]
    fn only_what_was_refused_was_certainly_not_done() {
        for status in [400, 401, 403, 405, 409, 413, 415] {
            assert!(was_not_done(&api(status, "", "")), "{status}");
        }
        for status in [404, 408, 421, 425, 429, 500, 502, 503, 504] {
            assert!(!was_not_done(&api(status, "", "")), "{status}");
        }
    }
}
