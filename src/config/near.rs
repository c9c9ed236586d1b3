//! Which known word somebody meant.

/// Words longer than this are nobody's misspelling, and comparing them costs the square of it.
const LONGEST: usize = 64;

/// The [`likeness`] from which on one word is taken for a misspelling of the other.
pub(super) const ALIKE: f64 = 0.6;

/// The known word that `word` is most likely a misspelling of, if it is like any.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let plain = simplified(word);
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (likeness(&plain, &simplified(candidate)), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// How alike two words are, from 0 to 1.
pub(super) fn likeness(one: &str, other: &str) -> f64 {
    // A word cut short is as far from the whole one as from a wrong one, but begins like it.
    let begins_alike = if strsim::jaro_winkler(one, other) > 0.9 { ALIKE } else { 0.0 };
    strsim::normalized_damerau_levenshtein(one, other).max(begins_alike)
}

/// Case and the choice between dash and underscore are the commonest slips.
fn simplified(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}
