//! Who is meant by a selector.

pub(super) use crate::glob::matches;
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
}
