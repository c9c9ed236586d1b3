//! Whether each `match` can ever be the one that is chosen.

use super::mistakes::{Mistake, Sink, Span};
use super::section::Found;
use crate::plan::Matcher;

/// A template's `match`, and where it stands.
pub(super) struct Rule {
    /// The template's full name, as in `agents.alice`.
    pub(super) name: String,
    pub(super) matcher: Matcher,
    pub(super) span: Span,
}

/// Notes every match that nothing can reach. The rules are in file order.
pub(super) fn check(rules: &[Rule], auto_discover: &Found<bool>, sink: &Sink) {
    for (index, rule) in rules.iter().enumerate() {
        if !auto_discover.value && !auto_discover.is_wrong() {
            let title = format!("nothing can reach the match of `{}`", rule.name);
            sink.note(
                Mistake::at(&rule.span, title)
                    .label("only entities named in `[agents]` get agents")
                    .related(auto_discover.span(), "because of this")
                    .help("leave out the `match`, or write `auto_discover = true`"),
            );
            continue;
        }
        let (earlier, _) = rules.split_at(index);
        if let Some(shadows) = shadowed(&rule.matcher, earlier) {
            let names: Vec<String> =
                shadows.iter().map(|rule| format!("`{}`", rule.name)).collect();
            let names = names.join(" and ");
            let title = format!(
                "nothing can reach the match of `{}`: {names} above takes all of it",
                rule.name
            );
            let first = shadows.first().map(|rule| &rule.span);
            sink.note(
                Mistake::at(&rule.span, title)
                    .label("never chosen")
                    .related(first, "the first match that fits is chosen")
                    .help(format!("put `[{}]` above, or narrow {names}", rule.name)),
            );
        }
    }
}

/// The earlier rules that together take every entity that `matcher` would. An entity with just
/// the needed tags is the hardest to take, so only such ones need to be tried: one of each type,
/// or one of a type that nobody names.
fn shadowed<'r>(matcher: &Matcher, earlier: &'r [Rule]) -> Option<Vec<&'r Rule>> {
    let takes = |rule: &Rule, kind: Option<&String>| {
        let types = &rule.matcher.types;
        (types.is_empty() || kind.is_some_and(|kind| types.contains(kind)))
            && rule.matcher.tags.is_subset(&matcher.tags)
    };
    let first_taker = |kind: Option<&String>| earlier.iter().find(|rule| takes(rule, kind));
    let mut shadows: Vec<&Rule> = if matcher.types.is_empty() {
        vec![first_taker(None)?]
    } else {
        matcher.types.iter().map(|kind| first_taker(Some(kind))).collect::<Option<_>>()?
    };
    shadows.sort_by_key(|rule| rule.span.start);
    shadows.dedup_by_key(|rule| rule.span.start);
    Some(shadows)
}
