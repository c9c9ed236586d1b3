//! Crash storms: many agents that crash alike within a short time, which is one thing to tell.

use std::collections::BTreeMap;
use std::time::Duration;

use super::entity::EntityId;
use super::observed::Outcome;
use super::time::Time;

/// So many agents make a storm: fewer fit on a screen, a line for each.
pub const MANY: usize = 10;
/// If all of them crash within this time. Agents that share a cause crash within seconds of each
/// other, also where their starts are spread over a few.
pub const WITHIN: Duration = Duration::from_secs(10);
/// A storm is over when nobody has crashed so for this long: longer than the default delays
/// between restarts, so that a storm in waves is one storm.
pub const CALM: Duration = Duration::from_secs(60);
/// How often it is told that a storm lasts.
pub const EVERY: Duration = Duration::from_secs(30);

/// Agents of one template that crash alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storm {
    /// Their template.
    pub template: String,
    /// How their runs end.
    pub how: Outcome,
    /// Each of those that crashed lately, and when it did last.
    pub agents: BTreeMap<EntityId, Time>,
    /// How often they crashed.
    pub crashes: u64,
    /// How many of them are not started again.
    pub failed: u64,
    last: Time,
    /// When it was last told; never, if it is no storm yet.
    told: Option<Time>,
}

/// What a crash makes of a storm, if that is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// It is one from now on.
    Begins,
    /// It is one still.
    Lasts,
}

/// All storms that there are, and those that there may come to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storms(Vec<Storm>);

impl Storms {
    /// Takes in that an agent of this template crashed, and whether it has failed for good.
    pub fn crashed(
        &mut self,
        id: &EntityId,
        (template, how): (&str, &Outcome),
        failed: bool,
        now: Time,
    ) -> Option<(Course, &Storm)> {
        self.0.retain(|storm| storm.rages() || now - storm.last < WITHIN);
        let known = self.0.iter().position(|storm| storm.is_of(template, how));
        let index = known.unwrap_or(self.0.len());
        if known.is_none() {
            self.0.push(Storm::new(template, how, now));
        }
        let storm = self.0.get_mut(index)?;
        let course = storm.add(id, failed, now)?;
        Some((course, storm))
    }

    /// Whether a storm's line stands for the crashes of this kind.
    #[must_use]
    pub fn cover(&self, template: &str, how: &Outcome) -> bool {
        self.0.iter().any(|storm| storm.rages() && storm.is_of(template, how))
    }

    /// Whether a storm's line stands for restarts by this template.
    #[must_use]
    pub fn cover_restarts(&self, template: &str) -> bool {
        self.0.iter().any(|storm| storm.rages() && storm.template == template)
    }

    /// Takes out the storms that are over.
    pub fn over(&mut self, now: Time) -> Vec<Storm> {
        self.0.extract_if(.., |storm| storm.rages() && now - storm.last >= CALM).collect()
    }

    /// When to ask next whether one is over.
    #[must_use]
    pub fn over_at(&self) -> Option<Time> {
        self.0.iter().filter(|storm| storm.rages()).map(|storm| storm.last + CALM).min()
    }
}

impl Storm {
    fn new(template: &str, how: &Outcome, now: Time) -> Self {
        Self {
            template: template.to_owned(),
            how: how.clone(),
            agents: BTreeMap::new(),
            crashes: 0,
            failed: 0,
            last: now,
            told: None,
        }
    }

    fn is_of(&self, template: &str, how: &Outcome) -> bool {
        self.template == template && self.how == *how
    }

    fn rages(&self) -> bool {
        self.told.is_some()
    }

    fn add(&mut self, id: &EntityId, failed: bool, now: Time) -> Option<Course> {
        self.last = now;
        self.agents.insert(id.clone(), now);
        self.crashes += 1;
        self.failed += u64::from(failed);
        let course = match self.told {
            None => {
                self.agents.retain(|_, at| now - *at < WITHIN);
                (self.agents.len() >= MANY).then_some(Course::Begins)
            }
            Some(told) if now - told >= EVERY => {
                self.agents.retain(|_, at| now - *at < CALM);
                Some(Course::Lasts)
            }
            Some(_) => None,
        }?;
        self.told = Some(now);
        Some(course)
    }
}

#[cfg(test)]
mod tests;
