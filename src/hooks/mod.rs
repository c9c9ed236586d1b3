//! A command that is run for events, where `[hooks]` asks for it; else there is nothing of this.
//!
//! ```text
//! events ──kinds──► queue (bounded) ──► run: a few at one time, each within its time
//! ```
//!
//! What goes wrong here is told in the log, by kinds that begin with `hook.`: for those nothing is
//! run, so that no hook is its own cause.

mod run;

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use crate::events::{Events, Record};
use crate::glob::matches;

/// So many run at one time.
const AT_ONCE: usize = 4;

/// So many events wait until others are done.
const MOST_WAITING: usize = 256;

/// The least time between two lines about events that were dropped.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// How long what has happened last may take, when the runner ends.
const LAST: Duration = Duration::from_secs(2);

/// What no hook is run for.
const OWN: &str = "hook.";

/// What is run, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Program and arguments; not empty.
    pub command: Vec<String>,
    /// For events of these kinds: patterns.
    pub kinds: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// Variables beside those of the runner.
    pub env: Vec<(String, String)>,
}

/// Runs a command for events.
#[derive(Debug)]
pub struct Hooks {
    settings: watch::Receiver<Option<Settings>>,
    events: Events,
    /// An event as the command is given it.
    encode: fn(&Record) -> String,
    happening: Option<broadcast::Receiver<Arc<Record>>>,
    waiting: VecDeque<Arc<Record>>,
    running: JoinSet<()>,
    dropped: Dropped,
}

/// Events that nothing was run for, as there were too many.
#[derive(Debug, Default)]
struct Dropped {
    count: u64,
    told: Option<Instant>,
}

impl Hooks {
    /// Hooks for what happens from now on.
    #[must_use]
    pub fn new(
        settings: watch::Receiver<Option<Settings>>,
        events: Events,
        encode: fn(&Record) -> String,
    ) -> Self {
        let mut hooks = Self {
            settings,
            events,
            encode,
            happening: None,
            waiting: VecDeque::new(),
            running: JoinSet::new(),
            dropped: Dropped::default(),
        };
        hooks.settle();
        hooks
    }

    /// Listens if that is wanted. What runs and what waits is not affected.
    fn settle(&mut self) {
        let is_wanted = self.settings.borrow_and_update().is_some();
        if !is_wanted {
            self.happening = None;
            self.waiting = VecDeque::new();
        } else if self.happening.is_none() {
            self.happening = Some(self.events.watch());
        }
    }

    /// Never ends.
    pub async fn run(&mut self) {
        loop {
            self.start_waiting();
            tokio::select! {
                Ok(()) = self.settings.changed() => self.settle(),
                happened = next(self.happening.as_mut()) => match happened {
                    Ok(record) => self.take(record),
                    Err(RecvError::Lagged(count)) => self.dropped.add(count),
                    Err(RecvError::Closed) => self.happening = None,
                },
                Some(_) = self.running.join_next() => {}
            }
        }
    }

    /// Runs what there is to run for what has happened by now, for a short time, and ends what is
    /// not done then.
    pub async fn finish(&mut self) {
        if self.happening.is_none() && self.running.is_empty() {
            return;
        }
        let events = self.events.clone();
        // It fails when the runtime ends.
        let _ = spawn_blocking(move || events.flush()).await;
        while let Some(happened) = self.happening.as_mut().map(broadcast::Receiver::try_recv) {
            match happened {
                Ok(record) => self.take(record),
                Err(TryRecvError::Lagged(count)) => self.dropped.add(count),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let done = async {
            loop {
                self.start_waiting();
                if self.running.join_next().await.is_none() {
                    break;
                }
            }
        };
        if timeout(LAST, done).await.is_err() {
            let (running, waiting) = (self.running.len(), self.waiting.len());
            warn!(
                event = "hook.dropped",
                count = waiting,
                killed = running,
                "hooks were not done when the runner ended"
            );
        }
        self.running.shutdown().await;
    }

    fn take(&mut self, record: Arc<Record>) {
        let settings = self.settings.borrow();
        let kinds = settings.as_ref().map_or(&[][..], |settings| &settings.kinds);
        let is_wanted = kinds.iter().any(|pattern| matches(pattern, &record.kind));
        if !is_wanted || record.kind.starts_with(OWN) {
            return;
        }
        if self.waiting.len() < MOST_WAITING {
            self.waiting.push_back(record);
        } else {
            self.dropped.add(1);
        }
    }

    fn start_waiting(&mut self) {
        let settings = self.settings.borrow();
        let Some(settings) = settings.as_ref() else { return };
        while self.running.len() < AT_ONCE {
            let Some(record) = self.waiting.pop_front() else { break };
            let text = (self.encode)(&record);
            self.running.spawn(serve(settings.clone(), record, text));
        }
        self.dropped.tell(self.waiting.is_empty());
    }
}

impl Dropped {
    fn add(&mut self, count: u64) {
        self.count += count;
    }

    /// Once there is room again, and at times until then.
    fn tell(&mut self, is_over: bool) {
        let now = Instant::now();
        let is_due = is_over || self.told.is_none_or(|told| now - told >= BETWEEN_LINES);
        if self.count > 0 && is_due {
            warn!(
                event = "hook.dropped",
                count = self.count,
                "events were dropped for which hooks should have been run: there were too many"
            );
            *self = Self { count: 0, told: Some(now) };
        }
    }
}

async fn next(
    happening: Option<&mut broadcast::Receiver<Arc<Record>>>,
) -> Result<Arc<Record>, RecvError> {
    match happening {
        Some(happening) => happening.recv().await,
        None => pending().await,
    }
}

/// Runs the command for one event, and tells what came of it.
async fn serve(settings: Settings, record: Arc<Record>, text: String) {
    let program = settings.command.first().map(String::as_str).unwrap_or_default();
    let (kind, sequence) = (record.kind.as_str(), record.seq);
    match run::run(&settings, &record, &text).await {
        Ok(()) => debug!(event = "hook.done", program, kind, sequence, "a hook is done"),
        Err(error) => {
            warn!(event = "hook.failed", program, kind, sequence, %error, "a hook failed");
        }
    }
}
