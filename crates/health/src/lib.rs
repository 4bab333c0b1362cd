//! What others see of the daemon over HTTP: `/live`, `/ready`, `/metrics`, the API under `/api/v1/` and the status
//! page at `/`; and the report of a drill as a page or text. `docs/metrics.md` lists the metrics,
//! `/api/v1/openapi.json` describes the API.
//!
//! Everything is answered from [`convault_core::Control`], which answers from memory and the run history: a scrape
//! touches no network. What acts needs a bearer token, and cannot be had without one.
//!
//! Deliberately absent: TLS (put a reverse proxy in front), sessions, and any way to read stored data.

mod access;
mod api;
mod attention;
mod drill_report;
mod intervals;
mod metrics;
mod page;
mod probes;
mod problem;
mod router;
mod server;
mod verdict;
mod words;

pub use access::Access;
pub use drill_report::{drill_report_html, drill_report_text};
pub use metrics::render as render_metrics;
pub use router::router;
pub use server::{Health, HealthError, HealthSettings};
