//! Who is meant by a selector.

use std::collections::BTreeSet;

use tonic::Status;

use super::status::{View, has_none};
use crate::events::Record;
pub(super) use crate::glob::matches;
use crate::plan::EntityId;
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

/// Refuses a selector that would keep others waiting.
pub(super) fn bounded(selector: Option<&pb::Selector>) -> Result<(), Status> {
    too_much(selector).map_or(Ok(()), |why| Err(Status::invalid_argument(why)))
}

pub(super) fn id(name: &str) -> Result<EntityId, Status> {
    EntityId::new(name).map_err(|why| Status::invalid_argument(format!("{name:?}: {why}")))
}

/// Who is meant by an order: those that are named, known or not, and those that fit.
pub(super) fn meant(
    view: &View<'_>,
    selector: &pb::Selector,
) -> Result<BTreeSet<EntityId>, Status> {
    let all = view.entities();
    let fits = |entity: &pb::Entity| {
        let about = (entity.name.as_str(), &*entity.template, &*entity.r#type, &*entity.phase);
        selects(Some(selector), about)
    };
    let mut ids = BTreeSet::new();
    for entity in all.iter().filter(|entity| fits(entity)) {
        ids.insert(id(&entity.name)?);
    }
    let suspended = view.look.orders.suspended.iter();
    let away = suspended.filter(|id| selects(Some(selector), (id.as_str(), "", "", "")));
    ids.extend(away.cloned());
    for name in selector.names.iter().filter(|name| !is_pattern(name)) {
        ids.insert(id(name)?);
    }
    if ids.is_empty() {
        return Err(Status::not_found("nobody is selected"));
    }
    Ok(ids)
}

pub(super) fn select(asked: &pb::ListAgentsRequest, agent: &pb::Agent) -> bool {
    let about = (agent.name.as_str(), &*agent.template, &*agent.r#type, &*agent.phase);
    (asked.pending || !has_none(agent)) && selects(asked.selector.as_ref(), about)
}

/// Whether an event is about somebody who is selected. Of an event the name is known only.
pub(super) fn concerns(selector: Option<&pb::Selector>, since_ms: i64, record: &Record) -> bool {
    let names = selector.map_or(&[][..], |selector| &selector.names);
    record.at_ms > since_ms
        && (names.is_empty() || names.iter().any(|pattern| matches(pattern, &record.entity)))
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
