//! Reading what is handed on as it is, and tables that add to others.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use toml::de::{DeValue, ValueDeserializer};
use toml::{Spanned, Value};

use super::{Fallback, Found, Section, Want, Word};
use crate::config::mistakes::Mistake;

/// What is nested deeper is no manifest of a pod, and could not be written in one line.
const DEEPEST: usize = 32;

/// Strings by name: those that the file gives here, and all that hold.
pub(in crate::config) struct Strings {
    /// With their places.
    pub(in crate::config) given: Vec<(Word, Word)>,
    /// With those that they add to.
    pub(in crate::config) all: BTreeMap<String, String>,
}

impl Section<'_> {
    /// A table of strings that adds to `default`, and wins over it name by name.
    pub(in crate::config) fn added(
        &self,
        key: &'static str,
        default: &BTreeMap<String, String>,
    ) -> Strings {
        let mut all = default.clone();
        let Some(value) = self.entry(key) else {
            if !all.is_empty() {
                self.ledger.absent(self.number, key, || as_table(&all));
            }
            return Strings { given: Vec::new(), all };
        };
        let given = self.strings(key, value);
        all.extend(given.iter().map(|((name, _), (text, _))| (name.clone(), text.clone())));
        self.ledger.given_as(self.number, key, value, || as_table(&all));
        Strings { given, all }
    }

    /// A table that is handed on as it is, so that it must be JSON as well.
    pub(in crate::config) fn raw(
        &self,
        key: &'static str,
        default: Option<&Value>,
    ) -> Found<Value> {
        let empty = Value::Table(toml::Table::new());
        let or = Fallback { default: default.cloned(), example: empty.clone() };
        let Some(value) = self.entry(key) else { return self.absent(key, or, Value::clone) };
        if let DeValue::Table(_) = value.get_ref() {
            return self.as_it_is(key, value, empty);
        }
        let want = Want { what: "a table", example: "{ ... }".to_owned() };
        self.mistyped(key, value, &want, empty)
    }

    /// A list of such tables.
    pub(in crate::config) fn raws(
        &self,
        key: &'static str,
        default: Option<&Value>,
    ) -> Found<Value> {
        let empty = Value::Array(Vec::new());
        let or = Fallback { default: default.cloned(), example: empty.clone() };
        let Some(value) = self.entry(key) else { return self.absent(key, or, Value::clone) };
        let wrong = match value.get_ref() {
            DeValue::Array(list) => list.iter().find(|element| !element.get_ref().is_table()),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Table(_) => Some(value),
        };
        if let Some(wrong) = wrong {
            let want = Want { what: "a list of tables", example: "[{ ... }]".to_owned() };
            return self.mistyped(key, wrong, &want, empty);
        }
        self.as_it_is(key, value, empty)
    }

    fn as_it_is(&self, key: &str, value: &Spanned<DeValue<'_>>, or: Value) -> Found<Value> {
        let wrong = self.no_json(key, value, 0);
        let read = Value::deserialize(ValueDeserializer::from(value.clone()));
        match read {
            Ok(read) if !wrong => Found::given(read, value.span()),
            Ok(_) | Err(_) => Found::wrong(or),
        }
    }

    /// Notes what TOML can say and JSON, or a file that means the same, cannot.
    fn no_json(&self, key: &str, value: &Spanned<DeValue<'_>>, depth: usize) -> bool {
        let (holds, help) = match value.get_ref() {
            DeValue::Array(_) | DeValue::Table(_) if depth == DEEPEST => (
                format!("is nested in more than {DEEPEST} levels"),
                "leave out what is in there".into(),
            ),
            DeValue::Array(list) => {
                let wrong = list.iter().map(|it| self.no_json(key, it, depth + 1));
                return wrong.fold(false, |one, other| one | other);
            }
            DeValue::Table(table) => {
                let wrong = table.iter().map(|(_, it)| self.no_json(key, it, depth + 1));
                return wrong.fold(false, |one, other| one | other);
            }
            DeValue::Datetime(time) => (
                "holds a date or time, which no manifest of Kubernetes has".to_owned(),
                format!("write it in quotes: `\"{time}\"`"),
            ),
            DeValue::Float(float) if !float.as_str().parse().is_ok_and(f64::is_finite) => (
                "holds a number that JSON does not have".to_owned(),
                "write a finite number".into(),
            ),
            DeValue::Integer(integer)
                if i64::from_str_radix(integer.as_str(), integer.radix()).is_err() =>
            {
                ("holds a number beyond 64 bits".to_owned(), "write a smaller number".into())
            }
            DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {
                return false;
            }
        };
        let title = format!("`{}` {holds}", self.name(key));
        self.sink.note(Mistake::at(&value.span(), title).label("cannot be handed on").help(help));
        true
    }
}

fn as_table(strings: &BTreeMap<String, String>) -> Value {
    let pairs = strings.iter().map(|(name, text)| (name.clone(), Value::from(text.as_str())));
    Value::Table(pairs.collect())
}
