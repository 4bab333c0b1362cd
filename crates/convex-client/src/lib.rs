//! The admin HTTP API of a Convex deployment, typed: [`Deployment`] talks to one deployment, [`Platform`] to the
//! service that knows where deployments are, and [`Vercel`] to where the front end of one may be.
//!
//! Every function here is one request: its answer, or a [`ClientError`] that says whether the request is worth
//! repeating ([`ClientError::retry_class`]). Nothing is retried, no redirect is followed, and every answer that is
//! held in memory is bounded.
//!
//! Deliberately absent: any idea of a backup, waiting, polling, retries and the WebSocket.

mod address;
mod code;
mod deployment;
mod environment;
mod error;
mod export_row;
mod files;
mod functions;
mod http;
mod import;
mod key_name;
mod management;
mod page;
mod pause;
mod platform;
mod scheduled;
mod scrub;
mod tables;
mod tls;
mod value;
mod vercel;

pub use deployment::{Deployment, DeploymentInfo, Download, ExportHead, KeyCheck, Operation};
pub use error::{ClientError, RetryClass};
pub use export_row::{ExportRow, ExportState};
pub use files::{ComponentRow, FileDownload, FilePage, ListedFile};
pub use http::ConnectionSettings;
pub use import::ImportRow;
pub use key_name::{KeyName, key_name};
pub use management::{CloudDeployment, DeploymentPage};
pub use page::page;
pub use pause::unpause_url;
pub use platform::{DEFAULT_PROVISION_URL, DefaultVariable, DefaultsPage, Platform};
pub use reqwest::Url;
pub use scheduled::RowPage;
pub use tables::BatchedQuery;
pub use value::decode_bytes;
pub use vercel::{Vercel, VercelPage, VercelVariable};

/// What is sent as `Convex-Client`: a name and a version. The server refuses names without one, and old `npm-cli`s,
/// so no other client's name is borrowed.
const CLIENT_NAME: &str = concat!("convault-", env!("CARGO_PKG_VERSION"));
