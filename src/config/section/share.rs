//! Reading a number of things, or a part of them.

use toml::de::DeValue;

use super::{Found, Section, Want};

/// So many, or so many of a hundred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Share {
    /// At least 1.
    Count(usize),
    /// From 1 to 100.
    Percent(u8),
}

impl Section<'_> {
    /// A number of things, at least 1, or a part of them in quotes, such as `"25%"`; none if it is
    /// not there.
    pub(in crate::config) fn share(&self, key: &'static str) -> Found<Option<Share>> {
        let Some((_, value)) = self.entry(key) else {
            return Found::default(None);
        };
        if let DeValue::Integer(_) = value.get_ref() {
            let count = self.whole_of(key, 1..=i64::from(u32::MAX), 1, "a whole number");
            return count.map(|count| usize::try_from(count).ok().map(Share::Count));
        }
        let text = value.get_ref().as_str();
        if let Some(percent) = text.and_then(|text| text.strip_suffix('%')).and_then(parse) {
            return Found::given(Some(Share::Percent(percent)), value.span());
        }
        let meant = text.map(|text| text.trim().trim_end_matches('%').trim()).and_then(parse);
        let want = Want {
            what: "a whole number from 1, or a part from \"1%\" to \"100%\" in quotes",
            example: format!("\"{}%\"", meant.unwrap_or(25)),
        };
        self.mistyped(key, value, &want, None)
    }
}

fn parse(text: &str) -> Option<u8> {
    text.parse().ok().filter(|percent| (1..=100).contains(percent))
}
