//! Takes what spans are made of out of the log.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::{KeyValue, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;

use super::spans::{Kind, Said, Spans};
use crate::clock::wall_time;

/// Where spans are made, while they are sent somewhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Mutex<Option<Spans>>>);

impl Shared {
    /// Makes spans by these from now on, or none any more. What was under way ends.
    pub(super) fn set(&self, spans: Option<Spans>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = spans;
    }

    fn take(&self, said: Said) {
        if let Some(spans) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            spans.take(said, wall_time());
        }
    }
}

/// A layer of the log that makes spans of what it says.
#[derive(Debug, Default)]
pub struct Listener(Shared);

impl Listener {
    pub(super) fn spans(&self) -> Shared {
        self.0.clone()
    }

    /// What it wants to see of the log: what the loop does, and no pass that did nothing.
    #[must_use]
    pub fn filter() -> Targets {
        Targets::new()
            .with_target(concat!(env!("CARGO_PKG_NAME"), "::reconcile"), LevelFilter::DEBUG)
    }
}

impl<S: Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        if said.kind != Kind::Other {
            self.0.take(said);
        }
    }
}

/// The attribute that a field of the log becomes; most do not become any.
fn attribute(field: &str) -> Option<&'static str> {
    Some(match field {
        "actions" => "runner.actions.total",
        "agents" => "runner.agents",
        "attempt" => "runner.attempt",
        "cause" => "runner.cause",
        "chosen_by" => "runner.chosen_by",
        "entity" => "runner.entity",
        "pending" => "runner.pending",
        "pid" => "process.pid",
        "reason" => "runner.reason",
        "run" => "runner.run",
        "template" => "runner.template",
        "unchanged" => "runner.unchanged",
        _ => return None,
    })
}

impl Said {
    fn is_of_interest(&self) -> bool {
        // The name of an event is its first field.
        self.kind != Kind::Other
    }

    fn attribute(&mut self, field: &Field, value: impl Into<Value>) {
        if let Some(key) = attribute(field.name()).filter(|_| self.is_of_interest()) {
            self.attributes.push(KeyValue::new(key, value));
        }
    }

    fn text(&mut self, field: &Field, value: String) {
        match field.name() {
            "error" => self.error = value,
            name => {
                if name == "run" {
                    self.run.clone_from(&value);
                }
                self.attribute(field, value);
            }
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.is_of_interest() {
            self.text(field, format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            self.kind = Kind::of(value);
        } else if self.is_of_interest() {
            self.text(field, value.to_owned());
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "took_ms" {
            self.took_ms = value;
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.attribute(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.attribute(field, i64::try_from(value).unwrap_or(i64::MAX));
    }
}
