//! Reading numbers of bytes.

use toml::Value;
use toml::de::DeValue;

use super::{Fallback, Found, Section, Want};

const UNITS: [(&str, u64); 5] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

impl Section<'_> {
    /// A number of bytes: as a number, or as a string with a unit, such as `"10MiB"`.
    pub(in crate::config) fn bytes(
        &self,
        key: &'static str,
        or: impl Into<Fallback<u64>>,
    ) -> Found<u64> {
        let or = or.into();
        let Some(value) = self.entry(key) else {
            return self.absent(key, or, |bytes| written(*bytes));
        };
        if let DeValue::Integer(_) = value.get_ref() {
            let example = i64::try_from(or.example).unwrap_or(i64::MAX);
            let number = self.whole_of(key, 0..=i64::MAX, example, "a whole number of bytes");
            return number.map(i64::unsigned_abs);
        }
        let text = value.get_ref().as_str();
        if let Some(bytes) = text.and_then(parse) {
            return Found::given(bytes, value.span());
        }
        let meant = text.and_then(meant).unwrap_or_else(|| "10MiB".to_owned());
        let want = Want {
            what: "a whole number of bytes, or such a number with a unit in quotes",
            example: format!("{meant:?}"),
        };
        self.mistyped(key, value, &want, or.example)
    }
}

/// In the largest unit that says it all.
fn written(bytes: u64) -> Value {
    let fitting =
        UNITS.iter().skip(1).rfind(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    match fitting {
        Some((unit, factor)) => Value::from(format!("{}{unit}", bytes / factor)),
        None => Value::from(i64::try_from(bytes).unwrap_or(i64::MAX)),
    }
}

/// The number and what follows it.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

fn parse(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let unit = if unit.is_empty() { "B" } else { unit };
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    // As much as TOML can hold.
    number.checked_mul(*factor).filter(|bytes| i64::try_from(*bytes).is_ok())
}

/// What somebody means who does not write units as we do.
fn meant(text: &str) -> Option<String> {
    let (number, unit) = split(text)?;
    let first = unit.chars().next()?.to_ascii_uppercase();
    let (name, _) = UNITS.iter().find(|(name, _)| name.starts_with(first))?;
    let meant = format!("{number}{name}");
    parse(&meant).map(|_| meant)
}
