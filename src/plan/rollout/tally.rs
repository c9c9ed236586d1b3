//! The agents of one template, counted: how far its rollout is, and whether the next one may change.

use std::collections::BTreeMap;

use super::super::desired::{Desired, Want, Wants};
use super::super::entity::EntityId;
use super::super::observed::{Agent, Ended, Lease, Observed, Outcome, Phase};
use super::super::run::Exit;
use super::super::template::LeaseHealth;
use super::super::time::Time;
use super::{Failure, Progress, Rollout, is_behind};

/// The agents of one template, as a rollout looks at them.
#[derive(Debug)]
pub(in super::super) struct Tally {
    pub(in super::super) progress: Progress,
    /// The first that failed since it was changed.
    pub(in super::super) failure: Option<Failure>,
    /// When the next one may be ready.
    pub(in super::super) ready_at: Option<Time>,
    /// Those of whom it is not known yet what becomes of them.
    moving: usize,
    /// Those of the unavailable who are not waited for.
    stuck: usize,
    health: Option<LeaseHealth>,
    /// Who is down since before that does not count.
    down_since: Time,
    /// Nor do failures of runs that began before that.
    failed_since: Time,
    /// Whether there is no room for anybody to be started again.
    is_full: bool,
    now: Time,
}

/// What one agent is to the rollout of its template.
enum Standing {
    /// It is as it should be, for long enough.
    Ready,
    /// Whatever it is, it is not so for the rollout's sake.
    AsBefore,
    /// It is not known yet what becomes of it.
    Moving,
    Down,
    /// It is down, and to wait for it would be to wait for ever.
    Stuck,
}

impl Tally {
    /// Nobody so far, of a template some of whose agents the user may have `asked` to be restarted,
    /// beside so many `live` agents of all templates.
    pub(in super::super) fn new(
        desired: &Desired,
        rollout: Option<&Rollout>,
        asked: Option<Time>,
        live: usize,
        now: Time,
    ) -> Self {
        let asked = asked.unwrap_or_default();
        let began = rollout.map_or(asked, |rollout| rollout.began.max(asked));
        Self {
            progress: Progress::default(),
            failure: None,
            ready_at: None,
            moving: 0,
            stuck: 0,
            health: desired.rules.lease_health,
            down_since: began,
            failed_since: rollout.map_or(began, |rollout| rollout.resumed.max(began)),
            is_full: live >= desired.rules.max_agents,
            now,
        }
    }

    /// Takes in one agent, with what it should be.
    pub(in super::super) fn count(&mut self, id: &EntityId, agent: &Agent, want: &Want) {
        let updated = !is_behind(agent, want);
        if updated && self.failure.is_none() {
            self.failure = self.failure_of(id, agent);
        }
        let standing = self.standing(agent, want, updated);
        let progress = &mut self.progress;
        progress.agents += 1;
        progress.updated += usize::from(updated);
        progress.most_unavailable = want.template.rollout.most_unavailable(progress.agents);
        match standing {
            Standing::Ready => progress.ready += 1,
            Standing::AsBefore => {}
            Standing::Moving => {
                progress.unavailable += 1;
                self.moving += 1;
            }
            Standing::Down => progress.unavailable += 1,
            Standing::Stuck => {
                progress.unavailable += 1;
                self.stuck += 1;
            }
        }
    }

    /// Takes in one of whom the world has not said yet whether it is there.
    pub(in super::super) const fn await_word(&mut self) {
        self.moving += 1;
    }

    fn failure_of(&self, id: &EntityId, agent: &Agent) -> Option<Failure> {
        let (Phase::BackingOff { ended, .. } | Phase::Failed { ended }) = &agent.phase else {
            return None;
        };
        let counts = ended.started >= self.failed_since && ended.is_failure();
        counts.then(|| Failure { id: id.clone(), how: ended.how.clone() })
    }

    fn standing(&mut self, agent: &Agent, want: &Want, updated: bool) -> Standing {
        // Something else than the rollout keeps it from being started.
        let cannot_start = self.is_full || !want.present;
        match &agent.phase {
            Phase::Running { since, lease, .. } if updated => {
                let at = *since + want.template.rollout.min_ready;
                if self.is_ready(at, *lease) { Standing::Ready } else { Standing::Moving }
            }
            Phase::Running { lease, .. } if self.is_available(*lease) => Standing::AsBefore,
            Phase::Completed { .. } if updated => Standing::Ready,
            Phase::Completed { .. } => Standing::AsBefore,
            Phase::BackingOff { ended, .. }
            | Phase::Failed { ended }
            | Phase::AwaitingWorld { ended, .. }
                if ended.started < self.down_since =>
            {
                Standing::AsBefore
            }
            // A failure that counts pauses the rollout. One that does not lasts for ever.
            Phase::Failed { .. } => Standing::Stuck,
            Phase::BackingOff { .. } | Phase::AwaitingWorld { .. } | Phase::Stopped { .. }
                if cannot_start =>
            {
                Standing::Stuck
            }
            Phase::Exited(_) if cannot_start && !updated => Standing::Stuck,
            Phase::Running { .. } | Phase::BackingOff { .. } | Phase::AwaitingWorld { .. } => {
                Standing::Down
            }
            Phase::Starting { .. }
            | Phase::Stopping(_)
            | Phase::Stopped { .. }
            | Phase::Exited(_) => Standing::Moving,
        }
    }

    fn is_ready(&mut self, at: Time, lease: Lease) -> bool {
        if at > self.now {
            self.ready_at = Some(self.ready_at.map_or(at, |earlier| earlier.min(at)));
        }
        at <= self.now && (self.health.is_none() || lease == Lease::Held)
    }

    /// Whether an agent that runs does its work, as far as is known.
    fn is_available(&self, lease: Lease) -> bool {
        self.health.is_none() || lease.gone().is_none()
    }

    /// Whether one that is behind may be changed now, in which case it is unavailable from now on.
    pub(in super::super) fn takes(&mut self, agent: &Agent) -> bool {
        let is_available = agent.running().is_some_and(|(_, lease)| self.is_available(lease));
        let progress = &mut self.progress;
        let waited_for = progress.unavailable - self.stuck;
        let takes = !is_available || waited_for < progress.most_unavailable;
        progress.unavailable += usize::from(takes && is_available);
        takes
    }

    /// Whether nobody is behind, and it is known of all what became of them.
    pub(in super::super) const fn is_over(&self) -> bool {
        self.progress.updated == self.progress.agents && self.moving == 0
    }
}

impl Ended {
    /// Whether it is held against what ran.
    fn is_failure(&self) -> bool {
        match self.how {
            Outcome::NotStarted(_) | Outcome::Unhealthy => true,
            // What nobody saw is held against nobody.
            Outcome::Exit(exit) => exit != Exit::Unknown && !exit.is_success(),
        }
    }
}

/// The agents of each template, counted.
#[must_use]
pub fn progress(desired: &Desired, observed: &Observed, now: Time) -> BTreeMap<String, Progress> {
    let mut tallies = BTreeMap::new();
    let Wants::Known { agents: wants, .. } = &desired.wants else { return BTreeMap::new() };
    let live = observed.agents.values().filter(|agent| agent.is_live()).count();
    for (id, agent) in &observed.agents {
        let Some(want) = wants.get(id) else { continue };
        let name = &want.template.name;
        tallies
            .entry(name)
            .or_insert_with(|| Tally::new(desired, desired.rollouts.get(name), None, live, now))
            .count(id, agent, want);
    }
    tallies.into_iter().map(|(name, tally)| (name.clone(), tally.progress)).collect()
}
