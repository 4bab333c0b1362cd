//! The errors that a deployment answers, all of one shape.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::json;

/// `{"code","message"}` with a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// What every mistake that the backend does not explain comes out as.
    pub(crate) fn internal() -> Self {
        let message = "Your request couldn't be completed. Try again later.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", message)
    }

    /// A lost race between two writers of the same row.
    pub(crate) fn write_conflict() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "OptimisticConcurrencyControlFailure",
            "Data read or written in this mutation changed while it was being run. Consider reducing the amount of \
             data read by using indexed queries with selective index range expressions \
             (https://docs.convex.dev/database/indexes/).",
        )
    }

    /// The server has too much to do.
    pub(crate) fn busy() -> Self {
        let message = "The server is busy. Try again later.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Busy", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "code": self.code, "message": self.message }))).into_response()
    }
}

/// An answer whose body fails, which closes the connection before the client has what it says.
pub(crate) fn lost_answer() -> Response {
    let lost = futures::stream::once(async {
        Err::<Bytes, _>(std::io::Error::new(std::io::ErrorKind::ConnectionReset, "the answer is lost"))
    });
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CONTENT_LENGTH, "47")];
    (headers, Body::from_stream(lost)).into_response()
}

/// A JSON body; one that cannot be read is refused as the backend does.
pub(crate) struct ApiJson<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(ApiError::bad_request("BadJsonBody", rejection.body_text())),
        }
    }
}
