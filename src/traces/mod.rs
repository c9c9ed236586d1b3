//! What the loop did, as OpenTelemetry traces, where the environment asks for them; else there is
//! nothing of this.
//!
//! ```text
//! tracing ──layer──► spans ──queue, bounded──► a thread ──OTLP──► the endpoint
//! ```
//!
//! There is one source of what happened, and it is the log: a span is made of what the log says of
//! a pass or a start, and the loop knows nothing of it. An endpoint that is away costs spans, and
//! nothing else.

mod asked;
mod export;
mod layer;
mod spans;
#[cfg(test)]
mod tests;

pub use export::{Exporting, Traces};
pub use layer::Listener;

use asked::Asked;

/// What makes traces, and its layer of the log; none where nobody asks for any.
#[must_use]
pub fn asked_for() -> Option<(Traces, Listener)> {
    let asked = Asked::by(|name| std::env::var(name).ok())?;
    let listener = Listener::default();
    Some((Traces::new(asked, listener.spans()), listener))
}
