//! Reading a number of things, or a part of them.

use toml::Value;
use toml::de::DeValue;

use super::{Fallback, Found, Section, Want};
use crate::plan::MaxUnavailable;

impl Section<'_> {
    /// How many agents at most: a number, at least 1, or a part of them in quotes, such as
    /// `"25%"`.
    pub(in crate::config) fn share(
        &self,
        key: &'static str,
        default: Option<MaxUnavailable>,
    ) -> Found<Option<MaxUnavailable>> {
        let Some(value) = self.entry(key) else {
            let example = MaxUnavailable::Percent(25);
            return self.absent(key, Fallback { default, example }, written).map(|_| default);
        };
        if let DeValue::Integer(_) = value.get_ref() {
            let count = self.whole_of(key, 1..=i64::from(u32::MAX), 1, "a whole number");
            return count.map(|count| usize::try_from(count).ok().map(MaxUnavailable::Count));
        }
        let text = value.get_ref().as_str();
        if let Some(percent) = text.and_then(|text| text.strip_suffix('%')).and_then(parse) {
            return Found::given(Some(MaxUnavailable::Percent(percent)), value.span());
        }
        let meant = text.map(|text| text.trim().trim_end_matches('%').trim()).and_then(parse);
        let want = Want {
            what: "a whole number from 1, or a part from \"1%\" to \"100%\" in quotes",
            example: format!("\"{}%\"", meant.unwrap_or(25)),
        };
        self.mistyped(key, value, &want, None)
    }
}

fn written(most: &MaxUnavailable) -> Value {
    match *most {
        MaxUnavailable::Count(count) => Value::from(i64::try_from(count).unwrap_or(i64::MAX)),
        MaxUnavailable::Percent(percent) => Value::from(format!("{percent}%")),
    }
}

fn parse(text: &str) -> Option<u8> {
    text.parse().ok().filter(|percent| (1..=100).contains(percent))
}
