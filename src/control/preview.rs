//! What another configuration would change, from what the loop knows now.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::plan::{
    Answer, Desired, Heard, MaxUnavailable, Membership, Plan, Progress, Rollout, Rules, Site,
    Spawn, StopReason, Verb, plan, progress,
};
use crate::proto::control as pb;
use crate::reconcile::Look;

/// What a configuration comes to, as far as a plan depends on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Delays, limits and templates.
    pub rules: Rules,
    /// Its world; none: one inside the runner.
    pub server: Option<String>,
}

/// What would change if this were in force: all of it, not how soon.
pub(super) fn preview(look: &Look, draft: Option<Draft>) -> pb::PlanResponse {
    let draft = draft.unwrap_or_else(|| Draft {
        rules: Rules::clone(&look.settings.rules),
        server: Some(look.settings.site.server.clone()),
    });
    let mut notes = Vec::new();
    let server = draft.server.unwrap_or_else(|| look.settings.site.server.clone());
    let is_other_world = server != look.settings.site.server;
    let world = if is_other_world { server.clone() } else { String::new() };
    if is_other_world {
        notes.push("nobody is started or stopped before another world has answered".to_owned());
    }
    let site = Site { server, ..look.settings.site.clone() };
    let are_ready = progress(&look.desired, &look.observed, look.now);
    let are_ready = |name: &str| are_ready.get(name).is_some_and(Progress::is_complete);
    let mut orders = look.orders.clone();
    let rollouts = Arc::make_mut(&mut orders.rollouts);
    rollouts.update(&draft.rules, are_ready, look.now);
    let rules = Arc::new(at_once(&draft.rules));
    let membership = (!is_other_world).then(|| membership(look, &rules)).flatten();
    let desired = Desired::new(look.intent, &rules, &site, membership.as_ref(), &orders);
    let mut observed = look.observed.clone();
    // They would be made ready before anything is started in them.
    observed.synced.extend(rules.projects());
    let plan = plan(&desired, &observed, look.now);
    let counts = progress(&desired, &observed, look.now);
    notes.extend(batches(&draft.rules, &counts, &plan, &desired));
    pb::PlanResponse { notes, world, ..response(&plan) }
}

/// The same rules, where nobody waits for a turn.
fn at_once(rules: &Rules) -> Rules {
    let mut rules = Rules { spawn: Spawn::UNBOUNDED, ..rules.clone() };
    for template in &mut rules.templates {
        Arc::make_mut(template).rollout.max_unavailable = Some(MaxUnavailable::Percent(100));
    }
    rules
}

/// Who would be in the world by these rules, as it answered last.
fn membership(look: &Look, rules: &Rules) -> Option<Membership> {
    let mut membership = look.membership.clone()?;
    if rules.jit.enabled && !look.settings.rules.jit.enabled {
        let entities = Arc::clone(look.entities.as_ref()?);
        let heard = Heard::Asked(look.observed.contact.asked.unwrap_or(look.now));
        let answer = Answer { heard, at: look.now, entities, refused: Arc::default() };
        membership.observe(&answer, rules, &look.observed.live());
    }
    Some(membership)
}

/// Which changes would go batch by batch, or wait.
fn batches(
    rules: &Rules,
    counts: &BTreeMap<String, Progress>,
    plan: &Plan,
    desired: &Desired,
) -> Vec<String> {
    let is_change = |verb: &Verb| matches!(verb, Verb::Stop { why: StopReason::Changed(_), .. });
    let changed: Vec<_> =
        plan.actions.iter().filter(|action| is_change(&action.verb)).map(|it| &it.id).collect();
    let mut notes = Vec::new();
    for template in &rules.templates {
        let name = &template.name;
        let Some(progress) = counts.get(name) else { continue };
        let most = template.rollout.most_unavailable(progress.agents);
        let behind = changed.iter().filter(|id| desired.serves(id, name)).count();
        if behind > most {
            notes.push(format!("{name}: {behind} agents are changed, {most} at a time"));
        }
        let paused = desired.rollouts.get(name).and_then(Rollout::paused);
        if let Some(pause) = paused.filter(|_| progress.behind() > 0) {
            let behind = progress.behind();
            notes.push(format!("{name}: {behind} agents keep their version, as {pause}"));
        }
    }
    notes
}

/// A plan, as it is told.
#[must_use]
pub fn response(plan: &Plan) -> pb::PlanResponse {
    let planned = |verb: &str, name: &dyn ToString, reason: &dyn ToString| pb::Planned {
        verb: verb.to_owned(),
        name: name.to_string(),
        reason: reason.to_string(),
    };
    pb::PlanResponse {
        actions: plan
            .actions
            .iter()
            .map(|action| planned(action.verb.name(), &action.id, &action.verb))
            .collect(),
        pending: plan.pending.iter().map(|(id, why)| planned("pending", id, why)).collect(),
        unchanged: u32::try_from(plan.unchanged).unwrap_or(u32::MAX),
        ..pb::PlanResponse::default()
    }
}
