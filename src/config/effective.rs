//! What holds, and why: each key as it was read, with where its value comes from.
//!
//! ```text
//! Section ──each key that is looked for──► Ledger ──► Effective, for people and programs
//! ```
//!
//! Nothing is noted unless somebody asks for it.

use std::cell::RefCell;
use std::fmt;

use serde::Deserialize as _;
use toml::de::{DeValue, ValueDeserializer};
use toml::{Spanned, Value};

use super::keys::Table;
use super::mistakes::{Lines, Span};

/// A configuration with everything that holds in it: written as TOML, it is a file that means the
/// same.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// In the order of the file, each before those within it.
    pub tables: Vec<EffectiveTable>,
}

/// A table of the file, or one that is not in it but whose keys have defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct EffectiveTable {
    /// Its full name, such as `agents`, `alice`, `match`; of one of a list, that of the list.
    pub path: Vec<String>,
    /// Whether it is one of a list, as `[[entities]]` are.
    pub in_list: bool,
    /// Its keys that hold a value.
    pub settings: Vec<Setting>,
    kind: Table,
}

/// A key and what it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Its name within the table.
    pub key: &'static str,
    /// As it stands in the file, or would.
    pub value: Value,
    /// Where the value comes from.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It stands in the file; what a template takes from `[runner]` stands there. Both counted
    /// from 1, the column in characters.
    File {
        /// The line of the value.
        line: usize,
        /// Where it begins in that line.
        column: usize,
    },
    /// The file does not say.
    Default,
    /// There is no `[agents]`, and every entity is to have an agent all the same.
    AutoDiscover,
    /// The command line says it in place of the file.
    CommandLine,
}

impl Effective {
    /// The table of this name that is not one of a list.
    pub fn table_mut(&mut self, path: &[&str]) -> Option<&mut EffectiveTable> {
        self.tables.iter_mut().find(|table| !table.in_list && table.path == path)
    }
}

/// As a file.
impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            writeln!(f, "{}", table.header())?;
            for Setting { key, value, .. } in &table.settings {
                writeln!(f, "{key} = {value}")?;
            }
        }
        Ok(())
    }
}

impl EffectiveTable {
    /// The line above its keys in a file.
    #[must_use]
    pub fn header(&self) -> String {
        let nested = self.path.iter().rev().fold(toml::Table::new(), |inner, name| {
            toml::Table::from_iter([(name.clone(), Value::Table(inner))])
        });
        let header = nested.to_string();
        let header = header.trim();
        if self.in_list { format!("[{header}]") } else { header.to_owned() }
    }

    /// Has the key hold a default, unless it holds something.
    pub fn fall_back(&mut self, key: &'static str, value: impl Into<Value>) {
        if self.settings.iter().all(|setting| setting.key != key) {
            self.settings.push(Setting { key, value: value.into(), origin: Origin::Default });
            self.settings.sort_by_key(|setting| order(self.kind, setting.key));
        }
    }
}

/// Collects what is read while the file is walked.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The first is the whole file; none if nobody asks.
    tables: Option<RefCell<Vec<Noted>>>,
}

/// A table as it was read.
#[derive(Debug)]
struct Noted {
    /// The number of the table that it is in.
    parent: usize,
    name: String,
    kind: Table,
    in_list: bool,
    /// Whether the file has it.
    exists: bool,
    settings: Vec<(&'static str, Value, Source)>,
}

#[derive(Clone, Debug)]
enum Source {
    Given(Span),
    Default,
    CommandLine,
}

impl Ledger {
    /// For nobody.
    pub(super) fn none() -> Self {
        Self::default()
    }

    /// For somebody who asks.
    pub(super) fn kept() -> Self {
        Self { tables: Some(RefCell::default()) }
    }

    /// Notes a table, and returns its number.
    pub(super) fn open(
        &self,
        parent: usize,
        name: &str,
        (kind, in_list): (Table, bool),
        exists: bool,
    ) -> usize {
        let Some(tables) = &self.tables else { return 0 };
        let mut tables = tables.borrow_mut();
        let (name, settings) = (name.to_owned(), Vec::new());
        tables.push(Noted { parent, name, kind, in_list, exists, settings });
        tables.len() - 1
    }

    /// Notes a key that the file has.
    pub(super) fn given(&self, table: usize, key: &'static str, value: &Spanned<DeValue<'_>>) {
        self.note(table, key, || {
            // What cannot be a value is a mistake, and noted as one.
            let read = Value::deserialize(ValueDeserializer::from(value.clone())).ok()?;
            Some((read, Source::Given(value.span())))
        });
    }

    /// Notes a key that the file has, with what it comes to together with others.
    pub(super) fn given_as(
        &self,
        table: usize,
        key: &'static str,
        place: &Spanned<DeValue<'_>>,
        value: impl FnOnce() -> Value,
    ) {
        self.note(table, key, || Some((value(), Source::Given(place.span()))));
    }

    /// Notes what stands in for a key that the file does not have.
    pub(super) fn absent(&self, table: usize, key: &'static str, value: impl FnOnce() -> Value) {
        self.note(table, key, || Some((value(), Source::Default)));
    }

    /// Notes what the command line says in place of what the file says, or does not say.
    pub(super) fn instead(&self, table: usize, key: &'static str, value: impl FnOnce() -> Value) {
        self.note(table, key, || Some((value(), Source::CommandLine)));
    }

    /// A key may be looked for more than once: the last time counts.
    fn note(
        &self,
        table: usize,
        key: &'static str,
        value: impl FnOnce() -> Option<(Value, Source)>,
    ) {
        let Some(tables) = &self.tables else { return };
        let Some((value, source)) = value() else { return };
        let mut tables = tables.borrow_mut();
        let Some(table) = tables.get_mut(table) else { return };
        table.settings.retain(|(known, ..)| *known != key);
        table.settings.push((key, value, source));
    }

    /// All that was noted of this text.
    pub(super) fn into_effective(self, text: &str) -> Effective {
        let tables = self.tables.map(RefCell::into_inner).unwrap_or_default();
        let report = Report { tables: &tables, lines: Lines::of(text) };
        Effective { tables: report.below(0, &[]) }
    }
}

/// The place of a key among all that a table may hold.
fn order(kind: Table, key: &str) -> Option<usize> {
    kind.keys().iter().position(|known| *known == key)
}

/// Turns what was noted into what is told.
struct Report<'t> {
    tables: &'t [Noted],
    lines: Lines<'t>,
}

impl Report<'_> {
    /// The tables within this one, each with those within it.
    fn below(&self, parent: usize, path: &[String]) -> Vec<EffectiveTable> {
        let tables = self.tables.iter().enumerate().skip(1);
        let mut within: Vec<_> = tables.filter(|(_, table)| table.parent == parent).collect();
        // Templates are in the order of the file, which chooses among them.
        if parent == 0 {
            within.sort_by_key(|(_, table)| order(Table::Root, &table.name));
        }
        let mut told = Vec::new();
        for (number, table) in within {
            let path: Vec<_> = path.iter().cloned().chain([table.name.clone()]).collect();
            let below = self.below(number, &path);
            // One that only holds others is there with them.
            if !table.settings.is_empty() || (table.exists && below.is_empty()) {
                let settings = self.settings(table, &path);
                let (in_list, kind) = (table.in_list, table.kind);
                told.push(EffectiveTable { path, in_list, settings, kind });
            }
            told.extend(below);
        }
        told
    }

    fn settings(&self, table: &Noted, path: &[String]) -> Vec<Setting> {
        let told = |(key, value, source): &(&'static str, Value, Source)| {
            let origin = self.origin(key, source, path);
            Setting { key, value: value.clone(), origin }
        };
        let mut told: Vec<_> = table.settings.iter().map(told).collect();
        told.sort_by_key(|setting| order(table.kind, setting.key));
        told
    }

    fn origin(&self, key: &str, source: &Source, path: &[String]) -> Origin {
        match (source, path) {
            (Source::Given(span), _) => {
                let (line, column) = self.lines.place(span.start);
                Origin::File { line, column }
            }
            (Source::CommandLine, _) => Origin::CommandLine,
            (Source::Default, [agents, template, within @ ..]) if agents == "agents" => {
                self.taken_over(key, template, within)
            }
            (Source::Default, _) => Origin::Default,
        }
    }

    /// What a template does not say itself is as `[runner]`, or `[kubernetes]`, has it, where that
    /// has such a key.
    fn taken_over(&self, key: &str, template: &str, within: &[String]) -> Origin {
        let above = match within {
            [first, ..] if first == "kubernetes" => within.to_vec(),
            _ => ["runner".to_owned()].into_iter().chain(within.iter().cloned()).collect(),
        };
        let own = self.find(&above).and_then(|above| above.source(key));
        if let Some(source) = own {
            return self.origin(key, source, &above);
        }
        let template = self.find(&["agents".to_owned(), template.to_owned()]);
        let implied = template.is_some_and(|template| !template.exists);
        let discovers = self.find(&["runner".to_owned()]).and_then(|it| it.value("auto_discover"));
        if implied && discovers == Some(&Value::Boolean(true)) {
            Origin::AutoDiscover
        } else {
            Origin::Default
        }
    }

    fn find(&self, path: &[String]) -> Option<&Noted> {
        let mut number = 0;
        for name in path {
            number = self.tables.iter().enumerate().skip(1).find_map(|(own, table)| {
                (table.parent == number && table.name == *name).then_some(own)
            })?;
        }
        self.tables.get(number)
    }
}

impl Noted {
    fn source(&self, key: &str) -> Option<&Source> {
        self.settings.iter().find_map(|(known, _, source)| (*known == key).then_some(source))
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.settings.iter().find_map(|(known, value, _)| (*known == key).then_some(value))
    }
}
