//! What happened, for who asks later: every line of the log that has a stable name, kept on disk
//! across restarts of the runner, and passed on to who watches.
//!
//! ```text
//! tracing ──layer──► queue ──thread──► store (a file, bounded) ──► read
//!                                └───► broadcast ──► watchers
//! ```
//!
//! There is one source of what happened and why, and it is the log: what is told to people there is
//! what is kept here.

mod layer;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

pub use layer::Recorder;
use store::Store;
pub use store::read;

/// How many events a watcher may be behind, before it misses some.
const BEHIND: usize = 1024;

/// What happens within this time is written together.
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

enum Told {
    Happened(Record),
    /// To be told when all before it is kept.
    Flush(SyncSender<()>),
}

/// Takes in what happens until it is known where that is to be kept.
#[derive(Debug)]
pub struct Inlet(Receiver<Told>);

/// A recorder for the log, and the other end of it.
#[must_use]
pub fn channel_of_events() -> (Recorder, Inlet) {
    let (sender, receiver) = channel();
    (Recorder::new(sender), Inlet(receiver))
}

/// What keeps events.
#[derive(Clone, Debug)]
pub struct Events {
    sender: Sender<Told>,
    happened: broadcast::Sender<Arc<Record>>,
    bound: Arc<Mutex<u64>>,
}

impl Events {
    /// Keeps events in this directory, in at most `max_bytes`.
    ///
    /// # Errors
    /// If no thread can be had. A disk that is full costs events, and says so.
    pub fn keep(recorder: &Recorder, inlet: Inlet, dir: &Path, max_bytes: u64) -> io::Result<Self> {
        let (happened, _) = broadcast::channel(BEHIND);
        let bound = Arc::new(Mutex::new(max_bytes));
        let events = Self { sender: recorder.sender(), happened, bound };
        let (bound, happened) = (Arc::clone(&events.bound), events.happened.clone());
        let mut store = Store::open(dir);
        thread::Builder::new().name("events".to_owned()).spawn(move || {
            let mut waiting = Vec::new();
            while let Ok(first) = inlet.0.recv() {
                // Much happens at once, and a thread that sleeps need not be woken for each of it.
                if matches!(first, Told::Happened(_)) {
                    thread::sleep(TOGETHER);
                }
                let mut flushed = Vec::new();
                for told in std::iter::once(first).chain(inlet.0.try_iter()) {
                    match told {
                        Told::Happened(record) => waiting.push(store.number(record)),
                        Told::Flush(done) => flushed.push(done),
                    }
                }
                let max_bytes = *bound.lock().unwrap_or_else(PoisonError::into_inner);
                store.append(&waiting, max_bytes);
                for record in waiting.drain(..) {
                    // Nobody may watch.
                    let _ = happened.send(Arc::new(record));
                }
                for done in flushed {
                    let _ = done.send(());
                }
            }
        })?;
        Ok(events)
    }

    /// Keeps at most so many bytes from now on.
    pub fn bound(&self, max_bytes: u64) {
        *self.bound.lock().unwrap_or_else(PoisonError::into_inner) = max_bytes;
    }

    /// What happens from now on.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Arc<Record>> {
        self.happened.subscribe()
    }

    /// Returns when all that happened before is kept. Blocks for the time of a write.
    pub fn flush(&self) {
        let (done, kept) = sync_channel(1);
        if self.sender.send(Told::Flush(done)).is_ok() {
            let _ = kept.recv();
        }
    }
}
