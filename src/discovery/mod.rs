//! The world client: connects, asks, backs off, and publishes what it knows.

use std::sync::Arc;
use std::time::Duration;

use crate::plan::{Answer, Time};

/// Which world to ask, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `HOST:PORT`.
    pub server: String,
    /// Deadline of one call.
    pub timeout: Duration,
    /// Time from one answer to the next question.
    pub interval: Duration,
    /// How long the first answer may take before the user is told.
    pub connection_timeout: Duration,
}

/// All that is known of the world.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// The server that this view is of.
    pub server: String,
    /// How many good answers there were; a reader that skipped some can tell.
    pub answers: u64,
    /// The latest good answer. None: this server has never answered.
    pub latest: Option<Answer>,
    /// The latest good answer to a question.
    pub latest_asked: Option<Time>,
    /// Whether the latest call succeeded.
    pub reachable: bool,
    /// When contact was last known to be broken: a call failed, or a connection had to be made
    /// anew after the first one.
    pub disrupted_at: Option<Time>,
}

#[expect(dead_code, reason = "placeholder until the client is written")]
type Published = Arc<View>;
