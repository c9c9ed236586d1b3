//! Who is meant by a selector.

use crate::proto::control as pb;

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

/// Whether a name fits a pattern, in which `*` stands for any characters and `?` for one.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where to go on after the last `*`, if it stood for one character more.
    let mut again: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                again = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || name.get(n) == Some(&c) => {
                p += 1;
                n += 1;
            }
            Some(_) | None => match again {
                Some((star, from)) => {
                    again = Some((star, from + 1));
                    p = star + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|c| *c == '*')
}

/// Whether it stands for more than itself.
pub(super) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "a", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abcbc", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxyyc", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("", "a", false),
            ("*é?", "xéy", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

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
}
