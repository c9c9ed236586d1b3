//! The runner's own log: to stderr, as lines for people or as JSON.

use std::fmt::{self, Write as _};
use std::io::{IsTerminal as _, stderr};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{ChronoLocal, ChronoUtc, FormatTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::console::Console;
use super::output::{escaped, wants_colour};
use crate::events::Recorder;
use crate::metrics::MeterLayer;
use crate::traces;

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line, its fields beside `timestamp`, `level` and `message`.
    Json,
}

/// Who else listens to the log, whatever of it is shown.
pub(super) struct Listeners {
    pub(super) recorder: Recorder,
    pub(super) meter: MeterLayer,
    pub(super) traces: Option<traces::Listener>,
}

/// Starts the log. `RUST_LOG` says what of it is shown, or else `default`.
pub(super) fn start(
    format: LogFormat,
    default: &str,
    (console, listeners): (Console, Option<Listeners>),
) {
    let asked = std::env::var("RUST_LOG").ok().filter(|asked| !asked.is_empty());
    let filter = EnvFilter::new(asked.as_deref().unwrap_or(default));
    let log = tracing_subscriber::fmt::layer().with_writer(console);
    let log = match format {
        LogFormat::Text => log.with_ansi(colour()).event_format(Lines).boxed(),
        LogFormat::Json => log.json().flatten_event(true).with_target(false).boxed(),
    };
    let (meter, recorder, traces) = match listeners {
        Some(Listeners { recorder, meter, traces }) => (Some(meter), Some(recorder), traces),
        None => (None, None, None),
    };
    let recorder = recorder.map(|recorder| recorder.with_filter(Recorder::filter()));
    let traces = traces.map(|listener| listener.with_filter(traces::Listener::filter()));
    let registry = tracing_subscriber::registry().with(meter).with(recorder).with(traces);
    registry.with(log.with_filter(filter)).init();
}

/// Whether what is said to a person may be coloured.
pub(super) fn colour() -> bool {
    stderr().is_terminal() && wants_colour()
}

/// `TIME LEVEL ENTITY: MESSAGE: REASON  field=value …`
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let colour = writer.has_ansi_escapes();
        let paint = |style: Style| if colour { style } else { Style::new() };
        let (dim, bold) = (paint(Style::new().dimmed()), paint(Style::new().bold()));
        let mut parts = Parts::default();
        event.record(&mut parts);

        write!(writer, "{dim}")?;
        format_time(&mut writer, colour)?;
        let level = *event.metadata().level();
        let style = paint(level_style(level));
        write!(writer, "{dim:#} {style}{level:>5}{style:#} ")?;
        if let Some(entity) = &parts.entity {
            write!(writer, "{bold}{entity}{bold:#}: ")?;
        }
        writer.write_str(&parts.message)?;
        if let Some(reason) = &parts.reason {
            write!(writer, ": {reason}")?;
        }
        writeln!(writer, "{dim}{}{dim:#}", parts.rest)
    }
}

/// A person at a terminal wants the time of day; a file is read on another day or elsewhere.
fn format_time(writer: &mut Writer<'_>, terminal: bool) -> fmt::Result {
    if terminal {
        ChronoLocal::new("%H:%M:%S%.3f".to_owned()).format_time(writer)
    } else {
        ChronoUtc::new("%Y-%m-%dT%H:%M:%S%.3fZ".to_owned()).format_time(writer)
    }
}

fn level_style(level: Level) -> Style {
    let colour = match level {
        Level::ERROR => AnsiColor::Red,
        Level::WARN => AnsiColor::Yellow,
        Level::INFO => AnsiColor::Green,
        Level::DEBUG | Level::TRACE => AnsiColor::Blue,
    };
    colour.on_default()
}

/// The fields of an event, by their place in the line. What may come from the world or from
/// agents is escaped; our own messages may have several lines.
#[derive(Default)]
struct Parts {
    entity: Option<String>,
    message: String,
    reason: Option<String>,
    rest: String,
}

impl Parts {
    fn take(&mut self, name: &str, value: &str) {
        match name {
            "message" => value.clone_into(&mut self.message),
            "entity" => self.entity = Some(escaped(value)),
            "reason" | "error" => self.reason = Some(escaped(value)),
            // Stable words for programs: the message and the reason say it for people.
            "event" | "cause" => {}
            name => {
                // Writing to a string does not fail.
                let _ = write!(self.rest, "  {name}={}", escaped(value));
            }
        }
    }
}

impl Visit for Parts {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field.name(), &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field.name(), value);
    }
}

#[cfg(test)]
mod tests;
