//! Sends spans to the endpoint, on threads of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{self, SdkTracerProvider, SpanData};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::timeout;
use tracing::{info, warn};

use super::asked::{Asked, CannotSend};
use super::layer::Shared;
use super::spans::Spans;

/// How long the endpoint may take for a batch, all tries together.
const BATCH: Duration = Duration::from_secs(30);

/// How long it may take for what there is when the runner ends.
const LAST_BATCH: Duration = Duration::from_secs(1);

/// Makes traces of what the loop does, where that is asked for.
#[derive(Debug)]
pub struct Traces {
    asked: Asked,
    spans: Shared,
}

/// Why no traces are sent.
#[derive(Debug, thiserror::Error)]
enum NoTraces {
    #[error("no thread for them: {0}")]
    Runtime(#[from] io::Error),
    #[error(transparent)]
    CannotSend(#[from] CannotSend),
}

impl Traces {
    pub(super) fn new(asked: Asked, spans: Shared) -> Self {
        Self { asked, spans }
    }

    /// Sends traces of this instance until what is returned is dropped. If that cannot be, it says
    /// so: agents are looked after all the same.
    #[must_use]
    pub fn export(&self, instance: &str) -> Option<Exporting> {
        let exporting = self.begin(instance);
        exporting.inspect_err(|error| warn!(event = "traces.failed", %error, "no traces")).ok()
    }

    fn begin(&self, instance: &str) -> Result<Exporting, NoTraces> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(1)
            .thread_name("traces")
            .enable_all()
            .build()?;
        let mut exporter = {
            let _within = runtime.enter();
            self.asked.exporter()?
        };
        let resource = resource(instance);
        trace::SpanExporter::set_resource(&mut exporter, &resource);
        let away = Arc::<AtomicBool>::default();
        let sender = Sender {
            exporter: Arc::new(exporter),
            runtime: runtime.handle().clone(),
            away: Arc::clone(&away),
        };
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_batch_exporter(sender)
            .build();
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        self.spans.set(Some(Spans::new(provider.tracer_with_scope(scope))));
        let runtime = Some(runtime);
        Ok(Exporting { spans: self.spans.clone(), provider, runtime, away })
    }
}

/// Who sends. What the user says wins.
fn resource(instance: &str) -> Resource {
    let own = [
        KeyValue::new("service.name", env!("CARGO_PKG_NAME")),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance.to_owned()),
    ];
    let name = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(own)
        .with_detector(Box::new(EnvResourceDetector::new()))
        .with_attributes(name.map(|name| KeyValue::new("service.name", name)))
        .build()
}

/// As long as there is one, traces are sent. Dropped, it sends what there is, for at most a second.
#[derive(Debug)]
pub struct Exporting {
    spans: Shared,
    provider: SdkTracerProvider,
    runtime: Option<Runtime>,
    away: Arc<AtomicBool>,
}

impl Drop for Exporting {
    fn drop(&mut self) {
        self.spans.set(None);
        let sent = self.provider.shutdown_with_timeout(LAST_BATCH);
        if sent.is_err() && !self.away.swap(true, Ordering::Relaxed) {
            let error = format!("the endpoint did not take them within {LAST_BATCH:?}");
            warn!(event = "traces.failed", error, "the last traces are lost");
        }
        if let Some(runtime) = self.runtime.take() {
            // An endpoint whose name nobody tells would hold up the end.
            runtime.shutdown_background();
        }
    }
}

/// Sends batches within the runtime, and tells once when that fails and once when it is over.
#[derive(Debug)]
struct Sender {
    exporter: Arc<SpanExporter>,
    runtime: Handle,
    away: Arc<AtomicBool>,
}

impl trace::SpanExporter for Sender {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exporter = Arc::clone(&self.exporter);
        let sending = async move { trace::SpanExporter::export(&*exporter, batch).await };
        let sending = self.runtime.spawn(async { timeout(BATCH, sending).await });
        let sent = match sending.await {
            Ok(Ok(sent)) => sent,
            Ok(Err(_elapsed)) => Err(OTelSdkError::Timeout(BATCH)),
            // The runner ends, and has waited long enough.
            Err(cancelled) => return Err(OTelSdkError::InternalFailure(cancelled.to_string())),
        };
        let was_away = self.away.swap(sent.is_err(), Ordering::Relaxed);
        match &sent {
            Err(error) if !was_away => {
                warn!(event = "traces.failed", %error, spans, "traces are lost until this is over");
            }
            Ok(()) if was_away => info!(event = "traces.sent", "traces are sent again"),
            Ok(()) | Err(_) => {}
        }
        sent
    }
}
