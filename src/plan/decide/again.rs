//! Whether an agent that has ended is started again, and when.

use super::super::action::Verb;
use super::super::desired::Want;
use super::super::observed::{Agent, Ended, Phase};
use super::super::reason::{Change, Pending, StartReason, StopReason, WorldReason};
use super::super::restart::{Conclusion, after_loss, attempts_after, conclude};
use super::super::time::Time;
use super::{Candidate, Draft, Step, new_incarnation};

impl<'a> Draft<'a> {
    /// An agent without a process, whose entity should have one.
    pub(super) fn ended(&self, agent: &'a Agent, want: &'a Want) -> Step<'a> {
        let anew = |why| self.start_again(agent, want, 0, why);
        if let Some((from, to)) = new_incarnation(agent, want) {
            return anew(StartReason::NewIncarnation { from, to });
        }
        let change = Change::between(&agent.spec, &want.spec);
        if let Some(change) = change.filter(|_| !self.keeps_version(want)) {
            return anew(StartReason::Changed(change));
        }
        let asked_since = |ended: &Ended| want.restart_asked.is_some_and(|asked| ended.at < asked);
        if agent.ended().is_some_and(asked_since) {
            return anew(StartReason::Asked);
        }
        match &agent.phase {
            Phase::Exited(ended) => self.conclude(agent, ended, want),
            Phase::BackingOff { ended, until } => self.backing_off(agent, ended, *until, want),
            Phase::AwaitingWorld { ended, why, retry_at } => {
                self.awaiting_world(agent, ended, (*retry_at, *why), want)
            }
            Phase::Stopped { why: StopReason::Asked } => anew(StartReason::Asked),
            Phase::Stopped { .. } => anew(StartReason::WantedAgain),
            Phase::Completed { .. }
            | Phase::Failed { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping(_) => Step::Leave,
        }
    }

    fn conclude(&self, agent: &Agent, ended: &Ended, want: &Want) -> Step<'a> {
        let backoff = &self.desired.rules.backoff;
        let ended = ended.clone();
        let contact = &self.observed.contact;
        match conclude(agent, &ended, want, contact, backoff) {
            Conclusion::AskingWorld => Step::AwaitAnswer(None),
            Conclusion::World(why) => {
                let retry_at = ended.at + backoff.max;
                Step::Do(Verb::AwaitWorld { ended, retry_at, why })
            }
            Conclusion::Again { attempt, delay } => {
                let until = ended.at + delay;
                Step::Do(Verb::BackOff { ended, until, attempt, of: backoff.max_attempts })
            }
            Conclusion::Completed(why) => Step::Do(Verb::Complete { ended, why }),
            Conclusion::Failed(why) => Step::Do(Verb::Fail { ended, why }),
        }
    }

    fn backing_off(
        &self,
        agent: &'a Agent,
        ended: &Ended,
        until: Time,
        want: &'a Want,
    ) -> Step<'a> {
        let backoff = &self.desired.rules.backoff;
        // While the world is away, an attempt would be wasted on it.
        let due = if self.observed.contact.reachable { until } else { ended.at + backoff.max };
        if self.now < due {
            return Step::Wake(due);
        }
        let why = StartReason::Restart { attempt: agent.attempts, of: backoff.max_attempts };
        self.start_again(agent, want, agent.attempts, why)
    }

    fn awaiting_world(
        &self,
        agent: &'a Agent,
        ended: &Ended,
        (retry_at, reason): (Time, WorldReason),
        want: &'a Want,
    ) -> Step<'a> {
        let contact = &self.observed.contact;
        let backoff = &self.desired.rules.backoff;
        let since = contact.disrupted.map_or(ended.at, |disrupted| disrupted.max(ended.at));
        let back = contact.answers_since(since);
        // An agent that ends at once must not be started as fast as a flapping world answers.
        let due = match (back, reason) {
            (true, WorldReason::Lost) => after_loss(agent, ended, backoff),
            (true, _) => ended.started + backoff.initial,
            (false, _) => retry_at,
        };
        if self.now < due {
            return if back { Step::Wake(due) } else { Step::AwaitAnswer(Some(due)) };
        }
        let why = if back { StartReason::WorldBack(reason) } else { StartReason::WorldSilent };
        let attempts = attempts_after(agent, ended, backoff);
        self.start_again(agent, want, attempts, why)
    }

    /// Nothing is started for an entity that the latest answer lacks: its agent could not act.
    fn start_again(
        &self,
        agent: &'a Agent,
        want: &'a Want,
        attempts: u32,
        why: StartReason,
    ) -> Step<'a> {
        if !want.present {
            return Step::Pend(Pending::Missing);
        }
        let spec = if self.keeps_version(want) { &agent.spec } else { &want.spec };
        let (returning, due) = (agent.keeps_place(), agent.due());
        Step::Start(Candidate { want, spec, attempts, why, returning, due })
    }
}

impl Agent {
    /// Since when a start of it is due, which wants one again.
    fn due(&self) -> Time {
        match &self.phase {
            Phase::BackingOff { until, .. } => *until,
            Phase::Exited(ended)
            | Phase::AwaitingWorld { ended, .. }
            | Phase::Completed { ended }
            | Phase::Failed { ended } => ended.at,
            Phase::Stopped { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping(_) => Time::default(),
        }
    }
}
