//! What happened, for who asks later: every line of the log that has a stable name, kept on disk
//! across restarts of the runner, and passed on to who watches.
//!
//! ```text
//! tracing ──layer──► waiting ──flush──► store (a file, bounded) ──► read
//!                                 └───► broadcast ──► watchers
//! ```
//!
//! The loop flushes before it does what follows from what happened, so that who looks after its
//! death sees why it did what it did; what happens elsewhere is flushed by a thread, soon after.
//!
//! There is one source of what happened and why, and it is the log: what is told to people there is
//! what is kept here.

mod kinds;
mod layer;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

pub use kinds::KINDS;
pub use layer::Recorder;
use store::Store;
pub use store::read;

/// How many events a watcher may be behind, before it misses some.
const BEHIND: usize = 1024;

/// What happens within this time is written together, if nobody flushes before.
const TOGETHER: Duration = Duration::from_millis(10);

/// One thing that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its place in the order in which things happened, across restarts of the runner.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// Its stable name.
    pub kind: String,
    /// The entity that it is about, if it is about one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub entity: String,
    /// It, in words.
    pub message: String,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// All else that was said of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

/// What happened and is not kept yet.
#[derive(Debug, Default)]
struct Waiting {
    records: Mutex<Vec<Record>>,
    /// Told of the first one.
    some: Condvar,
}

impl Waiting {
    fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, record: Record) {
        let mut records = self.records();
        records.push(record);
        if records.len() == 1 {
            self.some.notify_one();
        }
    }

    fn wait(&self) {
        let is_empty = |records: &mut Vec<Record>| records.is_empty();
        let some = self.some.wait_while(self.records(), is_empty);
        drop(some.unwrap_or_else(PoisonError::into_inner));
    }
}

/// What keeps events.
#[derive(Clone, Debug)]
pub struct Events {
    waiting: Arc<Waiting>,
    keeper: Arc<Mutex<Keeper>>,
    happened: broadcast::Sender<Arc<Record>>,
}

#[derive(Debug)]
struct Keeper {
    store: Store,
    max_bytes: u64,
}

impl Events {
    /// Keeps what this recorder records in this directory, in at most `max_bytes`.
    ///
    /// # Errors
    /// If no thread can be had. A disk that is full costs events, and says so.
    pub fn keep(recorder: &Recorder, dir: &Path, max_bytes: u64) -> io::Result<Self> {
        let (happened, _) = broadcast::channel(BEHIND);
        let keeper = Keeper { store: Store::open(dir), max_bytes };
        let keeper = Arc::new(Mutex::new(keeper));
        let events = Self { waiting: recorder.waiting(), keeper, happened };
        let keeping = events.clone();
        thread::Builder::new().name("events".to_owned()).spawn(move || {
            loop {
                keeping.waiting.wait();
                // Much happens at once, and mostly the loop has flushed by then.
                thread::sleep(TOGETHER);
                keeping.flush();
            }
        })?;
        Ok(events)
    }

    /// Keeps at most so many bytes from now on.
    pub fn bound(&self, max_bytes: u64) {
        self.keeper().max_bytes = max_bytes;
    }

    /// What happens from now on.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Arc<Record>> {
        self.happened.subscribe()
    }

    /// Returns when all that happened before is kept. Blocks for the time of a write.
    pub fn flush(&self) {
        let mut keeper = self.keeper();
        let mut records = mem::take(&mut *self.waiting.records());
        for record in &mut records {
            keeper.store.number(record);
        }
        let max_bytes = keeper.max_bytes;
        keeper.store.append(&records, max_bytes);
        for record in records {
            // Nobody may watch.
            let _ = self.happened.send(Arc::new(record));
        }
    }

    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
