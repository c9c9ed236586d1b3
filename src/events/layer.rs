//! Takes events out of the log.

use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;

use super::kinds::NO_EVENTS;
use super::{Record, Waiting};
use crate::clock::wall_time;

/// A layer of the log that passes on what has a stable name.
/// Until it is known where that is to be kept, it waits.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Waiting>);

impl Recorder {
    pub(super) fn waiting(&self) -> Arc<Waiting> {
        Arc::clone(&self.0)
    }

    /// What it wants to see of the log: our own lines, those that are left out of the log for
    /// people too.
    #[must_use]
    pub fn filter() -> Targets {
        Targets::new().with_target(env!("CARGO_PKG_NAME"), LevelFilter::DEBUG)
    }
}

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut parts = Parts::default();
        event.record(&mut parts);
        let kind = parts.0.kind.as_str();
        if kind.is_empty() || NO_EVENTS.contains(&kind) {
            return;
        }
        let since_epoch = wall_time().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record = Record {
            at_ms: i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX),
            level: event.metadata().level().as_str().to_lowercase(),
            ..parts.0
        };
        self.0.add(record);
    }
}

/// What an event says.
#[derive(Default)]
struct Parts(Record);

impl Parts {
    fn take(&mut self, field: &Field, value: String) {
        let record = &mut self.0;
        match field.name() {
            "event" => record.kind = value,
            "entity" => record.entity = value,
            "message" => record.message = value,
            "reason" | "error" => record.reason = value,
            name => {
                record.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Parts {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }
}
