//! The task that looks after all logs: when to look, and what people are told of it.
//!
//! ```text
//!            a log was written to (one event)
//!   quiet ────────────────────────────────────► busy ──┐ a look, at the latest when the log that
//!     ▲                                           │ ▲  │ grows fastest is as long as it may be
//!     └─────── none was since the last look ──────┘ └──┘
//! ```

use std::collections::BTreeMap;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::Policy;
use super::look::{Found, LONGEST, Lookout, Next};
use super::stir::Stir;
use crate::clock::Clock;

/// From the first write after a quiet time to a look: long enough to see how fast logs grow.
const WARM_UP: Duration = Duration::from_secs(1);

/// Where the logs are, and how much of them is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The log directory.
    pub dir: PathBuf,
    /// How much is kept.
    pub policy: Policy,
}

/// What is odd about the logs at the moment, and what was dropped since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Logs that are not rotated for want of room.
    pub full: usize,
    /// Whether there are logs that are rotated at a restart only, as their file system cannot
    /// punch holes.
    pub at_restart: bool,
    /// Segments that were dropped.
    pub dropped: u64,
    /// The bytes in them.
    pub dropped_bytes: u64,
}

/// Looks after the logs of all agents. All work with files is done on blocking threads.
#[derive(Debug)]
pub struct Rotator {
    settings: watch::Receiver<Settings>,
    clock: Clock,
    status: watch::Sender<Status>,
    failed: BTreeMap<PathBuf, String>,
}

impl Rotator {
    /// A rotator that has not begun.
    #[must_use]
    pub fn new(settings: watch::Receiver<Settings>, clock: Clock) -> Self {
        let (status, _) = watch::channel(Status::default());
        Self { settings, clock, status, failed: BTreeMap::new() }
    }

    /// What there is to tell, as it changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Looks after the logs until it is dropped.
    pub async fn run(mut self) {
        let stir = Stir::new().map(Arc::new);
        if let Err(error) = &stir {
            warn!(event = "logs.unwatched", %error, "cannot be told of writes to logs; looking often");
        }
        let end = EndOnDrop::default();
        let mut lookout = Lookout::default();
        loop {
            let settings = self.settings.borrow_and_update().clone();
            let (now, ended, policy) = (self.clock.now(), Arc::clone(&end.0), settings.policy);
            let watch = stir.as_ref().ok().cloned();
            let looking = spawn_blocking(move || {
                // First the watch, then the look: a write in between makes another look.
                let dirs = lookout.follow(&settings);
                let watched = watch.filter(|stir| stir.arm(dirs).is_ok());
                let found = lookout.look(&settings, now, &ended);
                (lookout, found, watched)
            });
            let (found, watched);
            (lookout, found, watched) = match looking.await {
                Ok(looked) => looked,
                Err(error) => {
                    error!(event = "logs.rotation_failed", %error, "logs are not rotated any more");
                    return pending().await;
                }
            };
            self.report(&found);
            let next = found.next(&policy);
            self.changed_or(until_next(next, watched.as_deref())).await;
        }
    }

    /// Waits, until the settings change at the longest.
    async fn changed_or(&mut self, other: impl Future<Output = ()>) {
        tokio::select! {
            () = other => {}
            Ok(()) = self.settings.changed() => {}
        }
    }

    fn report(&mut self, found: &Found) {
        let dropped = found.dropped;
        if dropped.count > 0 {
            warn!(
                event = "logs.dropped",
                count = dropped.count,
                bytes = dropped.bytes,
                "the oldest of what agents wrote was dropped, as the configuration asks for"
            );
        }
        for dir in &found.at_restart {
            warn!(
                event = "logs.rotation_at_restart",
                dir = %dir.display(),
                "this file system cannot punch holes: a log is rotated when its agent is restarted"
            );
        }
        let before = *self.status.borrow();
        match (before.full, found.full) {
            _ if found.skipped => {}
            (0, 1..) => warn!(
                event = "logs.disk_full",
                logs = found.full,
                "no room to rotate logs; they grow until there is"
            ),
            (1.., 0) => info!(event = "logs.disk_room", "there is room to rotate logs again"),
            (0, 0) | (1.., 1..) => {}
        }
        for (path, error) in &found.failed {
            if self.failed.get(path) != Some(error) {
                let path = path.display();
                warn!(event = "logs.rotation_failed", %path, %error, "logs not looked after");
            }
        }
        self.failed.clone_from(&found.failed);
        let now = Status {
            full: if found.skipped { before.full } else { found.full },
            at_restart: before.at_restart || !found.at_restart.is_empty(),
            dropped: before.dropped + dropped.count,
            dropped_bytes: before.dropped_bytes + dropped.bytes,
        };
        self.status.send_if_modified(|status| std::mem::replace(status, now) != now);
    }
}

/// Waits until another look is due. Without a watch there is one every ten seconds.
async fn until_next(next: Next, watched: Option<&Stir>) {
    match (next, watched) {
        (Next::Never, _) => pending().await,
        (Next::In(time), _) => sleep(time).await,
        (Next::Stirred(not_before), Some(stir)) => {
            sleep(not_before.saturating_sub(WARM_UP)).await;
            if stir.stirred().await.is_err() {
                sleep(LONGEST).await;
            }
            sleep(WARM_UP).await;
        }
        (Next::Stirred(_), None) => sleep(LONGEST).await,
    }
}

/// Ends a look that is under way, so that the runner need not wait for all of it.
#[derive(Debug, Default)]
struct EndOnDrop(Arc<AtomicBool>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
