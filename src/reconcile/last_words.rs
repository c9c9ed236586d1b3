//! What several agents wrote last, as far as they wrote the same.

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::future::BoxFuture;

use crate::executor::{Executor, Writer, logs};
use crate::plan::{Agent, EntityId};

/// How much of each log is read, in bytes.
pub(super) const READ: u64 = 8 << 10;
/// How many lines are told.
const LINES: usize = 5;
/// How many of one that hangs: a stack is deeper than a last word.
const EVIDENCE: usize = 40;
/// How much of each line, in bytes.
const LENGTH: usize = 200;

/// Where it is that agents write.
pub(super) struct Logs<'a, E> {
    pub(super) executor: &'a E,
    pub(super) agents: &'a BTreeMap<EntityId, Agent>,
    pub(super) dir: &'a Path,
}

impl<E: Executor> Logs<'_, E> {
    /// The end of what the agent of an entity wrote, and whose that is.
    pub(super) fn tail(&self, id: &EntityId) -> BoxFuture<'static, (EntityId, String)> {
        let entity = id.clone();
        let incarnation = self.agents.get(id).map_or(0, |agent| agent.incarnation);
        let writer = Writer { entity: entity.clone(), incarnation, log_dir: self.dir.to_owned() };
        let tail = self.executor.tail(writer, READ);
        Box::pin(async move { (entity, tail.await) })
    }
}

/// The last lines that all agents wrote of whose logs these are the ends, in one line; if they have
/// none in common, those of the first who wrote any. Also whose they are.
pub(super) fn last_words(tails: &[(EntityId, String)]) -> (String, String) {
    let tails: Vec<_> = tails.iter().filter(|(_, tail)| lines(tail).next().is_some()).collect();
    let common = common(&tails.iter().map(|(_, tail)| tail.as_str()).collect::<Vec<_>>());
    let names: Vec<&str> = tails.iter().map(|(id, _)| id.as_str()).collect();
    match (common.is_empty(), tails.first()) {
        (false, _) => (common, names.join(", ")),
        (true, Some((id, tail))) => (self::common(&[tail]), id.to_string()),
        (true, None) => (String::new(), String::new()),
    }
}

/// The last lines of the end of a log, with those that a fault handler wrote.
pub(super) fn last_lines(tail: &str) -> String {
    let mut last: Vec<_> = lines(tail).rev().take(EVIDENCE).map(shown).collect();
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
