//! The decision: from what should be and what is to what is to be done.

mod admit;
mod again;
mod roll;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use itertools::{EitherOrBoth, Itertools as _};

use super::action::{Action, Plan, Verb};
use super::desired::{Desired, Intent, Want, Wants};
use super::entity::EntityId;
use super::observed::{Agent, Lease, Observed, Phase, Stopping};
use super::reason::{Change, ForgetReason, Pending, StartReason, StopReason};
use super::run::RunId;
use super::template::{AgentSpec, RestartPolicy};
use super::time::Time;

/// What is to be done now, and when to look again.
///
/// Looks at each entity once. Whatever is not known, of the world or of a process, leaves things
/// as they are; and as long as any process of an agent may live, nothing is started in its place.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, now: Time) -> Plan {
    let mut draft = Draft::new(desired, observed, now);
    let none = (&BTreeMap::new(), &BTreeSet::new());
    let (wants, unserved) = match &desired.wants {
        Wants::Unknown => none,
        Wants::Known { agents, unserved, .. } => (agents, unserved),
    };
    // Side by side, as both are in order: to look each up costs more than all else.
    for both in observed.agents.iter().merge_join_by(wants, |(one, _), (other, _)| one.cmp(other)) {
        match both {
            EitherOrBoth::Both((id, agent), (_, want)) => draft.look_at(id, agent, Some(want)),
            EitherOrBoth::Left((id, agent)) => draft.look_at(id, agent, None),
            EitherOrBoth::Right((id, want)) => draft.newcomer(id, want),
        }
    }
    draft.plan.hangs_on_answer |= desired.rules.lease_health.is_some();
    draft.roll();
    draft.unserved(unserved);
    draft.admit();
    draft.finish()
}

/// The same for some agents only, where a plan for all of them had nothing left to do for the
/// others and nobody waited for room or for a turn: an exit costs what one agent costs.
#[must_use]
pub fn plan_for(
    agents: &BTreeSet<EntityId>,
    (desired, observed): (&Desired, &Observed),
    now: Time,
) -> Plan {
    let mut draft = Draft::new(desired, observed, now);
    for (id, agent) in &observed.agents {
        if agents.contains(id) {
            let want = match &desired.wants {
                Wants::Unknown => None,
                Wants::Known { agents, .. } => agents.get(id),
            };
            draft.look_at(id, agent, want);
        } else {
            draft.count(agent);
            draft.plan.unchanged += 1;
        }
    }
    draft.plan.hangs_on_answer |= desired.rules.lease_health.is_some();
    draft.roll();
    draft.admit();
    draft.finish()
}

struct Draft<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    now: Time,
    plan: Plan,
    /// Of the plan, in any order.
    pending: Vec<(EntityId, Pending)>,
    starts: Vec<(&'a EntityId, Candidate<'a>)>,
    behind: Vec<Behind<'a>>,
    count: Count,
}

/// How many agents there are of some kinds.
#[derive(Debug, Default)]
struct Count {
    live: usize,
    /// Those without a process whose place is kept.
    reserved: usize,
    starting: usize,
}

/// What one look at one agent comes to.
enum Step<'a> {
    Leave,
    Wake(Time),
    /// Leave it until the world answers, or until then.
    AwaitAnswer(Option<Time>),
    Do(Verb),
    Start(Candidate<'a>),
    Roll(Behind<'a>),
    Pend(Pending),
}

/// An agent that runs and is not what it should be.
struct Behind<'a> {
    id: &'a EntityId,
    agent: &'a Agent,
    want: &'a Want,
    run: RunId,
    why: StopReason,
}

/// An agent that is to be started if there is room.
struct Candidate<'a> {
    want: &'a Want,
    spec: &'a Arc<AgentSpec>,
    attempts: u32,
    why: StartReason,
    /// Whether it had a place already, which is kept for it.
    returning: bool,
    /// Since when it waits; without a time of its own, it goes before all that have one.
    due: Time,
}

/// What becomes of an agent, apart from what its own phase asks for.
enum Fate<'a> {
    /// The world has not said yet whether it is wanted.
    Unknown,
    Wanted(&'a Want),
    Unwanted(StopReason, ForgetReason),
}

impl<'a> Draft<'a> {
    fn new(desired: &'a Desired, observed: &'a Observed, now: Time) -> Self {
        Self {
            desired,
            observed,
            now,
            plan: Plan::default(),
            pending: Vec::new(),
            starts: Vec::new(),
            behind: Vec::new(),
            count: Count::default(),
        }
    }

    fn finish(mut self) -> Plan {
        self.plan.actions.sort_by_key(|action| action.verb.rank());
        self.plan.pending = self.pending.into_iter().collect();
        self.plan
    }

    fn count(&mut self, agent: &Agent) {
        self.count.live += usize::from(agent.is_live());
        self.count.reserved += usize::from(agent.keeps_place());
        // What its cluster has taken on is the cluster's to pace.
        let starting = matches!(agent.phase, Phase::Starting { .. }) && agent.waits.is_none();
        self.count.starting += usize::from(starting);
    }

    fn look_at(&mut self, id: &'a EntityId, agent: &'a Agent, want: Option<&'a Want>) {
        self.count(agent);
        match self.step(id, agent, want) {
            Step::Leave => self.plan.unchanged += 1,
            Step::Wake(at) => {
                self.plan.unchanged += 1;
                self.wake(at);
            }
            Step::AwaitAnswer(at) => {
                self.plan.unchanged += 1;
                self.plan.hangs_on_answer = true;
                if let Some(at) = at {
                    self.wake(at);
                }
            }
            Step::Do(verb) => self.plan.actions.push(Action { id: id.clone(), verb }),
            Step::Start(candidate) => self.starts.push((id, candidate)),
            Step::Roll(behind) => self.behind.push(behind),
            Step::Pend(why) => self.pending.push((id.clone(), why)),
        }
    }

    fn fate(&self, id: &EntityId, want: Option<&'a Want>) -> Fate<'a> {
        match self.desired.intent {
            Intent::Run => {}
            Intent::Leave => return Fate::Unknown,
            Intent::Stop | Intent::Kill => {
                return Fate::Unwanted(StopReason::Shutdown, ForgetReason::Shutdown);
            }
        }
        match &self.desired.wants {
            Wants::Unknown => Fate::Unknown,
            Wants::Known { unserved, awaited, .. } => match want {
                Some(want) if want.suspended => {
                    Fate::Unwanted(StopReason::Suspended, ForgetReason::Suspended)
                }
                Some(want) => Fate::Wanted(want),
                None if awaited.contains(id) => Fate::Unknown,
                None if unserved.contains(id) => {
                    Fate::Unwanted(StopReason::NoTemplate, ForgetReason::NoTemplate)
                }
                None => Fate::Unwanted(StopReason::EntityGone, ForgetReason::EntityGone),
            },
        }
    }

    fn step(&self, id: &'a EntityId, agent: &'a Agent, want: Option<&'a Want>) -> Step<'a> {
        let fate = self.fate(id, want);
        match &agent.phase {
            Phase::Starting { run, .. } => self.live((id, agent), *run, Lease::Unseen, &fate),
            Phase::Running { run, lease, .. } => self.live((id, agent), *run, *lease, &fate),
            Phase::Stopping(stopping) => self.escalate(agent, stopping, &fate),
            Phase::Stopped { .. }
            | Phase::Exited(_)
            | Phase::BackingOff { .. }
            | Phase::AwaitingWorld { .. }
            | Phase::Completed { .. }
            | Phase::Failed { .. } => match fate {
                Fate::Unknown => Step::Leave,
                Fate::Unwanted(_, why) => Step::Do(Verb::Forget { why }),
                Fate::Wanted(want) => self.ended(agent, want),
            },
        }
    }

    /// An agent that lives, or is about to.
    fn live(
        &self,
        (id, agent): (&'a EntityId, &'a Agent),
        run: RunId,
        lease: Lease,
        fate: &Fate<'a>,
    ) -> Step<'a> {
        let (why, grace) = match fate {
            Fate::Unknown => return Step::Leave,
            Fate::Unwanted(why, _) => (why.clone(), agent.grace),
            Fate::Wanted(want) => match self.misfit(agent, lease, want) {
                Some(why @ (StopReason::Changed(_) | StopReason::Asked)) => {
                    return Step::Roll(Behind { id, agent, want, run, why });
                }
                Some(why) => (why, want.template.grace),
                None => return Step::Leave,
            },
        };
        Step::Do(if self.desired.intent == Intent::Kill {
            Verb::Kill { run, why }
        } else {
            Verb::Stop { run, grace, why }
        })
    }

    /// Why a live agent cannot stay as it is, if it cannot.
    fn misfit(&self, agent: &Agent, lease: Lease, want: &Want) -> Option<StopReason> {
        if let Some((from, to)) = new_incarnation(agent, want) {
            return Some(StopReason::NewIncarnation { from, to });
        }
        if let Some(why) = self.change(agent, want) {
            // One that runs is better than one that cannot be started yet.
            return self.unsynced(want).is_none().then_some(why);
        }
        let health = self.desired.rules.lease_health?;
        let (lasted, answers) = lease.gone()?;
        let hung = self.observed.contact.reachable
            && want.template.restart != RestartPolicy::Never
            && answers >= 2
            && lasted >= health.grace;
        hung.then_some(StopReason::LeaseGone { lasted })
    }

    /// Why an agent is not what the user wants it to be, unless it is to stay so for now.
    fn change(&self, agent: &Agent, want: &Want) -> Option<StopReason> {
        let rollout = self.desired.rollouts.get(&want.template.name);
        let change = Change::between(&agent.spec, &want.spec);
        if let Some(change) = change.filter(|_| !self.keeps_version(want)) {
            return Some(StopReason::Changed(change));
        }
        let asked = want.restart_asked?;
        let is_held = rollout.is_some_and(|rollout| rollout.holds_restart(asked));
        (!is_held && agent.began_before(asked)).then_some(StopReason::Asked)
    }

    /// Whether agents are to stay what they are, whatever their template says by now.
    fn keeps_version(&self, want: &Want) -> bool {
        let rollout = self.desired.rollouts.get(&want.template.name);
        rollout.is_some_and(|rollout| rollout.paused().is_some())
    }

    /// The directory of the project that an agent has to wait for, if it has to.
    fn unsynced<'w>(&self, want: &'w Want) -> Option<&'w Path> {
        want.template.project().filter(|project| !self.observed.synced.contains(*project))
    }

    /// An agent whose processes are to end.
    fn escalate(&self, agent: &Agent, stopping: &Stopping, fate: &Fate<'_>) -> Step<'a> {
        let run = stopping.run;
        let why = stopping.why.clone();
        if stopping.killed {
            return Step::Leave;
        }
        if self.desired.intent == Intent::Kill {
            return Step::Do(Verb::Kill { run, why });
        }
        match stopping.deadline {
            Some(deadline) if self.now >= deadline => Step::Do(Verb::Kill { run, why }),
            Some(deadline) => Step::Wake(deadline),
            None => {
                let grace = match fate {
                    Fate::Wanted(want) => want.template.grace,
                    Fate::Unknown | Fate::Unwanted(..) => agent.grace,
                };
                Step::Do(Verb::Stop { run, grace, why })
            }
        }
    }

    /// An entity that never had an agent.
    fn newcomer(&mut self, id: &'a EntityId, want: &'a Want) {
        if self.desired.intent != Intent::Run {
            return;
        }
        if want.suspended {
            self.pending.push((id.clone(), Pending::Suspended));
        } else if !want.present {
            self.pending.push((id.clone(), Pending::Missing));
        } else if want.leased {
            self.pending.push((id.clone(), Pending::LeasedElsewhere));
        } else {
            let why = StartReason::NoAgent;
            let due = Time::default();
            let spec = &want.spec;
            let candidate = Candidate { want, spec, attempts: 0, why, returning: false, due };
            self.starts.push((id, candidate));
        }
    }

    /// Entities that no template serves.
    fn unserved(&mut self, unserved: &BTreeSet<EntityId>) {
        // Without auto_discover, an entity that nobody named is none of our business.
        if self.desired.intent != Intent::Run || !self.desired.rules.auto_discover {
            return;
        }
        let agents = &self.observed.agents;
        let unserved = unserved.iter().filter(|id| !agents.contains_key(*id));
        self.pending.extend(unserved.map(|id| (id.clone(), Pending::NoTemplate)));
    }

    fn wake(&mut self, at: Time) {
        let earliest = self.plan.wake_at.map_or(at, |earlier| earlier.min(at));
        self.plan.wake_at = Some(earliest);
    }
}

fn new_incarnation(agent: &Agent, want: &Want) -> Option<(i64, i64)> {
    (agent.incarnation != want.incarnation).then_some((agent.incarnation, want.incarnation))
}

impl Verb {
    /// Removals come before conclusions, and both before starts.
    fn rank(&self) -> u8 {
        match self {
            Self::Stop { .. } | Self::Kill { .. } | Self::Forget { .. } => 0,
            Self::BackOff { .. }
            | Self::AwaitWorld { .. }
            | Self::Complete { .. }
            | Self::Fail { .. } => 1,
            Self::Start(_) => 2,
        }
    }
}

#[cfg(test)]
mod tests;
