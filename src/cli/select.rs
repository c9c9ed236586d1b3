//! Which agents or entities are meant: names, globs, and `-l template=…,type=…,phase=…`.

use clap::Args;
use clap_complete::{ArgValueCandidates, ArgValueCompleter};

use super::candidates;
use crate::proto::control as pb;

/// Which ones. All of them where nothing is said.
#[derive(Clone, Debug, Args)]
pub(super) struct Selection {
    /// Names, in which `*` stands for any characters and `?` for one.
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(candidates::names))]
    names: Vec<String>,
    /// Only these: `template=NAME`, `type=NAME`, `phase=NAME`, several with commas.
    #[arg(long = "selector", short = 'l', value_name = "KEY=VALUE", value_delimiter = ',',
          value_parser = condition, add = ArgValueCompleter::new(candidates::conditions))]
    conditions: Vec<(Key, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Template,
    Type,
    Phase,
}

fn condition(text: &str) -> Result<(Key, String), String> {
    let (key, value) = text.split_once('=').ok_or("write `key=value`")?;
    let key = match key.trim() {
        "template" => Key::Template,
        "type" => Key::Type,
        "phase" => Key::Phase,
        other => return Err(format!("`{other}` is none of `template`, `type`, `phase`")),
    };
    Ok((key, value.trim().to_owned()))
}

impl Selection {
    /// From words that were typed. Those with a `=` are conditions, with commas between several;
    /// others are names, or parts of names where they have no `*` and no `?`.
    pub(super) fn of_words<'w>(words: impl Iterator<Item = &'w str>) -> Result<Self, String> {
        let mut selection = Self { names: Vec::new(), conditions: Vec::new() };
        for word in words {
            if word.contains('=') {
                for part in word.split(',').filter(|part| !part.is_empty()) {
                    selection.conditions.push(condition(part)?);
                }
            } else if word.contains(['*', '?']) {
                selection.names.push(word.to_owned());
            } else {
                selection.names.push(format!("*{word}*"));
            }
        }
        // A value that is about to be typed is none yet.
        selection.conditions.retain(|(_, value)| !value.is_empty());
        Ok(selection)
    }

    /// Whether nothing is said.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.conditions.is_empty()
    }

    pub(super) fn selector(&self) -> pb::Selector {
        let of = |wanted| {
            let fitting = self.conditions.iter().filter(move |(key, _)| *key == wanted);
            fitting.map(|(_, value)| value.clone()).collect()
        };
        pb::Selector {
            names: self.names.clone(),
            templates: of(Key::Template),
            types: of(Key::Type),
            phases: of(Key::Phase),
        }
    }

    /// The names that are meant as they are.
    pub(super) fn plain_names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str).filter(|name| !name.contains(['*', '?']))
    }
}
