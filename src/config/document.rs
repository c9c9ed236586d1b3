//! A whole file: its syntax first, then all of its tables in one walk.

use toml::de::DeTable;

use super::effective::{Effective, Ledger};
use super::mistakes::{Mistake, Mistakes, Sink};
use super::section::Section;
use super::{Config, ExecutorKind, Overrides, Server, demo, settings};
use crate::world::Definition;

/// Reads a configuration, or says everything that is wrong with it. `file_name` is only for the
/// messages.
pub fn parse(file_name: &str, text: &str, overrides: &Overrides) -> Result<Config, Mistakes> {
    let ledger = Ledger::none();
    walk(file_name, text, ("[runner]", &ledger), |root| settings::config(root, overrides))
}

/// Reads a configuration, and tells all that holds with it, and where that comes from.
pub fn explain(
    file_name: &str,
    text: &str,
    overrides: &Overrides,
) -> Result<(Config, Effective), Mistakes> {
    let ledger = Ledger::kept();
    let config =
        walk(file_name, text, ("[runner]", &ledger), |root| settings::config(root, overrides))?;
    let mut effective = ledger.into_effective(text);
    if let Server::Address(_) = config.server {
        // Nothing of it is the world that is served.
        let demo = ["world", "entities", "objects"];
        effective
            .tables
            .retain(|table| table.path.first().is_none_or(|name| !demo.contains(&&**name)));
    }
    if config.executor == ExecutorKind::Local {
        // Nor is anybody a pod.
        effective.tables.retain(|table| table.path.iter().all(|name| name != "kubernetes"));
    }
    Ok((config, effective))
}

/// Reads the tables of a demo world. The same file may hold the runner's tables as well; they are
/// not looked at.
pub fn parse_world(file_name: &str, text: &str) -> Result<Definition, Mistakes> {
    walk(file_name, text, ("[world]", &Ledger::none()), demo::definition)
}

fn walk<T>(
    file_name: &str,
    text: &str,
    (least, ledger): (&str, &Ledger),
    decode: impl FnOnce(&Section<'_>) -> T,
) -> Result<T, Mistakes> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() && document.get_ref().is_empty() {
        return Err(Mistakes::only(file_name, text, nothing(text, least)));
    }
    let sink = Sink::default();
    for error in &errors {
        sink.note_broken(not_toml(error, text));
    }
    let root = Section::root(document.get_ref(), &sink, ledger);
    root.refuse_unknown();
    let value = decode(&root);
    sink.into_mistakes(file_name, text, errors.len()).map_or(Ok(value), Err)
}

/// An empty file is what a save leaves behind for a moment, or a disk that is full: never a wish
/// to stop everybody.
fn nothing(text: &str, least: &str) -> Mistake {
    let title = if text.trim().is_empty() { "the file is empty" } else { "the file has no tables" };
    Mistake::at(&(0..0), title).help(format!("write at least `{least}`"))
}

fn not_toml(error: &toml::de::Error, text: &str) -> Mistake {
    // Without a place it is about the end of the file.
    let span = error.span().unwrap_or(text.len()..text.len());
    let (what, expected) = match error.message().split_once(", expected ") {
        Some((what, expected)) => (what, Some(expected)),
        None => (error.message(), None),
    };
    let mistake = Mistake::at(&span, format!("not TOML: {what}"));
    let offending = text.get(span.clone()).map(str::trim).filter(|bare| !bare.is_empty());
    match (offending, expected) {
        (Some(bare), _) if what.contains("must be quoted") => {
            mistake.help(format!("write it in quotes: `{bare:?}`"))
        }
        (None, _) if what.contains("must be quoted") => {
            Mistake::at(&span, "not TOML: a key without a value")
                .help("write a value after the `=`")
        }
        (_, Some(quote)) if what.contains("string") => {
            mistake.help(format!("close the string with {quote}"))
        }
        (_, _) if what.contains("duplicate key") => {
            mistake.label("a second time").help("write it once")
        }
        (_, Some("nothing")) => mistake.help("leave it out"),
        (_, Some(expected)) => mistake.help(format!("write {expected}")),
        (_, None) => mistake,
    }
}
