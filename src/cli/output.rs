//! How data is printed: as a table for people, as JSON or YAML for programs, as names for scripts.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::UNIX_EPOCH;

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, SecondsFormat};
use clap::ValueEnum;
use serde::Serialize;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::print;
use crate::clock::wall_time;
use crate::text::is_unseen;

/// The version of all JSON and YAML that is printed: `design/api.md`.
pub(super) const API_VERSION: &str = "runner/v1";

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// Columns for people.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// JSON, with `apiVersion` and `kind`.
    Json,
    /// The same as YAML.
    Yaml,
    /// Names, one a line.
    Name,
}

/// A list, as programs get it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List<'a, T> {
    api_version: &'static str,
    kind: &'a str,
    items: &'a [T],
}

/// One thing, as programs get it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct One<'a, T> {
    api_version: &'static str,
    kind: &'a str,
    #[serde(flatten)]
    item: &'a T,
}

pub(super) fn list<'a, T>(kind: &'a str, items: &'a [T]) -> List<'a, T> {
    List { api_version: API_VERSION, kind, items }
}

pub(super) fn one<'a, T>(kind: &'a str, item: &'a T) -> One<'a, T> {
    One { api_version: API_VERSION, kind, item }
}

/// Prints data for programs.
pub(super) fn print_for_programs(output: Output, data: &impl Serialize) {
    let text = match output {
        Output::Yaml => serde_yaml_ng::to_string(data).map_err(|error| error.to_string()),
        Output::Json | Output::Table | Output::Wide | Output::Name => {
            serde_json::to_string_pretty(data).map_err(|error| error.to_string())
        }
    };
    match text {
        Ok(text) => print(text.trim_end()),
        Err(error) => super::say(format_args!("error: {error}")),
    }
}

/// Rows of columns as wide as their widest words.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|word| (*word).to_owned()).collect()] }
    }

    /// Control characters, which may come from the world or from agents, are escaped.
    pub(super) fn row(&mut self, words: impl IntoIterator<Item = String>) {
        self.rows.push(words.into_iter().map(|word| escaped(&word)).collect());
    }

    /// The table as text, with colours for phases where there is a terminal.
    pub(super) fn render(&self, colour: bool) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let words = self.rows.iter().filter_map(|row| row.get(column));
            words.map(|word| word.width()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (word, width) in row.iter().zip(&widths) {
                let style = if colour { style(word) } else { Style::new() };
                let gap = " ".repeat(width - word.width() + 3);
                let _ = write!(line, "{style}{word}{style:#}{gap}");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    pub(super) fn print(&self) {
        print(self.render(colour()).trim_end());
    }
}

/// Whether data may be coloured.
pub(super) fn colour() -> bool {
    std::io::stdout().is_terminal() && wants_colour()
}

/// Whether colours are welcome, where there is a terminal.
pub(super) fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn style(word: &str) -> Style {
    colour_of(word).map_or_else(Style::new, AnsiColor::on_default)
}

/// The colour of a phase or a state; none for any other word.
pub(super) fn colour_of(phase: &str) -> Option<AnsiColor> {
    Some(match phase {
        "Running" | "Completed" | "Ok" => AnsiColor::Green,
        "Starting" | "Stopping" | "BackingOff" | "AwaitingWorld" | "Suspended" | "Pending"
        | "Degraded" => AnsiColor::Yellow,
        "Failed" | "Missing" => AnsiColor::Red,
        _ => return None,
    })
}

/// A text on one line, of which everything is seen, in the order in which it stands: what the
/// world or agents wrote is not to move a terminal's cursor, nor to look like something else.
pub(super) fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let escaped = is_unseen(character).then(|| character.escape_default());
            let plain = escaped.is_none().then_some(character);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// As much of a text as so many columns show, with a sign that there is more.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |character: &char| {
        let wide = character.width().unwrap_or(0);
        let fits = wide <= left;
        left = left.saturating_sub(wide);
        fits
    };
    let mut cut: String = text.chars().take_while(fits).collect();
    cut.extend((width > 0).then_some('…'));
    cut
}

/// A dash where there is nothing.
pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// The time of day: milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let now = wall_time().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// The time since then, in one or two units.
pub(super) fn age(at_ms: i64) -> String {
    age_at(at_ms, now_ms())
}

/// The same, at that time.
pub(super) fn age_at(at_ms: i64, now: i64) -> String {
    if at_ms == 0 {
        return "-".to_owned();
    }
    let passed = span((now - at_ms).abs());
    if at_ms > now { format!("in {passed}") } else { passed }
}

/// A time span, as kubectl writes it.
pub(super) fn span(ms: i64) -> String {
    let seconds = ms / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600, seconds / 60);
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => format!("{minutes}m{}s", seconds % 60),
        () if hours < 2 => format!("{minutes}m"),
        () if hours < 10 => format!("{hours}h{}m", minutes % 60),
        () if days < 2 => format!("{hours}h"),
        () => format!("{days}d"),
    }
}

/// For programs: RFC 3339, UTC, milliseconds; none for never.
pub(super) fn timestamp(at_ms: i64) -> Option<String> {
    let time = DateTime::from_timestamp_millis(at_ms).filter(|_| at_ms != 0)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// For people: the time of day here.
pub(super) fn time_of_day(at_ms: i64) -> String {
    DateTime::from_timestamp_millis(at_ms).map_or_else(String::new, |time| {
        time.with_timezone(&chrono::Local).format("%H:%M:%S%.3f").to_string()
    })
}

/// A number of bytes, for people.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut unit = "B";
    let mut tenths = bytes.saturating_mul(10);
    for next in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = next;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests;
