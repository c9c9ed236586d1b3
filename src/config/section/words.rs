//! Reading a list of strings in whose place one certain word may stand.

use super::{Found, Section, Word};
use crate::config::mistakes::{Mistake, Span};

/// What was found.
pub(in crate::config) enum WordOr {
    /// The word, here.
    Word(Span),
    /// A list of strings, or nothing.
    List(Found<Vec<Word>>),
}

impl Section<'_> {
    /// The string `word`, or a list of strings.
    pub(in crate::config) fn word_or_words(
        &self,
        key: &'static str,
        word: &str,
        default: &[&str],
    ) -> WordOr {
        let found = self.entry(key).and_then(|value| Some((value, value.get_ref().as_str()?)));
        match found {
            None => {
                let owned: Vec<_> = default.iter().map(|word| (*word).to_owned()).collect();
                WordOr::List(self.words(key, Some(&owned), default))
            }
            Some((value, text)) if text == word => WordOr::Word(value.span()),
            Some((value, text)) => {
                let title = format!(
                    "`{}` must be {word:?} or a list of strings, not {text:?}",
                    self.name(key)
                );
                let list: Vec<_> = text.split_whitespace().collect();
                let list = if list.is_empty() { default } else { &list };
                let help = format!("write `{key} = {word:?}`, or `{key} = {list:?}`");
                self.sink.note(Mistake::at(&value.span(), title).label("neither").help(help));
                WordOr::List(Found::wrong(Vec::new()))
            }
        }
    }
}
