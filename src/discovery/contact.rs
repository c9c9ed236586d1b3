//! Whether there is contact with the world, and what is said about it, and when.

use std::time::Duration;

use tracing::{info, warn};

use super::failure::Failure;
use crate::plan::Time;

/// How often it is repeated that the first answer is still awaited.
const REPEAT_WAITING: Duration = Duration::from_secs(30);

/// How often it is repeated that the world is away.
const REPEAT_LOST: Duration = Duration::from_secs(60);

/// Contact with one server.
#[derive(Debug)]
pub(super) struct Contact {
    phase: Phase,
    /// When this phase began.
    since: Time,
    /// When a person was last warned of it.
    warned: Option<Time>,
}

#[derive(Debug)]
enum Phase {
    /// No answer yet.
    Waiting { error: Option<String> },
    /// The latest call was answered.
    Up,
    /// The latest call failed.
    Lost { error: String },
}

/// What there is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// There was no answer yet, for so long.
    Waiting { waited: Duration, error: Option<String> },
    /// An answer came on a connection that is new.
    Connected { entities: usize },
    /// There was contact until now.
    Lost { error: String },
    /// There is no contact, since so long ago.
    Away { away: Duration, error: String },
    /// There is contact again, after so long.
    Back { away: Duration, entities: usize },
}

impl Contact {
    pub(super) fn new(now: Time) -> Self {
        Self { phase: Phase::Waiting { error: None }, since: now, warned: None }
    }

    /// A call was answered.
    pub(super) fn answered(
        &mut self,
        now: Time,
        entities: usize,
        reconnected: bool,
    ) -> Option<Notice> {
        let before = std::mem::replace(&mut self.phase, Phase::Up);
        if matches!(before, Phase::Up) {
            return reconnected.then_some(Notice::Connected { entities });
        }
        let away = now.since(self.since);
        *self = Self { phase: Phase::Up, since: now, warned: None };
        Some(match before {
            Phase::Waiting { .. } | Phase::Up => Notice::Connected { entities },
            Phase::Lost { .. } => Notice::Back { away, entities },
        })
    }

    /// A call failed.
    pub(super) fn failed(&mut self, now: Time, failure: &Failure) -> Option<Notice> {
        match &mut self.phase {
            Phase::Waiting { error } => *error = Some(failure.to_string()),
            Phase::Lost { error } => *error = failure.to_string(),
            Phase::Up => {
                let error = failure.to_string();
                self.phase = Phase::Lost { error: error.clone() };
                self.since = now;
                self.warned = Some(now);
                return Some(Notice::Lost { error });
            }
        }
        None
    }

    /// When there will be something to say again, if nothing happens.
    pub(super) fn remind_at(&self, connection_timeout: Duration) -> Option<Time> {
        match (&self.phase, self.warned) {
            (Phase::Up, _) => None,
            (Phase::Waiting { .. }, None) => Some(self.since + connection_timeout),
            (Phase::Waiting { .. }, Some(warned)) => Some(warned + REPEAT_WAITING),
            (Phase::Lost { .. }, warned) => Some(warned.unwrap_or(self.since) + REPEAT_LOST),
        }
    }

    /// What there is to say now, although nothing has happened.
    pub(super) fn remind(&mut self, now: Time, connection_timeout: Duration) -> Option<Notice> {
        self.remind_at(connection_timeout).filter(|&at| at <= now)?;
        self.warned = Some(now);
        let elapsed = now.since(self.since);
        match &self.phase {
            Phase::Up => None,
            Phase::Waiting { error } => {
                Some(Notice::Waiting { waited: elapsed, error: error.clone() })
            }
            Phase::Lost { error } => Some(Notice::Away { away: elapsed, error: error.clone() }),
        }
    }
}

impl Notice {
    /// Tells the user.
    pub(super) fn log(&self, server: &str) {
        match self {
            Self::Waiting { waited, error } => warn!(
                event = "world.waiting",
                server,
                waited_s = waited.as_secs(),
                error = error.as_deref().unwrap_or("no answer yet"),
                "still waiting for the world at {server}",
            ),
            Self::Connected { entities } => {
                info!(event = "world.connected", server, entities, "connected to the world");
            }
            Self::Lost { error } => {
                warn!(event = "world.lost", server, error, "lost contact with the world");
            }
            Self::Away { away, error } => warn!(
                event = "world.lost",
                server,
                cause = "still_away",
                error,
                away_s = away.as_secs(),
                "the world is still away",
            ),
            Self::Back { away, entities } => info!(
                event = "world.back",
                server,
                entities,
                away_ms = away.as_millis(),
                "the world is back",
            ),
        }
    }
}

#[cfg(test)]
mod tests;
