//! What the environment asks for, by the names of the OpenTelemetry specification.

use opentelemetry_otlp::{ExporterBuildError, SpanExporter};

/// The variables that name an endpoint. The first one that is set counts.
const ENDPOINT: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// The variables that name a protocol, likewise.
const PROTOCOL: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];

/// Where traces are to be sent, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) endpoint: String,
    /// None: the one that is usual there.
    pub(super) protocol: Option<String>,
}

/// Why no traces can be sent there.
#[derive(Debug, thiserror::Error)]
pub(super) enum CannotSend {
    #[error(
        "{endpoint}: the runner speaks no TLS; write http://HOST:PORT, of a collector that passes \
         traces on"
    )]
    NotPlain { endpoint: String },
    #[error("protocol {protocol:?}: write \"grpc\" or \"http/protobuf\"")]
    Protocol { protocol: String },
    #[error(transparent)]
    Refused(#[from] ExporterBuildError),
}

impl Asked {
    /// What these variables ask for; none if that is nothing.
    pub(super) fn by(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let first = |names: [&str; 2]| names.iter().find_map(|name| set(name));
        let disabled =
            set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let elsewhere = set("OTEL_TRACES_EXPORTER")
            .is_some_and(|exporters| exporters.split(',').all(|name| name.trim() != "otlp"));
        if disabled || elsewhere {
            return None;
        }
        Some(Self { endpoint: first(ENDPOINT)?, protocol: first(PROTOCOL) })
    }

    /// What sends there. All else that the specification has variables for, such as headers and
    /// deadlines, is read by the library. To be called within a runtime.
    pub(super) fn exporter(&self) -> Result<SpanExporter, CannotSend> {
        let endpoint = &self.endpoint;
        if !endpoint.contains("://") || endpoint.starts_with("https://") {
            return Err(CannotSend::NotPlain { endpoint: endpoint.clone() });
        }
        let builder = SpanExporter::builder();
        Ok(match self.protocol() {
            "grpc" => builder.with_tonic().build()?,
            "http/protobuf" => builder.with_http().build()?,
            other => return Err(CannotSend::Protocol { protocol: other.to_owned() }),
        })
    }

    /// Where nothing is said, what most agents' own libraries would take; but not on the port that
    /// is registered for the other one.
    pub(super) fn protocol(&self) -> &str {
        let port = self.endpoint.trim_end_matches('/').rsplit_once(':').map(|(_, port)| port);
        match (&self.protocol, port) {
            (Some(asked), _) => asked,
            (None, Some("4318")) => "http/protobuf",
            (None, _) => "grpc",
        }
    }
}
