//! Reading one table: each key by its type, every mistake noted and passed over.

use std::path::PathBuf;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

use super::effective::Ledger;
use super::keys::Table;
use super::mistakes::{Mistake, Sink, Span};
use super::near::nearest;

mod bytes;
mod choice;
mod fallback;
mod numbers;
mod raw;
mod share;
mod tables;
mod words;

pub(super) use fallback::Fallback;
pub(super) use words::WordOr;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// It stands here.
    Given(Span),
    /// The file does not say; the value holds.
    Default,
    /// The file does not say, and nothing holds; the value is an example.
    Nothing,
    /// The command line says it.
    Said,
    /// What the file says is wrong, and noted; the value stands in for it.
    Wrong,
}

/// A value and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) source: Source,
}

impl<T> Found<T> {
    fn given(value: T, span: Span) -> Self {
        Self { value, source: Source::Given(span) }
    }

    fn default(value: T) -> Self {
        Self { value, source: Source::Default }
    }

    fn nothing(example: T) -> Self {
        Self { value: example, source: Source::Nothing }
    }

    fn wrong(value: T) -> Self {
        Self { value, source: Source::Wrong }
    }

    /// The place of the value, if it is given and of the right type.
    pub(super) const fn span(&self) -> Option<&Span> {
        match &self.source {
            Source::Given(span) => Some(span),
            Source::Default | Source::Nothing | Source::Said | Source::Wrong => None,
        }
    }

    /// What holds, if anything does.
    pub(super) fn holding(self) -> Option<T> {
        (self.source != Source::Nothing).then_some(self.value)
    }

    pub(super) fn is_wrong(&self) -> bool {
        self.source == Source::Wrong
    }

    pub(super) fn map<U>(self, convert: impl FnOnce(T) -> U) -> Found<U> {
        Found { value: convert(self.value), source: self.source }
    }
}

/// A string of a list, with its place.
pub(super) type Word = (String, Span);

/// One table of the file, or the lack of it.
pub(super) struct Section<'f> {
    path: String,
    table: Option<&'f DeTable<'f>>,
    kind: Table,
    span: Span,
    pub(super) sink: &'f Sink,
    ledger: &'f Ledger,
    /// By which the ledger knows it.
    number: usize,
}

impl<'f> Section<'f> {
    /// The whole file.
    pub(super) fn root(table: &'f DeTable<'f>, sink: &'f Sink, ledger: &'f Ledger) -> Self {
        let (path, kind) = (String::new(), Table::Root);
        let number = ledger.open(0, &path, (kind, false), true);
        Self { path, table: Some(table), kind, span: 0..0, sink, ledger, number }
    }

    /// The table's place: the name in its header.
    pub(super) const fn span(&self) -> &Span {
        &self.span
    }

    /// The table's own full name, as in `agents.alice`.
    pub(super) fn title(&self) -> &str {
        &self.path
    }

    /// Whether the file has the table.
    pub(super) const fn exists(&self) -> bool {
        self.table.is_some()
    }

    /// The full name of `key`, as in `runner.server`.
    pub(super) fn name(&self, key: &str) -> String {
        let quoted = written(key);
        if self.path.is_empty() { quoted } else { format!("{}.{quoted}", self.path) }
    }

    /// Notes every key that a table of this kind does not have.
    pub(super) fn refuse_unknown(&self) {
        for (key, _) in self.table.into_iter().flat_map(DeTable::iter) {
            let name: &str = key.get_ref();
            if !self.kind.keys().contains(&name) {
                self.sink.note(self.unknown(name, &key.span()));
            }
        }
    }

    fn unknown(&self, name: &str, span: &Span) -> Mistake {
        let title = format!("unknown key `{}`", self.name(name));
        let mistake = Mistake::at(span, title).label("not known here");
        let header = self.kind.header();
        match (nearest(name, self.kind.keys().iter().copied()), Table::home_of(name)) {
            (_, Some(Table::Root)) => mistake.help(format!("write it as a table: `[{name}]`")),
            (_, Some(home)) => mistake.help(format!("`{name}` belongs in `{}`", home.header())),
            (Some(near), None) => mistake.help(format!("did you mean `{near}`?")),
            (None, None) => {
                let keys: Vec<String> = self.kind.keys().iter().map(|k| format!("`{k}`")).collect();
                mistake.help(format!("known in {header} are {}", keys.join(", ")))
            }
        }
    }

    /// What stands at `key`, a table or a value.
    fn look(&self, key: &'static str) -> Option<(Span, &'f Spanned<DeValue<'f>>)> {
        debug_assert!(self.kind.keys().contains(&key), "{key} is missing from keys.rs");
        self.table?.get_key_value(key).map(|(key, value)| (key.span(), value))
    }

    /// The value of `key`.
    fn entry(&self, key: &'static str) -> Option<&'f Spanned<DeValue<'f>>> {
        let (_, value) = self.look(key)?;
        self.ledger.given(self.number, key, value);
        Some(value)
    }

    /// What stands in for `key`, which the file does not have.
    fn absent<T>(
        &self,
        key: &'static str,
        fallback: Fallback<T>,
        written: impl FnOnce(&T) -> Value,
    ) -> Found<T> {
        match fallback.default {
            Some(value) => {
                self.ledger.absent(self.number, key, || written(&value));
                Found::default(value)
            }
            None => Found::nothing(fallback.example),
        }
    }

    /// What the command line says of `key`, in place of what was found.
    pub(super) fn instead<T>(&self, key: &'static str, value: T, written: &str) -> Found<T> {
        self.ledger.instead(self.number, key, || Value::from(written));
        Found { value, source: Source::Said }
    }

    /// The place of `key` itself, if it is there.
    pub(super) fn key_span(&self, key: &'static str) -> Option<Span> {
        self.look(key).map(|(span, _)| span)
    }

    fn mistyped<T>(&self, key: &str, value: &Spanned<DeValue<'_>>, want: &Want, or: T) -> Found<T> {
        let found = described(value.get_ref());
        let title = format!("`{}` must be {}, not {found}", self.name(key), want.what);
        let help = format!("write `{key} = {}`", want.example);
        self.sink.note(Mistake::at(&value.span(), title).label(found).help(help));
        Found::wrong(or)
    }

    /// A string.
    pub(super) fn text<'t>(
        &self,
        key: &'static str,
        or: impl Into<Fallback<&'t str>>,
    ) -> Found<String> {
        let or = or.into();
        let Some(value) = self.entry(key) else {
            return self.absent(key, or, |text| Value::from(*text)).map(str::to_owned);
        };
        let Some(text) = value.get_ref().as_str() else {
            // Most names must be more than a string; an id may be any.
            let id = scalar(value.get_ref()).filter(|_| key == "id");
            let example = id.as_deref().unwrap_or(or.example);
            let want = Want { what: "a string", example: format!("{example:?}") };
            return self.mistyped(key, value, &want, or.example.to_owned());
        };
        self.without_nul(text, key, &value.span());
        Found::given(text.to_owned(), value.span())
    }

    /// A string that is not empty, as a path.
    pub(super) fn path<'t>(
        &self,
        key: &'static str,
        or: impl Into<Fallback<&'t str>>,
    ) -> Found<PathBuf> {
        let or = or.into();
        let example = or.example;
        let text = self.text(key, or);
        if let Some(span) = text.span().filter(|_| text.value.is_empty()) {
            let title = format!("`{}` must not be empty", self.name(key));
            self.sink.note(
                Mistake::at(span, title)
                    .label("no directory")
                    .help(format!("write `{key} = {example:?}`, or leave it out")),
            );
        }
        text.map(PathBuf::from)
    }

    /// A list of strings.
    pub(super) fn words(
        &self,
        key: &'static str,
        default: Option<&[String]>,
        example: &[&str],
    ) -> Found<Vec<Word>> {
        let Some(value) = self.entry(key) else {
            let or = Fallback { default: default.map(<[_]>::to_vec), example: Vec::new() };
            let nowhere = |words: Vec<String>| words.into_iter().map(|word| (word, 0..0)).collect();
            return self.absent(key, or, |words| Value::from(words.clone())).map(nowhere);
        };
        let DeValue::Array(list) = value.get_ref() else {
            let split = scalar(value.get_ref());
            let words = split.as_deref().map(|text| text.split_whitespace().collect::<Vec<_>>());
            let example = format!("{:?}", words.as_deref().unwrap_or(example));
            let want = Want { what: "a list of strings", example };
            return self.mistyped(key, value, &want, Vec::new());
        };
        let mut wrong = false;
        let mut words = Vec::with_capacity(list.len());
        for element in list {
            if let Some(word) = element.get_ref().as_str() {
                self.without_nul(word, key, &element.span());
                words.push((word.to_owned(), element.span()));
            } else {
                wrong = true;
                self.not_a_string(key, element);
            }
        }
        if wrong { Found::wrong(words) } else { Found::given(words, value.span()) }
    }

    /// A table of strings.
    pub(super) fn pairs(&self, key: &'static str) -> Vec<(Word, Word)> {
        let Some(value) = self.entry(key) else {
            self.ledger.absent(self.number, key, || Value::Table(toml::Table::new()));
            return Vec::new();
        };
        self.strings(key, value)
    }

    fn strings(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Vec<(Word, Word)> {
        let DeValue::Table(table) = value.get_ref() else {
            let want = Want { what: "a table of strings", example: "{ NAME = \"value\" }".into() };
            return self.mistyped(key, value, &want, Vec::new()).value;
        };
        let mut pairs = Vec::new();
        for (name, value) in table {
            if let Some(text) = value.get_ref().as_str() {
                self.without_nul(text, key, &value.span());
                let name = (name.get_ref().to_string(), name.span());
                pairs.push((name, (text.to_owned(), value.span())));
            } else {
                self.not_a_string(key, value);
            }
        }
        pairs
    }

    fn not_a_string(&self, key: &str, value: &Spanned<DeValue<'_>>) {
        let found = described(value.get_ref());
        let title = format!("`{}` must hold strings, not {found}", self.name(key));
        let mistake = Mistake::at(&value.span(), title).label(found);
        self.sink.note(match scalar(value.get_ref()) {
            Some(text) => mistake.help(format!("write `{text:?}`, in quotes")),
            None => mistake.help("write a string in quotes"),
        });
    }

    fn without_nul(&self, text: &str, key: &str, span: &Span) {
        if text.contains('\0') {
            let title = format!("`{}` holds a NUL character", self.name(key));
            let mistake = Mistake::at(span, title).label("no program can be given a NUL");
            self.sink.note(mistake.help("leave out the `\\u0000`"));
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &'static str, default: bool) -> Found<bool> {
        let Some(value) = self.entry(key) else {
            return self.absent(key, default.into(), |flag| Value::from(*flag));
        };
        let Some(flag) = value.get_ref().as_bool() else {
            let meant = match scalar(value.get_ref()).unwrap_or_default().to_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => true,
                "false" | "no" | "off" | "0" => false,
                _ => default,
            };
            let want = Want { what: "`true` or `false`", example: meant.to_string() };
            return self.mistyped(key, value, &want, default);
        };
        Found::given(flag, value.span())
    }
}

/// A key as TOML has it: in quotes where it needs them.
pub(super) fn written(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { format!("{key:?}") }
}

/// What a key must hold, and an example of it.
struct Want {
    what: &'static str,
    example: String,
}

/// The kind of a value, in the words of somebody who does not know TOML.
fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The value as text, if it is neither a list nor a table.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(integer) if integer.radix() == 10 => Some(integer.as_str().to_owned()),
        DeValue::Integer(integer) => {
            let number = i128::from_str_radix(integer.as_str(), integer.radix());
            number.ok().map(|number| number.to_string())
        }
        DeValue::Float(float) => Some(float.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Datetime(datetime) => Some(datetime.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
