//! Counts what the log says, from when somebody wants it until nobody does.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{Filtered, Targets};
use tracing_subscriber::layer::Context;
use tracing_subscriber::{Layer, Registry, reload};

use super::counters::{Counters, Said};

/// The layer of the log that counts, with the filter by which it is turned on and off: while it is
/// off, the log does not even ask it.
pub type MeterLayer = Filtered<Counting, reload::Layer<Targets, Registry>, Registry>;

type Shared = Arc<RwLock<Option<Arc<Counters>>>>;

/// Counts each event of the log.
#[derive(Debug)]
pub struct Counting(Shared);

/// Turns the counting on and off.
#[derive(Clone, Debug)]
pub struct Meter {
    counters: Shared,
    filter: reload::Handle<Targets, Registry>,
}

/// A meter that is off, and its layer of the log.
#[must_use]
pub fn meter() -> (Meter, MeterLayer) {
    let counters = Shared::default();
    let (filter, handle) = reload::Layer::new(Targets::new());
    let layer = Counting(Arc::clone(&counters)).with_filter(filter);
    (Meter { counters, filter: handle }, layer)
}

impl Meter {
    /// Counts from now on, from zero if it did not yet.
    pub(super) fn on(&self) -> prometheus::Result<()> {
        if self.counters().is_none() {
            let counters = Some(Arc::new(Counters::new()?));
            *self.counters.write().unwrap_or_else(PoisonError::into_inner) = counters;
            self.listen_to(LevelFilter::TRACE);
        }
        Ok(())
    }

    /// Counts no more, and forgets what it has counted.
    pub(super) fn off(&self) {
        self.listen_to(LevelFilter::OFF);
        *self.counters.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What was counted; none while it is off.
    pub(super) fn counters(&self) -> Option<Arc<Counters>> {
        self.counters.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn listen_to(&self, level: LevelFilter) {
        let own = Targets::new().with_target(env!("CARGO_PKG_NAME"), level);
        // It fails if there is no log any more: then there is nothing to be counted.
        let _ = self.filter.reload(own);
    }
}

impl<S: Subscriber> Layer<S> for Counting {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let counters = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(counters) = counters else { return };
        let mut said = Said::new(*event.metadata().level());
        event.record(&mut said);
        counters.count(&said);
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "template" {
            self.template = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "event" => value.clone_into(&mut self.event),
            "cause" => value.clone_into(&mut self.cause),
            "template" => value.clone_into(&mut self.template),
            _ => {}
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "took_ms" {
            self.took_ms = Some(value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "bytes" => self.bytes = value,
            "count" => self.count = value,
            _ => {}
        }
    }
}
