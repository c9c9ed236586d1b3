//! The line in an agent's log that tells whose output follows.

use std::fmt::Write as _;
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::executor::SpawnRequest;
use crate::text::is_unseen;

/// What the line begins with.
pub const HEAD: &str = "--- runner: ";

/// One line, without its end: when, which run, for which incarnation, which process, why, and what
/// it runs. Never the environment, which may hold secrets.
///
/// Strings are in quotes as JSON has them, so that no name can end the line or paint the terminal.
#[must_use]
pub fn header_line(request: &SpawnRequest, pid: u32, at: SystemTime) -> String {
    let at = DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Millis, true);
    let argv: Vec<String> = request.spec.argv.iter().map(|word| quoted(word)).collect();
    format!(
        "{HEAD}{at} run #{} incarnation {} pid {pid} reason {} command [{}]",
        request.run.0,
        request.incarnation,
        quoted(&request.reason),
        argv.join(","),
    )
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if is_unseen(character) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a string does not fail.
                    let _ = write!(quoted, "\\u{unit:04x}");
                }
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}
