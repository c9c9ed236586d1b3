//! What is, at the time of a scrape: from what the loop knows.

use std::collections::BTreeMap;

use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts, Registry, Result};

use crate::control::{PHASES, View, phase};
use crate::plan::{Membership, Pending, Progress, Wants, progress};
use crate::reconcile::Look;

/// All gauges of one look, which are made for it and kept for nobody.
pub(super) fn families(look: &Look) -> Result<Vec<MetricFamily>> {
    let registry = Registry::new_custom(Some("runner".to_owned()), None)?;
    agents(&registry, look)?;
    let one = |name, help, value| each(&registry, (name, help), [], [([], value)]);
    let version = env!("CARGO_PKG_VERSION");
    each(
        &registry,
        ("build_info", "Which runner this is: always 1."),
        ["version"],
        [([version], 1.0)],
    )?;
    let suspended = look.orders.suspended.len();
    one(
        "suspended_entities",
        "Entities that get no agent until they are resumed.",
        count(suspended),
    )?;
    let most = look.settings.rules.max_agents;
    one("agents_max", "The most agents that there may be: max_agents.", count(most))?;
    let entities = look.entities.as_ref().map_or(0, |entities| entities.len());
    one("entities", "Entities in the world's latest answer.", count(entities))?;
    let contact = look.observed.contact;
    let up = f64::from(contact.reachable);
    one("world_up", "Whether the latest question to the world was answered.", up)?;
    if let Some(asked) = contact.asked {
        let help = "When the latest question was asked that the world answered.";
        one("world_last_answer_timestamp_seconds", help, seconds(View::of(look).at(asked)))?;
    }
    let is_held = look.membership.as_ref().and_then(Membership::hold).is_some();
    let help = "Whether an answer of the world that would remove too many is held.";
    one("removal_held", help, f64::from(is_held))?;
    let generation = u32::try_from(look.settings.generation).unwrap_or(u32::MAX);
    let help = "The configuration in force, counted from 1 at the start of the runner.";
    one("config_generation", help, f64::from(generation))?;
    Ok(registry.gather())
}

fn agents(registry: &Registry, look: &Look) -> Result<()> {
    let view = View::of(look);
    let mut templates: BTreeMap<&str, Counts> = BTreeMap::new();
    for template in &look.settings.rules.templates {
        templates.entry(&template.name).or_default();
    }
    for agent in look.observed.agents.values() {
        let counts = templates.entry(&agent.template).or_default();
        *counts.phases.entry(phase(&agent.phase)).or_default() += 1;
        counts.ready += usize::from(view.is_ready(agent));
    }
    if let Wants::Known { agents, .. } = &look.desired.wants {
        for (id, want) in agents {
            let is_elsewhere = look.pending.get(id) == Some(&Pending::LeasedElsewhere);
            let counts = templates.entry(&want.template.name).or_default();
            counts.desired += usize::from(!want.suspended && !is_elsewhere);
        }
    }
    let phases = templates.iter().flat_map(|(template, counts)| {
        let of = |phase| count(counts.phases.get(phase).copied().unwrap_or(0));
        PHASES.map(|phase| ([*template, phase], of(phase)))
    });
    each(registry, ("agents", "Agents, by phase."), ["template", "phase"], phases)?;
    let ready = templates.iter().map(|(template, counts)| ([*template], count(counts.ready)));
    let help = "Agents that run and, with health.lease, whose entity has its lease.";
    each(registry, ("agents_ready", help), ["template"], ready)?;
    let desired = templates.iter().map(|(template, counts)| ([*template], count(counts.desired)));
    let help =
        "Entities that should have an agent: not those that are suspended or served elsewhere.";
    each(registry, ("agents_desired", help), ["template"], desired)?;
    let rollouts = progress(&look.desired, &look.observed, look.now);
    let outdated = templates
        .keys()
        .map(|template| ([*template], count(rollouts.get(*template).map_or(0, Progress::behind))));
    let help = "Agents that are not yet as the configuration has them.";
    each(registry, ("agents_outdated", help), ["template"], outdated)?;
    let paused = templates.keys().map(|template| {
        let rollout = look.desired.rollouts.get(template);
        ([*template], f64::from(rollout.is_some_and(|rollout| rollout.paused().is_some())))
    });
    let help = "Whether a change is not brought to further agents, as it failed or was paused.";
    each(registry, ("rollout_paused", help), ["template"], paused)?;
    let pending = Pending::WORDS.map(|word| {
        let those = look.pending.values().filter(|why| why.word() == word);
        ([word], count(those.count()))
    });
    let help = "Entities that have no agent for now, by why.";
    each(registry, ("agents_pending", help), ["reason"], pending)
}

/// Agents of one template.
#[derive(Default)]
struct Counts {
    phases: BTreeMap<&'static str, usize>,
    ready: usize,
    desired: usize,
}

/// Adds a family with these values.
pub(super) fn each<'v, const N: usize>(
    registry: &Registry,
    (name, help): (&str, &str),
    labels: [&str; N],
    values: impl IntoIterator<Item = ([&'v str; N], f64)>,
) -> Result<()> {
    let gauges = GaugeVec::new(Opts::new(name, help), &labels)?;
    for (labels, value) in values {
        gauges.get_metric_with_label_values(&labels)?.set(value);
    }
    registry.register(Box::new(gauges))
}

/// Exact up to 2⁵³.
#[expect(clippy::cast_precision_loss, reason = "there are never as many")]
pub(super) const fn count(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "exact for 280,000 years")]
const fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
