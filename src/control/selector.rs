//! Who is meant by a selector.

pub(super) use crate::glob::matches;
use crate::proto::control as pb;

/// The most words that a selector may have, and bytes in all of its patterns: each is held against
/// everybody, while others wait for an answer.
const MOST_WORDS: usize = 20_000;
const MOST_PATTERN_BYTES: usize = 64 << 10;

/// Says what is wrong with a selector that would keep others waiting.
pub(super) fn too_much(selector: Option<&pb::Selector>) -> Option<String> {
    let pb::Selector { names, templates, types, phases } = selector?;
    let words = || [names, templates, types, phases].into_iter().flatten();
    let patterns: usize = words().filter(|word| is_pattern(word)).map(String::len).sum();
    if words().count() > MOST_WORDS {
        Some(format!("a selector has at most {MOST_WORDS} words: select by `*` or by template"))
    } else if patterns > MOST_PATTERN_BYTES {
        Some(format!("the patterns of a selector have at most {MOST_PATTERN_BYTES} bytes"))
    } else {
        None
    }
}

/// Whether somebody is selected who is called so, and is of this template, type and phase.
pub(crate) fn selects(
    selector: Option<&pb::Selector>,
    (name, template, kind, phase): (&str, &str, &str, &str),
) -> bool {
    let Some(pb::Selector { names, templates, types, phases }) = selector else { return true };
    let any = |all: &[String], fits: &dyn Fn(&str) -> bool| {
        all.is_empty() || all.iter().any(|one| fits(one))
    };
    any(names, &|pattern| matches(pattern, name))
        && any(templates, &|pattern| matches(pattern, template))
        && any(types, &|pattern| matches(pattern, kind))
        && any(phases, &|wanted| wanted.eq_ignore_ascii_case(phase))
}

/// Whether it stands for more than itself.
pub(super) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_conditions_have_to_hold() {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let selector = pb::Selector {
            names: list(&["a*", "b"]),
            templates: Vec::new(),
            types: list(&["wolf"]),
            phases: list(&["running"]),
        };
        let selects = |name, kind, phase| selects(Some(&selector), (name, "t", kind, phase));
        assert!(selects("a1", "wolf", "Running"));
        assert!(selects("b", "wolf", "Running"));
        assert!(!selects("c", "wolf", "Running"));
        assert!(!selects("b", "sheep", "Running"));
        assert!(!selects("b", "wolf", "Failed"));
    }

    #[test]
    fn what_would_keep_others_waiting_is_refused() {
        let of = |names| pb::Selector { names, ..pb::Selector::default() };
        assert_eq!(too_much(None), None);
        assert_eq!(too_much(Some(&of(vec!["a".to_owned(); MOST_WORDS]))), None);
        let many = too_much(Some(&of(vec!["a".to_owned(); MOST_WORDS + 1])));
        assert!(many.unwrap().contains("at most 20000 words"));
        assert_eq!(too_much(Some(&of(vec!["a".repeat(MOST_PATTERN_BYTES + 1)]))), None);
        let long = too_much(Some(&of(vec!["a*".repeat(MOST_PATTERN_BYTES)])));
        assert!(long.unwrap().contains("at most 65536 bytes"));
    }
}
