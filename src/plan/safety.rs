//! What no plan may ever do, for those who make up situations at random.

use std::collections::BTreeSet;

use super::fixture::Scene;
use super::membership::Member;
use super::{Action, Agent, Observed, Pending, Phase, Plan, StopReason, Verb};

/// Says what is unsafe about a plan for this scene.
pub(crate) fn check(scene: &Scene, plan: &Plan) -> Result<(), String> {
    check_pace(scene, plan)?;
    let mut ids = BTreeSet::new();
    let mut runs = BTreeSet::new();
    let mut starts_began = false;
    let live = scene.observed.live();
    for Action { id, verb } in &plan.actions {
        ensure(ids.insert(id), || format!("two actions for {id}"))?;
        let agent = scene.observed.agents.get(id);
        let member = scene.membership.as_ref().and_then(|membership| membership.get(id));
        match verb {
            Verb::Start(start) => {
                let is_new = start.run.0 >= scene.observed.next_run && runs.insert(start.run);
                ensure(is_new, || format!("run {} again", start.run))?;
                starts_began = true;
                ensure(!live.contains(id), || format!("{id} started beside itself"))?;
                let is_there = member.is_some_and(Member::present);
                ensure(is_there, || format!("{id} started unseen"))?;
            }
            Verb::Stop { run, why, .. } | Verb::Kill { run, why } => {
                ensure(!starts_began, || format!("removal of {id} after a start"))?;
                let is_its = agent.and_then(Agent::run) == Some(*run);
                ensure(is_its, || format!("{id} has no run {run}"))?;
                let is_new = agent.is_some_and(|it| !matches!(it.phase, Phase::Stopping(_)));
                let by_world =
                    matches!(why, StopReason::EntityGone | StopReason::NewIncarnation { .. });
                let knows = scene.membership.is_some();
                ensure(knows || !by_world || !is_new, || format!("{id} removed on unknown"))?;
                let is_gone = *why != StopReason::EntityGone || !is_new || member.is_none();
                ensure(is_gone, || format!("{id} removed though it is there"))?;
            }
            Verb::Forget { .. } => {
                ensure(!live.contains(id), || format!("{id} forgotten alive"))?;
            }
            Verb::BackOff { .. }
            | Verb::AwaitWorld { .. }
            | Verb::Complete { .. }
            | Verb::Fail { .. } => {
                let has_ended = agent.is_some_and(|it| matches!(it.phase, Phase::Exited(_)));
                ensure(has_ended, || format!("{} of {id}, which has not ended", verb.name()))?;
            }
        }
    }
    Ok(())
}

/// No more agents, and no faster, than the rules say; and nobody waits for a turn that never comes.
fn check_pace(scene: &Scene, plan: &Plan) -> Result<(), String> {
    let Scene { rules, observed, .. } = scene;
    let starts = plan.actions.iter().filter(|it| matches!(it.verb, Verb::Start(_))).count();
    let live = observed.live().len();
    ensure(starts == 0 || live + starts <= rules.max_agents, || {
        format!("{starts} started above max_agents beside {live}")
    })?;
    let starting = count_starting(observed);
    let spawn = rules.spawn;
    ensure(starts == 0 || starting + starts <= spawn.max_parallel, || format!("{starts} at once"))?;
    ensure(starts <= spawn.per_second as usize, || format!("{starts} within a second"))?;
    let waits = plan.pending.values().any(|why| matches!(why, Pending::Turn(_)));
    ensure(!waits || starting + starts > 0 || plan.wake_at.is_some(), || "nobody's turn".to_owned())
}

/// Whose pod is there is its cluster's to start.
fn count_starting(observed: &Observed) -> usize {
    let starts = |agent: &&Agent| agent.starting_since().is_some() && agent.waits.is_none();
    observed.agents.values().filter(starts).count()
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
