//! Makes spans: one of each pass that did something, and within it one of each start.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Span as _, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span};

/// What starts are counted by.
const STARTS: &str = "runner.actions.start";

/// What an event of the log is to a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Other,
    /// An action of the pass that is under way, and the attribute that counts its like.
    Action(&'static str),
    /// A pass is over.
    Pass,
    Started,
    NotStarted,
}

impl Kind {
    /// By the stable name.
    pub(super) fn of(event: &str) -> Self {
        match event {
            "pass" => Self::Pass,
            "agent.starting" => Self::Action(STARTS),
            "agent.stopping" => Self::Action("runner.actions.stop"),
            "agent.killing" => Self::Action("runner.actions.kill"),
            "agent.forgotten" => Self::Action("runner.actions.forget"),
            "agent.backoff" => Self::Action("runner.actions.back_off"),
            "agent.waiting_for_world" => Self::Action("runner.actions.await_world"),
            "agent.completed" => Self::Action("runner.actions.complete"),
            "agent.failed" => Self::Action("runner.actions.fail"),
            "agent.started" => Self::Started,
            "agent.not_started" => Self::NotStarted,
            _ => Self::Other,
        }
    }
}

/// What the log said at one time, as far as spans are made of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) kind: Kind,
    /// The start that it is about; empty if it is about none.
    pub(super) run: String,
    pub(super) took_ms: f64,
    pub(super) error: String,
    pub(super) attributes: Vec<KeyValue>,
}

/// Makes spans of what the log says.
#[derive(Debug)]
pub(super) struct Spans {
    tracer: SdkTracer,
    /// What the pass that is under way has done.
    actions: BTreeMap<&'static str, i64>,
    starting: Vec<Said>,
    /// The starts of earlier passes that are under way, by their run.
    starts: HashMap<String, Span>,
}

impl Spans {
    pub(super) fn new(tracer: SdkTracer) -> Self {
        Self { tracer, actions: BTreeMap::new(), starting: Vec::new(), starts: HashMap::new() }
    }

    /// Takes in what the log said just now.
    pub(super) fn take(&mut self, said: Said, now: SystemTime) {
        match said.kind {
            Kind::Other => {}
            Kind::Action(name) => {
                *self.actions.entry(name).or_default() += 1;
                if name == STARTS {
                    self.starting.push(said);
                }
            }
            Kind::Pass => self.pass(said, now),
            Kind::Started | Kind::NotStarted => self.start_is_over(said, now),
        }
    }

    /// What a pass did is said before the pass itself, which says when it began.
    fn pass(&mut self, said: Said, now: SystemTime) {
        let took = Duration::try_from_secs_f64(said.took_ms / 1000.0).unwrap_or_default();
        let began = now.checked_sub(took).unwrap_or(now);
        let counts = mem::take(&mut self.actions).into_iter();
        let counts = counts.map(|(name, count)| KeyValue::new(name, count));
        let attributes = said.attributes.into_iter().chain(counts);
        let pass = self.span("pass", (began, attributes), &Context::new());
        let within = Context::new().with_span(pass);
        for said in mem::take(&mut self.starting) {
            // A start takes from the decision on.
            let span = self.span("spawn", (began, said.attributes), &within);
            self.starts.insert(said.run, span);
        }
        within.span().end_with_timestamp(now);
    }

    fn start_is_over(&mut self, said: Said, now: SystemTime) {
        let Some(mut span) = self.starts.remove(&said.run) else { return };
        let pid = said.attributes.into_iter().filter(|it| it.key.as_str() == "process.pid");
        span.set_attributes(pid);
        if said.kind == Kind::NotStarted {
            span.set_status(Status::error(said.error));
        }
        span.end_with_timestamp(now);
    }

    fn span(
        &self,
        name: &'static str,
        (began, attributes): (SystemTime, impl IntoIterator<Item = KeyValue>),
        within: &Context,
    ) -> Span {
        let builder = self.tracer.span_builder(name).with_start_time(began);
        builder.with_attributes(attributes).start_with_context(&self.tracer, within)
    }
}
