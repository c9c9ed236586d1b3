//! The task that keeps one project's environment as its files say.

use std::collections::BTreeSet;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, error, info};

use super::files::{Files, Fingerprint, Look};
use super::uv::{self, SyncError};

/// How long the files must stay the same: who writes one may write the next one after it.
const QUIET: Duration = Duration::from_millis(200);
/// From the first failure to the next attempt, if no file changes before.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// Each delay is twice the one before, up to this.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// One project.
pub(super) struct Project {
    dir: PathBuf,
    uv: PathBuf,
    files: Arc<Mutex<Files>>,
    changed: Arc<Notify>,
    synced: Arc<watch::Sender<BTreeSet<PathBuf>>>,
    slots: Arc<Semaphore>,
    last: Last,
    /// Whether any sync succeeded.
    made: bool,
}

/// What came of the last sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Never,
    /// The environment is as these files say.
    Synced(Fingerprint),
    /// With these files it failed.
    Failed {
        print: Fingerprint,
        again: Instant,
        delay: Duration,
    },
}

impl Project {
    pub(super) fn new(
        (uv, dir): (PathBuf, PathBuf),
        synced: Arc<watch::Sender<BTreeSet<PathBuf>>>,
        slots: Arc<Semaphore>,
    ) -> Self {
        let changed = Arc::new(Notify::new());
        let files = Arc::new(Mutex::new(Files::new(&dir, Arc::clone(&changed))));
        Self { dir, uv, files, changed, synced, slots, last: Last::Never, made: false }
    }

    /// Never ends.
    pub(super) async fn keep(mut self) {
        let mut look = self.look().await;
        loop {
            let due = self.due(&look);
            let timer = async {
                match due {
                    Some((at, why)) => {
                        sleep_until(at).await;
                        why
                    }
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                why = timer => self.sync(look.print, why).await,
                () = self.changed.notified() => {}
            }
            look = self.settle().await;
        }
    }

    /// When a sync is due, and why; none: when a file changes.
    fn due(&self, look: &Look) -> Option<(Instant, &'static str)> {
        match self.last {
            Last::Never => Some((Instant::now(), "it was not synced since the runner started")),
            Last::Synced(print) if print != look.print => {
                Some((Instant::now(), "its files changed"))
            }
            Last::Synced(_) if !look.python => Some((Instant::now(), "its environment is gone")),
            Last::Synced(_) => None,
            Last::Failed { print, again, .. } if print == look.print => {
                Some((again, "the last attempt failed"))
            }
            Last::Failed { .. } => Some((Instant::now(), "its files changed")),
        }
    }

    async fn sync(&mut self, print: Fingerprint, why: &str) {
        // Its semaphore is never closed.
        let slots = Arc::clone(&self.slots);
        let _slot = slots.acquire().await;
        let delay = match self.last {
            Last::Failed { print: before, delay, .. } if before == print => Some(delay),
            Last::Never | Last::Synced(_) | Last::Failed { .. } => None,
        };
        // What failed before is not told again.
        let again = delay.is_some();
        let project = self.dir.display();
        // uv changes the environment in place: nobody is to be started in the middle of that.
        publish(&self.synced, &self.dir, false);
        if again {
            debug!(event = "project.syncing", %project, reason = why, "uv sync, again");
        } else {
            info!(event = "project.syncing", %project, reason = why, "uv sync; agents to be started here wait");
        }
        let began = Instant::now();
        let outcome = if print.is_project() {
            uv::sync(&self.uv, &self.dir).await
        } else {
            Err(SyncError::NoProject { dir: self.dir.clone() })
        };
        let took_ms = millis(began.elapsed());
        match outcome {
            Ok(last_line) => {
                info!(event = "project.synced", %project, took_ms, uv = last_line, "the environment is ready");
                self.made = true;
                self.last = Last::Synced(print);
                publish(&self.synced, &self.dir, true);
            }
            Err(error) => {
                let delay = delay.map_or(FIRST_DELAY, |delay| (delay * 2).min(LONGEST_DELAY));
                let retry_ms = millis(delay);
                if again {
                    debug!(event = "project.sync_failed", %project, took_ms, retry_ms, "{error}");
                } else {
                    error!(event = "project.sync_failed", %project, took_ms, retry_ms, "{error}");
                }
                self.last = Last::Failed { print, again: Instant::now() + delay, delay };
                // uv resolves, downloads and builds before it touches what is installed.
                let usable = self.made && self.look().await.python;
                publish(&self.synced, &self.dir, usable);
            }
        }
    }

    /// What there is once it has stayed the same.
    async fn settle(&self) -> Look {
        let mut last = self.look().await;
        loop {
            sleep(QUIET).await;
            let now = self.look().await;
            if now == last {
                return now;
            }
            last = now;
        }
    }

    async fn look(&self) -> Look {
        let files = Arc::clone(&self.files);
        let look = move || files.lock().unwrap_or_else(PoisonError::into_inner).look();
        match spawn_blocking(look).await {
            Ok(look) => look,
            // The runtime ends.
            Err(_) => pending().await,
        }
    }
}

/// Tells whether the project's environment is ready.
pub(super) fn publish(synced: &watch::Sender<BTreeSet<PathBuf>>, dir: &Path, is: bool) {
    synced.send_if_modified(
        |synced| {
            if is { synced.insert(dir.to_owned()) } else { synced.remove(dir) }
        },
    );
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
