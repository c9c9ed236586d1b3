//! Who of those that are to be started is started now: there has to be room, and it may not be too
//! fast.

use std::mem;
use std::sync::Arc;

use super::super::action::{Action, Start, Verb};
use super::super::entity::EntityId;
use super::super::pace::Pace;
use super::super::reason::{Pending, Throttle};
use super::super::run::RunId;
use super::{Candidate, Count, Draft};

impl<'a> Draft<'a> {
    /// Starts as many as there is room for under `max_agents`, and as fast as they may be.
    pub(super) fn admit(&mut self) {
        let max = self.desired.rules.max_agents;
        let Count { live, reserved, .. } = self.count;
        let mut starts = mem::take(&mut self.starts);
        starts.retain(|(id, candidate)| {
            let unsynced = self.unsynced(candidate.want);
            let waits = unsynced.map(|project| Pending::Unsynced(project.to_owned()));
            waits.is_none_or(|why| {
                self.pending.push(((*id).clone(), why));
                false
            })
        });
        let (mut returning, mut newcomers): (Vec<_>, Vec<_>) =
            starts.into_iter().partition(|(_, candidate)| candidate.returning);
        returning.sort_by_key(|(_, candidate)| (candidate.due, candidate.want.seen));
        newcomers.sort_by_key(|(_, candidate)| candidate.want.seen);
        self.crop(&mut returning, max.saturating_sub(live));
        self.crop(&mut newcomers, max.saturating_sub(live + reserved));
        self.start(self.observed.pace.alternate(returning, newcomers));
    }

    /// Lets those wait that are beyond the room.
    fn crop(&mut self, candidates: &mut Vec<(&'a EntityId, Candidate<'a>)>, room: usize) {
        let beyond = candidates.drain(room.min(candidates.len())..);
        self.pending.extend(beyond.map(|(id, _)| (id.clone(), Pending::OverLimit)));
    }

    /// Starts them in this order, until it is too fast.
    fn start(&mut self, candidates: impl Iterator<Item = (&'a EntityId, Candidate<'a>)>) {
        let spawn = self.desired.rules.spawn;
        let mut pace = self.observed.pace;
        let mut under_way = self.count.starting;
        let mut run = self.observed.next_run;
        for (id, candidate) in candidates {
            if under_way >= spawn.max_parallel {
                let why = Throttle::MaxParallel(spawn.max_parallel);
                self.pending.push((id.clone(), Pending::Turn(why)));
            } else if pace.due(spawn) > self.now {
                let why = Throttle::PerSecond(spawn.per_second);
                self.pending.push((id.clone(), Pending::Turn(why)));
                self.wake(pace.due(spawn));
            } else {
                pace = pace.after(spawn, candidate.returning, self.now);
                self.plan.actions.push(candidate.into_action(id, RunId(run), pace));
                under_way += 1;
                run += 1;
            }
        }
    }
}

impl Candidate<'_> {
    fn into_action(self, id: &EntityId, run: RunId, pace: Pace) -> Action {
        let start = Start {
            run,
            incarnation: self.want.incarnation,
            arrival: self.want.arrival,
            template: self.want.template.name.clone(),
            chosen_by: self.want.chosen_by,
            grace: self.want.template.grace,
            spec: Arc::clone(self.spec),
            attempts: self.attempts,
            pace,
            why: self.why,
        };
        Action { id: id.clone(), verb: Verb::Start(start) }
    }
}
