//! What agents get of the runner's own, and what they are kept from: keys of `[runner]` that a
//! template may override.

use super::mistakes::Mistake;
use super::section::Section;
use crate::plan::Confinement;

/// As the section says, and where it says nothing, as `default`.
pub(super) fn read(section: &Section<'_>, default: &Confinement) -> Confinement {
    Confinement { env_inherit: env_inherit(section).unwrap_or_else(|| default.env_inherit.clone()) }
}

fn env_inherit(section: &Section<'_>) -> Option<Vec<String>> {
    let patterns = section.words("env_inherit", &["PATH", "LC_*"]);
    patterns.span()?;
    for (pattern, span) in &patterns.value {
        let wrong = match pattern.strip_suffix('*').unwrap_or(pattern) {
            "" if pattern.is_empty() => "is empty",
            name if name.contains('=') => "holds a `=`",
            name if name.contains('*') => "has a `*` before its end",
            _ => continue,
        };
        let title = format!("a name in `{}` {wrong}", section.name("env_inherit"));
        section.sink.note(
            Mistake::at(span, title)
                .label("no name of a variable")
                .help("write a name, or the beginning of names and a `*`, such as `\"LC_*\"`"),
        );
    }
    Some(patterns.value.into_iter().map(|(pattern, _)| pattern).collect())
}
