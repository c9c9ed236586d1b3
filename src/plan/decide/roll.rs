//! Who of those that are behind has its turn in the rollout of its template.

use std::collections::BTreeMap;
use std::mem;

use super::super::action::{Action, Verb};
use super::super::desired::Wants;
use super::super::rollout::{Tally, Turn};
use super::{Behind, Draft};

impl<'a> Draft<'a> {
    /// Brings changes to as many of those that are behind as their rollouts allow.
    pub(super) fn roll(&mut self) {
        let rollouts = &*self.desired.rollouts;
        let mut behind: BTreeMap<&str, Vec<Behind<'_>>> =
            rollouts.under_way().map(|name| (name, Vec::new())).collect();
        for one in mem::take(&mut self.behind) {
            behind.entry(&one.want.template.name).or_default().push(one);
        }
        if behind.is_empty() {
            return;
        }
        let mut tallies = self.tallies(&behind);
        for (name, behind) in behind {
            if let Some(tally) = tallies.remove(name) {
                self.advance(name, behind, tally);
            }
        }
    }

    /// Counts the agents of these templates; none, while it is not known who is wanted.
    fn tallies<'n>(&self, behind: &BTreeMap<&'n str, Vec<Behind<'_>>>) -> BTreeMap<&'n str, Tally> {
        let mut tallies = BTreeMap::new();
        let Wants::Known { agents: wants, awaited, .. } = &self.desired.wants else {
            return tallies;
        };
        for (name, behind) in behind {
            let asked = behind.iter().filter_map(|one| one.want.restart_asked).max();
            let rollout = self.desired.rollouts.get(name);
            let live = self.count.live;
            tallies.insert(*name, Tally::new(self.desired, rollout, asked, live, self.now));
        }
        for (id, agent) in &self.observed.agents {
            if let Some(want) = wants.get(id) {
                if let Some(tally) = tallies.get_mut(want.template.name.as_str()) {
                    tally.count(id, agent, want);
                }
            } else if awaited.contains(id)
                && let Some(tally) = tallies.get_mut(agent.template.as_str())
            {
                tally.await_word();
            }
        }
        tallies
    }

    /// One step of the rollout of one template.
    fn advance(&mut self, name: &str, behind: Vec<Behind<'a>>, mut tally: Tally) {
        let rollout = self.desired.rollouts.get(name);
        let mut tell = |turn| self.plan.turns.push((name.to_owned(), turn));
        let Some(first) = behind.first() else {
            if tally.is_over() {
                tell(Turn::Completed(tally.progress));
            } else if rollout.is_none_or(|rollout| rollout.paused().is_none()) {
                self.await_ready(&tally);
            }
            return;
        };
        if rollout.is_none_or(|rollout| !rollout.is_under_way()) {
            tell(Turn::Began(tally.progress));
        }
        let pauses = first.want.template.rollout.pause_on_failure;
        if let Some(failure) = tally.failure.take().filter(|_| pauses) {
            tell(Turn::Failed(failure));
            self.plan.unchanged += behind.len();
            return;
        }
        for one in behind {
            if tally.takes(one.agent) {
                let (run, why, grace) = (one.run, one.why, one.want.template.grace);
                let verb = Verb::Stop { run, grace, why };
                self.plan.actions.push(Action { id: one.id.clone(), verb });
            } else {
                self.plan.unchanged += 1;
            }
        }
        self.await_ready(&tally);
    }

    fn await_ready(&mut self, tally: &Tally) {
        self.plan.is_rolling = true;
        if let Some(at) = tally.ready_at {
            self.wake(at);
        }
    }
}
