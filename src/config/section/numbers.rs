//! Reading numbers and durations.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Value;
use toml::de::DeValue;

use super::{Fallback, Found, Section, Want, scalar};
use crate::config::mistakes::Mistake;

impl Section<'_> {
    /// A whole number within `bounds`.
    pub(in crate::config) fn whole(
        &self,
        key: &'static str,
        bounds: RangeInclusive<i64>,
        or: impl Into<Fallback<i64>>,
    ) -> Found<i64> {
        self.whole_of(key, bounds, or, "a whole number")
    }

    /// A number of milliseconds, not below `least`.
    pub(in crate::config) fn millis(
        &self,
        key: &'static str,
        least: i64,
        or: impl Into<Fallback<i64>>,
    ) -> Found<Duration> {
        self.whole_of(key, least..=i64::MAX, or, "a whole number of milliseconds")
            .map(|millis| Duration::from_millis(millis.unsigned_abs()))
    }

    pub(super) fn whole_of(
        &self,
        key: &'static str,
        bounds: RangeInclusive<i64>,
        or: impl Into<Fallback<i64>>,
        what: &'static str,
    ) -> Found<i64> {
        let or = or.into();
        let Some(value) = self.entry(key) else {
            return self.absent(key, or, |number| Value::from(*number));
        };
        if let DeValue::Integer(integer) = value.get_ref() {
            let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
            if let Some(number) = number.filter(|number| bounds.contains(number)) {
                return Found::given(number, value.span());
            }
            let (wrong, write) = match number {
                Some(number) if number < *bounds.start() => ("less", *bounds.start()),
                Some(_) | None if integer.as_str().starts_with('-') => ("less", *bounds.start()),
                Some(_) | None => ("more", *bounds.end()),
            };
            let limit = if wrong == "less" { "at least" } else { "at most" };
            let title = format!("`{}` must be {limit} {write}", self.name(key));
            let label = format!("{wrong} than that");
            let help =
                format!("write {what} {}, such as `{key} = {}`", ranged(&bounds), or.example);
            self.sink.note(Mistake::at(&value.span(), title).label(label).help(help));
            return Found::wrong(or.example);
        }
        let meant = scalar(value.get_ref()).and_then(|text| text.trim().parse::<f64>().ok());
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and is a suggestion only")]
        let meant = meant.map(|number| number.round() as i64).filter(|n| bounds.contains(n));
        let example = meant.unwrap_or(or.example).to_string();
        self.mistyped(key, value, &Want { what, example }, or.example)
    }

    /// A number within `bounds`, with or without a fraction.
    pub(in crate::config) fn number(
        &self,
        key: &'static str,
        bounds: RangeInclusive<f64>,
        or: impl Into<Fallback<f64>>,
    ) -> Found<f64> {
        let or = or.into();
        let Some(value) = self.entry(key) else {
            return self.absent(key, or, |number| Value::from(*number));
        };
        let default = or.example;
        let number = match value.get_ref() {
            DeValue::Integer(_) | DeValue::Float(_) => scalar(value.get_ref()),
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => None,
        };
        let Some(number) = number.and_then(|text| text.parse::<f64>().ok()) else {
            let meant = scalar(value.get_ref()).and_then(|text| text.trim().parse::<f64>().ok());
            let example = meant.filter(|it| bounds.contains(it)).unwrap_or(default);
            let want = Want { what: "a number", example: format!("{example:?}") };
            return self.mistyped(key, value, &want, default);
        };
        if number.is_finite() && bounds.contains(&number) {
            return Found::given(number, value.span());
        }
        let (least, most) = (bounds.start(), bounds.end());
        let range = match (number.is_finite(), *most < f64::MAX) {
            (_, true) => format!("between {least} and {most}"),
            (true, false) => format!("at least {least}"),
            (false, false) => "a finite number".to_owned(),
        };
        let title = format!("`{}` must be {range}", self.name(key));
        let help = format!("write `{key} = {default:?}`, or leave it out for that");
        let label = format!("not {range}");
        self.sink.note(Mistake::at(&value.span(), title).label(label).help(help));
        Found::wrong(default)
    }
}

fn ranged(bounds: &RangeInclusive<i64>) -> String {
    let (least, most) = (bounds.start(), bounds.end());
    if *most == i64::MAX { format!("from {least}") } else { format!("from {least} to {most}") }
}
