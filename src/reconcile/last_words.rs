//! What several agents wrote last, as far as they wrote the same.

use std::path::Path;

use crate::executor::logs;
use crate::plan::EntityId;

/// How much of each log is read, in bytes.
const READ: u64 = 8 << 10;
/// How many lines are told.
const LINES: usize = 5;
/// How many of one that hangs: a stack is deeper than a last word.
const EVIDENCE: usize = 40;
/// How much of each line, in bytes.
const LENGTH: usize = 200;

/// The last lines that all of these agents wrote, in one line; if they have none in common, those
/// of the first who wrote any. Also whose they are.
pub(super) fn last_words(log_dir: &Path, agents: &[EntityId]) -> (String, String) {
    let tails: Vec<(String, &EntityId)> = agents
        .iter()
        // A log that cannot be read says nothing; that it cannot be is told elsewhere.
        .filter_map(|id| Some((logs::tail(log_dir, id, READ).ok()?, id)))
        .filter(|(tail, _)| lines(tail).next().is_some())
        .collect();
    let common = common(&tails.iter().map(|(tail, _)| tail.as_str()).collect::<Vec<_>>());
    let names: Vec<&str> = tails.iter().map(|(_, id)| id.as_str()).collect();
    match (common.is_empty(), tails.first()) {
        (false, _) => (common, names.join(", ")),
        (true, Some((tail, id))) => (self::common(&[tail]), id.to_string()),
        (true, None) => (String::new(), String::new()),
    }
}

/// The last lines that an agent wrote, with those that its fault handler did.
pub(super) fn last_lines(log_dir: &Path, agent: &EntityId) -> String {
    // A log that cannot be read says nothing; that it cannot be is told elsewhere.
    let tail = logs::tail(log_dir, agent, READ).unwrap_or_default();
    let mut last: Vec<_> = lines(&tail).rev().take(EVIDENCE).map(shown).collect();
    last.reverse();
    last.join(" | ")
}

/// The last lines that are in all texts, each once: of agents that crash and crash again the same
/// lines stand there many times.
fn common(tails: &[&str]) -> String {
    let Some((first, others)) = tails.split_first() else { return String::new() };
    let mut last: Vec<&str> = Vec::new();
    for line in lines(first).rev() {
        let in_all = others.iter().all(|tail| lines(tail).any(|other| other == line));
        if in_all && !last.contains(&line) {
            last.push(line);
        }
        if last.len() == LINES {
            break;
        }
    }
    let shown: Vec<String> = last.into_iter().rev().map(shown).collect();
    shown.join(" | ")
}

/// What the agents themselves wrote, and is more than white space.
fn lines(tail: &str) -> impl DoubleEndedIterator<Item = &str> {
    tail.lines()
        .map(str::trim_end)
        .filter(|line| !line.trim_start().is_empty() && !line.starts_with(logs::HEAD))
}

/// A line that can neither paint a terminal nor fill it.
fn shown(line: &str) -> String {
    let mut shown = String::new();
    for character in line.chars() {
        if shown.len() >= LENGTH {
            shown.push('…');
            break;
        }
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests;
