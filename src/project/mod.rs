//! Python projects: one `uv sync` for each, so that agents are started by the Python of their
//! project, without a uv process for each of them.
//!
//! ```text
//! wanted (watch) ──► Syncer ──one task a project──► look ──changed──► settle ──► uv sync
//!                                                     ▲                             │
//!                    synced (watch) ◄─────────────────┴──── ready · failed, again ──┘
//! ```
//!
//! A file's event says only that it is time to look. Knows nothing of agents.

mod files;
mod keep;
#[cfg(test)]
mod tests;
mod uv;

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};

use keep::Project;

/// How many projects are synced at one time. uv itself uses all cores.
const AT_ONCE: usize = 2;

/// The directories of projects.
pub type Dirs = BTreeSet<PathBuf>;

/// Keeps the environments of projects as their files say, as long as it runs.
#[derive(Debug)]
pub struct Syncer {
    wanted: watch::Receiver<Dirs>,
    /// The program; looked for in PATH.
    uv: PathBuf,
    synced: Arc<watch::Sender<Dirs>>,
    slots: Arc<Semaphore>,
}

impl Syncer {
    /// For the projects in these directories, which must be absolute. Nothing is done before
    /// [`run`](Self::run).
    #[must_use]
    pub fn new(wanted: watch::Receiver<Dirs>) -> Self {
        let synced = Arc::new(watch::Sender::default());
        Self { wanted, uv: "uv".into(), synced, slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The projects whose environment is ready.
    #[must_use]
    pub fn ready(&self) -> watch::Receiver<Dirs> {
        self.synced.subscribe()
    }

    /// Never ends. If it is dropped, what it started is killed.
    pub async fn run(mut self) {
        let mut tasks = JoinSet::new();
        let mut kept: BTreeMap<PathBuf, AbortHandle> = BTreeMap::new();
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            kept.retain(|dir, task| {
                let stays = wanted.contains(dir);
                if !stays {
                    task.abort();
                    keep::publish(&self.synced, dir, false);
                }
                stays
            });
            for dir in wanted {
                let (uv, synced, slots) = (&self.uv, &self.synced, &self.slots);
                kept.entry(dir).or_insert_with_key(|dir| {
                    let what = (uv.clone(), dir.clone());
                    tasks.spawn(Project::new(what, Arc::clone(synced), Arc::clone(slots)).keep())
                });
            }
            if self.wanted.changed().await.is_err() {
                pending::<()>().await;
            }
        }
    }
}
