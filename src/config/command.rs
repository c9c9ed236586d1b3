//! Programs and placeholders.

use super::mistakes::{Mistake, Span};
use super::near::{ALIKE, likeness};
use super::section::{Section, Word};
use crate::plan::PLACEHOLDERS;

const RUNNER: &str = "{runner}";

/// Notes what is wrong with a template's `command`.
pub(super) fn check(section: &Section<'_>, argv: &[Word], span: &Span) {
    program(section, "command", argv, span, &["./agent", "--entity", "{entity_id}"]);
    for (index, (element, span)) in argv.iter().enumerate() {
        for word in braced(element) {
            if let Some(mistake) = misused(section, word, index == 0, span) {
                section.sink.note(mistake);
            }
        }
    }
}

/// Notes that there is no program at the head of an argv.
pub(super) fn program(
    section: &Section<'_>,
    key: &str,
    argv: &[Word],
    span: &Span,
    example: &[&str],
) {
    let (span, wrong) = match argv.first() {
        None => (span, "is empty"),
        Some((word, span)) if word.is_empty() => (span, "begins with an empty program"),
        Some(_) => return,
    };
    let title = format!("`{}` {wrong}", section.name(key));
    let mistake = Mistake::at(span, title).label("no program to run");
    section.sink.note(mistake.help(format!("write, for example, `{key} = {example:?}`")));
}

/// The parts of `text` that look like a placeholder: a word in braces. JSON does not.
fn braced(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('{').filter_map(|(start, _)| {
        let from = text.get(start..)?;
        let other = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let len = from.get(1..)?.find(other)?;
        let is_word = len > 0 && from.get(1 + len..)?.starts_with('}');
        is_word.then(|| from.get(..len + 2)).flatten()
    })
}

fn misused(section: &Section<'_>, word: &str, first: bool, span: &Span) -> Option<Mistake> {
    let command = section.name("command");
    if PLACEHOLDERS.contains(&word) {
        let title = format!("the program of `{command}` must not depend on the world: `{word}`");
        return (first && word != RUNNER).then(|| {
            Mistake::at(span, title)
                .label("only `{runner}` may stand here")
                .help("write the program's name, and placeholders in the elements after it")
        });
    }
    // Only a near miss is taken for a placeholder: anything else may be meant for the program.
    let plain = word.to_lowercase().replace('-', "_");
    let (near, how_near) = PLACEHOLDERS
        .iter()
        .map(|known| {
            (*known, likeness(plain.trim_matches(['{', '}']), known.trim_matches(['{', '}'])))
        })
        .max_by(|(_, one), (_, other)| one.total_cmp(other))?;
    (how_near >= ALIKE).then(|| {
        Mistake::at(span, format!("unknown placeholder `{word}` in `{command}`"))
            .label("not filled in")
            .help(format!("write `{near}`"))
    })
}
