use std::sync::{Arc, Mutex};

use opentelemetry::trace::{SpanId, Status, TracerProvider as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing::{debug, info};
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::asked::{Asked, CannotSend};
use super::layer::Listener;
use super::spans::Spans;

fn asked(variables: &[(&str, &str)]) -> Option<Asked> {
    let find = |name: &str| variables.iter().find(|(it, _)| *it == name);
    Asked::by(|name| find(name).map(|(_, value)| (*value).to_owned()))
}

#[test]
fn nothing_is_sent_unless_an_endpoint_is_named() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317");
    assert_eq!(asked(&[]), None);
    assert_eq!(asked(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), None);
    assert_eq!(asked(&[endpoint, ("OTEL_SDK_DISABLED", "True")]), None);
    assert_eq!(asked(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), None);
    assert!(asked(&[endpoint, ("OTEL_SDK_DISABLED", "false")]).is_some());
    assert!(asked(&[endpoint, ("OTEL_TRACES_EXPORTER", "console, otlp")]).is_some());
    let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4317");
    assert_eq!(asked(&[endpoint, traces]).unwrap().endpoint, "http://traces:4317");
}

#[test]
fn the_protocol_is_the_one_that_is_asked_for_or_usual_on_the_port() {
    let protocol = |endpoint, more: &[(&'static str, &'static str)]| {
        let variables: Vec<_> =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)].iter().chain(more).copied().collect();
        asked(&variables).unwrap().protocol().to_owned()
    };
    assert_eq!(protocol("http://localhost:4317", &[]), "grpc");
    assert_eq!(protocol("http://localhost:4318", &[]), "http/protobuf");
    assert_eq!(protocol("http://localhost:4318/", &[]), "http/protobuf");
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    assert_eq!(protocol("http://localhost:4318", &[grpc]), "grpc");
    let http = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf");
    assert_eq!(protocol("http://localhost:1", &[grpc, http]), "http/protobuf");
}

#[tokio::test]
async fn what_cannot_be_sent_to_is_refused_with_what_to_write() {
    let refusal = |endpoint: &str, protocol: &str| {
        let protocol = Some(protocol.to_owned());
        Asked { endpoint: endpoint.to_owned(), protocol }.exporter().unwrap_err()
    };
    for endpoint in ["https://localhost:4317", "localhost:4317"] {
        let error = refusal(endpoint, "grpc");
        assert!(matches!(error, CannotSend::NotPlain { .. }), "{error}");
        assert!(error.to_string().contains("write http://HOST:PORT"), "{error}");
    }
    let error = refusal("http://localhost:4318", "http/json").to_string();
    assert_eq!(error, "protocol \"http/json\": write \"grpc\" or \"http/protobuf\"");
}

/// Keeps what it is to send.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// The spans that are made of what is said meanwhile, in the order in which they end.
fn spans_of(say: impl FnOnce()) -> Vec<SpanData> {
    let kept = Kept::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
    let listener = Listener::default();
    let spans = listener.spans();
    spans.set(Some(Spans::new(provider.tracer("test"))));
    let log = tracing_subscriber::registry().with(listener.with_filter(Listener::filter()));
    tracing::subscriber::with_default(log, say);
    spans.set(None);
    kept.0.lock().unwrap().clone()
}

const LOOP: &str = "runner::reconcile::report";

fn starting(entity: &str, run: &str) {
    info!(
        target: LOOP, event = "agent.starting", entity = %entity, run = %run,
        template = "default", attempt = 2_u32, cause = "no_agent", reason = %"it has none",
        "starting"
    );
}

fn pass(actions: usize, took_ms: f64) {
    debug!(target: LOOP, event = "pass", actions, unchanged = 1_usize, cause = "world", took_ms, "pass");
}

/// Its attributes, in the order of their names.
fn attributes(span: &SpanData) -> Vec<String> {
    let text = |it: &opentelemetry::KeyValue| format!("{}={}", it.key, it.value);
    let mut attributes: Vec<_> = span.attributes.iter().map(text).collect();
    attributes.sort();
    attributes
}

#[test]
fn a_start_is_a_span_within_that_of_its_pass() {
    let spans = spans_of(|| {
        starting("alice", "#1");
        starting("bob", "#2");
        info!(target: LOOP, event = "agent.stopping", entity = "carol", run = "#0", "stopping");
        pass(3, 1500.0);
        info!(target: LOOP, event = "agent.started", run = %"#1", pid = 70_u32, took_ms = 1600.0, "started");
        info!(target: LOOP, event = "agent.not_started", run = %"#2", error = %"no such program", "not");
    });
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["pass", "spawn", "spawn"]);
    let [pass, alice, bob] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(pass.parent_span_id, SpanId::INVALID);
    for spawn in [alice, bob] {
        assert_eq!(spawn.parent_span_id, pass.span_context.span_id());
        assert_eq!(spawn.span_context.trace_id(), pass.span_context.trace_id());
        assert_eq!(spawn.start_time, pass.start_time);
        assert!(spawn.end_time >= pass.end_time);
    }
    let took = pass.end_time.duration_since(pass.start_time).unwrap();
    assert_eq!(took.as_millis(), 1500);
    assert_eq!(
        attributes(pass),
        [
            "runner.actions.start=2",
            "runner.actions.stop=1",
            "runner.actions.total=3",
            "runner.cause=world",
            "runner.unchanged=1"
        ]
    );
    assert_eq!(
        attributes(alice),
        [
            "process.pid=70",
            "runner.attempt=2",
            "runner.cause=no_agent",
            "runner.entity=alice",
            "runner.reason=it has none",
            "runner.run=#1",
            "runner.template=default"
        ]
    );
    assert_eq!(alice.status, Status::Unset);
    assert_eq!(bob.status, Status::error("no such program"));
}

#[test]
fn each_pass_has_a_trace_of_its_own_with_what_it_did_itself() {
    let spans = spans_of(|| {
        starting("alice", "#1");
        pass(1, 1.0);
        info!(target: LOOP, event = "agent.killing", entity = "bob", run = "#0", "killing");
        pass(1, 1.0);
        // Not of the loop.
        info!(event = "agent.started", run = %"#1", pid = 70_u32, "started");
    });
    let [first, second, alice] = &spans[..] else { panic!("{spans:?}") };
    assert_ne!(first.span_context.trace_id(), second.span_context.trace_id());
    assert!(attributes(first).contains(&"runner.actions.start=1".to_owned()));
    assert!(attributes(second).contains(&"runner.actions.kill=1".to_owned()));
    assert!(!attributes(second).iter().any(|it| it.starts_with("runner.actions.start")));
    // It was under way when the runner ended.
    assert_eq!(alice.parent_span_id, first.span_context.span_id());
}
