//! Reading one of a few words.

use toml::Value;

use super::{Fallback, Found, Section, described};
use crate::config::mistakes::Mistake;
use crate::config::near::nearest;

impl Section<'_> {
    /// One of a few words, each with what it means.
    pub(in crate::config) fn choice<T: Copy + PartialEq>(
        &self,
        key: &'static str,
        choices: &[(&str, T)],
        or: impl Into<Fallback<T>>,
    ) -> Found<T> {
        let or = or.into();
        let words = || choices.iter().map(|(word, _)| *word);
        let Some(value) = self.entry(key) else {
            let word = |meant: &T| choices.iter().find(|(_, meaning)| meaning == meant);
            return self
                .absent(key, or, |meant| Value::from(word(meant).map_or("", |(word, _)| word)));
        };
        let text = value.get_ref().as_str();
        if let Some((_, meaning)) = choices.iter().find(|(word, _)| Some(*word) == text) {
            return Found::given(*meaning, value.span());
        }
        let listed: Vec<String> = words().map(|choice| format!("{choice:?}")).collect();
        let listed = listed.join(", ");
        let found =
            text.map_or_else(|| described(value.get_ref()).into(), |text| format!("{text:?}"));
        let near = text.and_then(|text| nearest(text, words()));
        let title = format!("`{}` must be one of {listed}, not {found}", self.name(key));
        let example = near.or_else(|| words().next()).unwrap_or_default();
        let help = format!("write `{key} = {example:?}`");
        self.sink.note(Mistake::at(&value.span(), title).label("not one of them").help(help));
        Found::wrong(or.example)
    }
}
