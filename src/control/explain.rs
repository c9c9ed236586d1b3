//! How it came to what is: one line a step, from what happened and what is now.

use crate::events::Record;
use crate::plan::EntityId;
use crate::proto::control as pb;

use super::names::{arrival, phase};
use super::status::View;

/// How many of the latest events are told.
pub(super) const MOST: usize = 24;

/// The steps, the oldest first and what is now last.
pub(super) fn explain(view: &View<'_>, id: &EntityId, events: &[Record]) -> Vec<pb::Step> {
    let mut steps: Vec<_> = events
        .iter()
        .filter(|event| event.kind != "agent.forgotten")
        .map(|event| pb::Step { at_ms: event.at_ms, text: line(event) })
        .collect();
    let look = view.look;
    let now = |text: String| pb::Step { at_ms: 0, text };
    let member = look.membership.as_ref().and_then(|membership| membership.get(id));
    if let Some(member) = member {
        let missing = if member.present() { "" } else { ", and its latest answer lacks it" };
        let text = format!("the entity is in the world: it {}{missing}", arrival(member.arrival));
        steps.push(now(text));
    } else if view.missing(id).is_some() {
        let text = "the entity was in the world before the runner started, and its answers lack it";
        steps.push(now(text.to_owned()));
    }
    if let Some(want) = view.want(id) {
        let text = format!("template {} serves it ({})", want.template.name, want.chosen_by);
        steps.push(now(text));
    }
    if !look.observed.contact.reachable && look.membership.is_some() {
        let server = &look.settings.site.server;
        let since = look.observed.contact.disrupted;
        let since = since.map(|time| format!(" since {}", clock(view.at(time))));
        let text = format!(
            "the world at {server} does not answer{}: nobody is stopped for that, and no attempt spent",
            since.unwrap_or_default()
        );
        steps.push(now(text));
    }
    if let Some(held) = view.held().filter(|_| view.missing(id).is_some()) {
        steps.push(now(held));
    }
    let waits = look.observed.agents.get(id).and_then(|agent| view.waits(id, agent));
    steps.extend(waits.map(|(_, text)| now(text)));
    steps.push(now(match look.observed.agents.get(id) {
        None => format!("it has no agent: {}", view.why_none(id)),
        Some(agent) => {
            let told = view.agent(id, agent);
            let reason =
                if told.reason.is_empty() { String::new() } else { format!(": {}", told.reason) };
            let next = match (told.next.as_str(), told.next_at_ms) {
                ("", _) => String::new(),
                (next, at) => format!("; {next} at {}", clock(at)),
            };
            let lease = match told.lease.as_str() {
                "held" => ", its entity's lease is held",
                _ => "",
            };
            format!("its agent is {}{reason}{lease}{next}", phase(&agent.phase))
        }
    }));
    steps
}

/// What happened, in a line.
fn line(event: &Record) -> String {
    let field = |name: &str| event.fields.get(name).map_or("", String::as_str);
    let because =
        if event.reason.is_empty() { String::new() } else { format!(": {}", event.reason) };
    match event.kind.as_str() {
        "entity.seen" => format!("entity seen ({})", field("arrival")),
        "agent.started" if !field("pod").is_empty() => {
            format!("started as pod {} on node {}", field("pod"), field("node"))
        }
        "agent.started" => format!("started as process {}", field("pid")),
        "agent.placing" => format!("accepted by the cluster{because}"),
        "agent.waits" => format!("waits for the cluster{because}"),
        "agent.starting" => {
            let (template, chosen_by) = (field("template"), field("chosen_by"));
            format!("starting{because} (template {template}, {chosen_by})")
        }
        "agent.exited" => format!("ended by itself: {}", field("exit")),
        "agent.gone" => format!("stopped ({}){because}", field("exit")),
        "agent.backoff" => {
            let (attempt, of) = (field("attempt"), field("of"));
            format!(
                "to be restarted in {} ms, attempt {attempt} of {of}{because}",
                field("delay_ms")
            )
        }
        _ => format!("{}{because}", event.message),
    }
}

/// The time of day, for people: UTC where there is no other word for it.
fn clock(at_ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(at_ms)
        .map_or_else(String::new, |time| time.format("%H:%M:%S%.3fZ").to_string())
}
