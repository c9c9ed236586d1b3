//! What a Prometheus is told, where `metrics.listen` asks for it; else there is nothing of this.
//!
//! ```text
//! tracing ──layer──► counters ──────────────────┐
//! the loop ──Look, at a scrape──► gauges ───────┼──► /metrics
//! /proc/self ───────────────────► process ──────┘
//! the loop ──Ready──► /livez · /readyz
//! ```
//!
//! There is one source of what happened, and it is the log: what is counted here is what the log
//! says by its stable names. What is, is asked of the loop when somebody wants to know.

mod counters;
mod gauges;
mod http;
mod layer;
mod process;
#[cfg(test)]
mod tests;

pub use http::Exporter;
pub use layer::{Meter, MeterLayer, meter};
