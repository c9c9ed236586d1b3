//! The world client: connects, asks, backs off, and publishes what it knows.
//!
//! ```text
//! Settings ──► client ──► link ──► the world: List, again and again · Watch, where offered
//!    ask() ──►   │  ▲                  │ bytes
//!                │  └── retry          ▼
//!                │                  convert ──► publish ──► View
//!                └──► contact ──► log
//! ```
//!
//! One task owns it all. What the world once said is never forgotten here because the world is
//! silent: [`View::latest`] stays, and [`View::reachable`] says that it may be out of date.

mod client;
mod contact;
mod convert;
mod failure;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod link;
mod offload;
mod publish;
mod ration;
mod retry;
mod watcher;

#[cfg(test)]
mod tests;

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::clock::Clock;
use crate::credentials::Credentials;
use crate::plan::{Answer, Time};
use client::Client;

/// Which world to ask, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `HOST:PORT`.
    pub server: String,
    /// What it is shown, and known by.
    pub credentials: Credentials,
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
    /// How many good answers there were, asked for or told; a reader that skipped some can tell.
    pub answers: u64,
    /// The latest good answer. None: this server has never answered.
    pub latest: Option<Answer>,
    /// When the latest question was asked that got a good answer: the world was there after that.
    /// `latest` may be newer, and then is [`Told`](crate::plan::Heard::Told).
    pub latest_asked: Option<Time>,
    /// Whether the latest call succeeded.
    pub reachable: bool,
    /// Why the latest call failed, if it did.
    pub trouble: Option<String>,
    /// When contact was last known to be broken: a call failed, or a connection had to be made
    /// anew after the first one. In the latter case `latest_asked` is not earlier, as the
    /// question was sent on the new connection.
    pub disrupted_at: Option<Time>,
}

/// What the client is asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Wishes {
    /// Counts the questions to be put at once.
    asks: u64,
    /// Nothing hangs on the next answer.
    resting: bool,
}

/// A running world client. It ends when this is dropped.
#[derive(Debug)]
pub struct Discovery {
    view: watch::Receiver<Arc<View>>,
    wishes: watch::Sender<Wishes>,
    task: AbortHandle,
}

/// Starts to ask the world, with the settings as they are and as they change. Once their sender
/// is gone, the last ones stay. Needs a tokio runtime.
#[must_use]
pub fn start(settings: watch::Receiver<Settings>, clock: Clock) -> Discovery {
    let (wishes, receiver) = watch::channel(Wishes::default());
    let client = Client::new(settings, receiver, clock);
    let view = client.view();
    let task = tokio::spawn(client.run()).abort_handle();
    Discovery { view, wishes, task }
}

impl Discovery {
    /// What is known of the world, now and whenever it changes.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Asks the world, at once: a question that is put after this moment will be answered in a
    /// view whose `latest_asked` is not earlier than now, or fail. If a call is under way, which
    /// may be about things as they were, another one follows it. Many asks are one question.
    pub fn ask(&self) {
        self.wishes.send_modify(|wishes| wishes.asks = wishes.asks.wrapping_add(1));
    }

    /// Says whether nothing hangs on the next answer: while the world tells of changes, it is then
    /// asked a minute after its last answer only. What it told of and lost comes to light that way.
    pub fn rest(&self, resting: bool) {
        self.wishes
            .send_if_modified(|wishes| mem::replace(&mut wishes.resting, resting) != resting);
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.task.abort();
    }
}
