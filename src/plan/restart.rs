//! What follows from the end of a run that nobody asked for.

use std::time::Duration;

use super::desired::Want;
use super::membership::Contact;
use super::observed::{Agent, Ended, Outcome};
use super::reason::{EndReason, WorldReason};
use super::run::Exit;
use super::template::{Backoff, RestartPolicy};
use super::time::Time;

/// What follows from the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// The world has been asked whether it was its doing, and has not answered.
    AskingWorld,
    /// It was the world's doing: no attempt is spent.
    World(WorldReason),
    /// It was the agent's doing: it is started after a delay.
    Again {
        /// Which attempt that is, from 1.
        attempt: u32,
        /// The delay.
        delay: Duration,
    },
    /// It is not started again, and that is fine.
    Completed(EndReason),
    /// It is not started again, and that is not fine.
    Failed(EndReason),
}

/// What follows from `ended`, the end of a run of `agent` for which `want` is wanted.
#[must_use]
pub fn conclude(
    agent: &Agent,
    ended: &Ended,
    want: &Want,
    contact: &Contact,
    backoff: &Backoff,
) -> Conclusion {
    let success = matches!(&ended.how, Outcome::Exit(exit) if exit.is_success());
    let policy = want.template.restart;
    if policy == RestartPolicy::Never {
        return if success {
            Conclusion::Completed(EndReason::Success)
        } else {
            Conclusion::Failed(EndReason::PolicyNever)
        };
    }
    // What nobody saw is held against nobody.
    if ended.how == Outcome::Exit(Exit::Unknown) {
        return Conclusion::World(WorldReason::RunnerAway);
    }
    if let Outcome::Exit(Exit::Lost(_)) = ended.how {
        return Conclusion::World(WorldReason::Lost);
    }
    if ended.how.may_be_the_worlds() {
        if ended.at <= contact.since {
            return Conclusion::World(WorldReason::Unjudged);
        }
        if contact.took(ended.started, ended.at) {
            return Conclusion::World(WorldReason::Disrupted);
        }
        if !contact.settles(ended.at) {
            return Conclusion::AskingWorld;
        }
        if !want.present {
            return Conclusion::World(WorldReason::EntityMissing);
        }
    }
    if success && policy == RestartPolicy::OnFailure {
        return Conclusion::Completed(EndReason::Success);
    }
    let attempts = attempts_after(agent, ended, backoff);
    if attempts >= backoff.max_attempts {
        return Conclusion::Failed(EndReason::TooManyAttempts(attempts));
    }
    Conclusion::Again { attempt: attempts + 1, delay: delay(backoff, attempts) }
}

/// When a run may follow one that the cluster took away. At once, where that is rare; if it goes on,
/// each time twice as long after it as the last time.
#[must_use]
pub fn after_loss(agent: &Agent, ended: &Ended, backoff: &Backoff) -> Time {
    let is_loss = |ended: &&Ended| matches!(ended.how, Outcome::Exit(Exit::Lost(_)));
    let before = agent.last_end.as_deref().filter(is_loss);
    match before.filter(|_| ended.at - ended.started < backoff.reset) {
        Some(before) => {
            let last = ended.started - before.at;
            ended.at + last.saturating_mul(2).max(backoff.initial).min(backoff.max)
        }
        None => ended.started + backoff.initial,
    }
}

/// The attempts that count after a run: none, if it was long enough.
#[must_use]
pub fn attempts_after(agent: &Agent, ended: &Ended, backoff: &Backoff) -> u32 {
    if ended.at - ended.started >= backoff.reset { 0 } else { agent.attempts }
}

/// The delay before restart number `restart`, from 0.
#[must_use]
pub fn delay(backoff: &Backoff, restart: u32) -> Duration {
    let power = i32::try_from(restart).unwrap_or(i32::MAX);
    let seconds = backoff.initial.as_secs_f64() * backoff.multiplier.powi(power);
    // Not a number where nothing grows without bound.
    if seconds < backoff.max.as_secs_f64() {
        Duration::from_secs_f64(seconds)
    } else if backoff.initial.is_zero() {
        Duration::ZERO
    } else {
        backoff.max
    }
}

#[cfg(test)]
mod tests;
