//! How a change is brought to the agents of a template: to few of them at a time, and to no more
//! once those that have it fail.
//!
//! ```text
//! the file ──update──► Rollouts ──in_effect──► Desired ──► plan ──Turn──► Rollouts::note
//!  user: pause, resume, undo ──┘
//! ```
//!
//! Which agents are behind is seen from what they run, never remembered. What is remembered is what
//! nobody could see: what the template was before, whether it was undone, and what went wrong.

mod tally;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub(super) use self::tally::Tally;
pub use self::tally::progress;
use super::desired::Want;
use super::entity::EntityId;
use super::observed::{Agent, Outcome};
use super::reason::Change;
use super::template::{Rules, Template};
use super::time::Time;

/// Up to so many agents, all change at once where nobody says otherwise.
const FEW: usize = 10;

/// Of more agents, so many of a hundred.
const SHARE_OF_MANY: u8 = 25;

/// How a change is brought to the agents of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutPolicy {
    /// The most of them that may be unavailable for it at once; none: all of up to ten, a quarter
    /// of more.
    pub max_unavailable: Option<MaxUnavailable>,
    /// How long a changed agent must run before it counts as ready.
    pub min_ready: Duration,
    /// Whether it goes no further once an agent failed that was changed.
    pub pause_on_failure: bool,
}

impl Default for RolloutPolicy {
    fn default() -> Self {
        Self { max_unavailable: None, min_ready: Duration::from_secs(2), pause_on_failure: true }
    }
}

/// A part of the agents of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MaxUnavailable {
    /// So many. At least 1.
    Count(usize),
    /// So many of a hundred, rounded down, but at least one. From 1 to 100.
    Percent(u8),
}

impl RolloutPolicy {
    /// The most of so many agents that may be unavailable at once. At least 1.
    #[must_use]
    pub fn most_unavailable(&self, agents: usize) -> usize {
        let share = |percent: u8| agents * usize::from(percent) / 100;
        let most = match self.max_unavailable {
            None if agents <= FEW => agents,
            None => share(SHARE_OF_MANY),
            Some(MaxUnavailable::Percent(percent)) => share(percent),
            Some(MaxUnavailable::Count(count)) => count,
        };
        most.max(1)
    }
}

/// How far the versions of all templates have come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollouts(BTreeMap<String, Rollout>);

/// How far the version of one template has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// As the file has it.
    current: Arc<Template>,
    /// The last version before it that all agents were ready with, or else the first one.
    previous: Option<Arc<Template>>,
    /// Since when its version holds. Who is down since before that is not so for its sake.
    began: Time,
    /// When the user had it go on. Failures of runs that began before are forgiven.
    resumed: Time,
    /// Whether the version before holds in place of the file's.
    undone: bool,
    /// Whether it goes no further.
    paused: Option<Pause>,
    /// Whether agents may be behind, or not ready.
    under_way: bool,
}

/// Why a rollout goes no further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    pub at: Time,
    /// Whose failure it is for; none: the user asked for it.
    pub failure: Option<Failure>,
}

/// The end of an agent that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its entity.
    pub id: EntityId,
    /// How it ended.
    pub how: Outcome,
}

/// What a plan says of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Agents are behind.
    Began(Progress),
    /// It goes no further.
    Failed(Failure),
    /// No agent is behind, and it is known of all what became of them.
    Completed(Progress),
}

/// The agents of a template, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// All of them.
    pub agents: usize,
    /// Those that are as they should be.
    pub updated: usize,
    /// Those of them that have been for long enough.
    pub ready: usize,
    /// Those that do not do their work at the moment, whichever version they have.
    pub unavailable: usize,
    /// How many of those there may be for the rollout's sake.
    pub most_unavailable: usize,
}

impl Progress {
    /// Whether nobody is behind, and all are ready.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.ready == self.agents
    }

    /// How many are not as they should be.
    #[must_use]
    pub const fn behind(&self) -> usize {
        self.agents - self.updated
    }
}

/// Why a rollout cannot be steered as was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CannotSteer {
    /// There is no such template.
    #[error("there is no template {0:?}")]
    Unknown(String),
    /// Nothing is known that one could go back to.
    #[error("template {0} has had no other version")]
    NothingBefore(String),
    /// One is there already.
    #[error("template {0} is at its version before; change the file, or resume what it says")]
    AlreadyUndone(String),
    /// There is nothing to resume.
    #[error("the rollout of template {0} is neither paused nor undone")]
    NotPaused(String),
}

/// How a rollout is steered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steer {
    /// No further agents are changed.
    Pause,
    /// The rest is changed too, whatever failed so far; a version that was undone is taken again.
    Resume,
    /// All agents go back to the version before, until the file says something else.
    Undo,
}

impl Rollouts {
    /// Takes in what the file says now, and returns whether that is new. All agents of the templates
    /// that `are_ready` are, with the version that held so far.
    pub fn update(&mut self, rules: &Rules, are_ready: impl Fn(&str) -> bool, now: Time) -> bool {
        let before = self.clone();
        self.0.retain(|name, _| rules.templates.iter().any(|template| template.name == *name));
        for template in &rules.templates {
            let name = &template.name;
            self.0
                .entry(name.clone())
                .and_modify(|rollout| rollout.update(template, || are_ready(name), now))
                .or_insert_with(|| Rollout::of(template, now));
        }
        *self != before
    }

    /// What holds for a runner to come in another boot, where no time of this one means anything.
    #[must_use]
    pub fn lasting(&self) -> Self {
        let lasting = |rollout: &Rollout| {
            let user = rollout.paused.as_ref().filter(|pause| pause.failure.is_none());
            let paused = user.map(|_| Pause { at: Time::default(), failure: None });
            Rollout {
                began: Time::default(),
                resumed: Time::default(),
                paused,
                under_way: false,
                ..rollout.clone()
            }
        };
        Self(self.0.iter().map(|(name, rollout)| (name.clone(), lasting(rollout))).collect())
    }

    /// What is known of the rollout of a template, if anything is.
    #[must_use]
    pub fn get(&self, template: &str) -> Option<&Rollout> {
        self.0.get(template)
    }

    /// The version of a template that holds.
    #[must_use]
    pub fn in_effect<'a>(&'a self, template: &'a Arc<Template>) -> &'a Arc<Template> {
        let undone = self.get(&template.name).filter(|rollout| rollout.undone);
        undone.and_then(|rollout| rollout.previous.as_ref()).unwrap_or(template)
    }

    /// Does what the user asked for.
    ///
    /// # Errors
    /// If that cannot be; nothing is changed then.
    pub fn steer(&mut self, name: &str, steer: Steer, now: Time) -> Result<(), CannotSteer> {
        let Some(rollout) = self.0.get_mut(name) else {
            return Err(CannotSteer::Unknown(name.to_owned()));
        };
        match steer {
            Steer::Pause => rollout.paused = Some(Pause { at: now, failure: None }),
            Steer::Resume if rollout.paused.is_none() && !rollout.undone => {
                return Err(CannotSteer::NotPaused(name.to_owned()));
            }
            Steer::Undo if rollout.undone => {
                return Err(CannotSteer::AlreadyUndone(name.to_owned()));
            }
            Steer::Undo if rollout.previous.is_none() => {
                return Err(CannotSteer::NothingBefore(name.to_owned()));
            }
            Steer::Resume | Steer::Undo => {
                if rollout.undone != (steer == Steer::Undo) {
                    rollout.undone = steer == Steer::Undo;
                    rollout.began = now;
                }
                rollout.paused = None;
                rollout.resumed = now;
            }
        }
        Ok(())
    }

    /// Takes in what a plan says.
    pub fn note(&mut self, name: &str, turn: &Turn, now: Time) {
        let Some(rollout) = self.0.get_mut(name) else { return };
        match turn {
            Turn::Began(_) => rollout.under_way = true,
            Turn::Failed(failure) => {
                rollout.paused = Some(Pause { at: now, failure: Some(failure.clone()) });
            }
            Turn::Completed(_) => rollout.under_way = false,
        }
    }

    /// The templates whose agents may be behind, or not ready.
    pub(super) fn under_way(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, rollout)| rollout.under_way).map(|(name, _)| name.as_str())
    }
}

impl Rollout {
    fn of(template: &Arc<Template>, now: Time) -> Self {
        Self {
            current: Arc::clone(template),
            previous: None,
            began: now,
            resumed: now,
            undone: false,
            paused: None,
            under_way: false,
        }
    }

    fn update(&mut self, template: &Arc<Template>, is_ready: impl Fn() -> bool, now: Time) {
        if self.current.runs_the_same(template) {
            self.current = Arc::clone(template);
            return;
        }
        let before = std::mem::replace(&mut self.current, Arc::clone(template));
        // One that was seen to work is better to go back to than one that was not.
        if !self.undone && (self.previous.is_none() || is_ready()) {
            self.previous = Some(before);
        }
        self.previous = self.previous.take().filter(|version| !version.runs_the_same(template));
        self.undone = false;
        // What the user paused stays so: that may be what the change is made under.
        self.paused = self.paused.take().filter(|pause| pause.failure.is_none());
        self.began = now;
        self.under_way = false;
    }

    /// Why it goes no further, if it does not.
    #[must_use]
    pub const fn paused(&self) -> Option<&Pause> {
        self.paused.as_ref()
    }

    /// Whether the version before holds in place of the file's.
    #[must_use]
    pub const fn undone(&self) -> bool {
        self.undone
    }

    /// Whether there is a version to go back to.
    #[must_use]
    pub const fn can_be_undone(&self) -> bool {
        self.previous.is_some() && !self.undone
    }

    /// Whether agents may be behind, or not ready.
    #[must_use]
    pub const fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// Whether a restart that was asked for has to wait: one that was asked for since does not.
    pub(super) fn holds_restart(&self, asked: Time) -> bool {
        self.paused.as_ref().is_some_and(|pause| asked <= pause.at)
    }
}

/// Whether the agent is not what it should be.
#[must_use]
pub fn is_behind(agent: &Agent, want: &Want) -> bool {
    let is_other = Change::between(&agent.spec, &want.spec).is_some();
    is_other || want.restart_asked.is_some_and(|asked| agent.began_before(asked))
}

impl Agent {
    /// Whether its process was started before that.
    pub(super) fn began_before(&self, asked: Time) -> bool {
        self.since().is_some_and(|since| since < asked)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.id, self.how)
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            Some(failure) => write!(f, "{failure}"),
            None => f.write_str("the user paused it"),
        }
    }
}

#[cfg(test)]
mod tests;
