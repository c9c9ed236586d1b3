//! Watching the file: one [`Reload`] for every change of its content, and none for anything else.
//!
//! ```text
//! event · timer ──► look (stat) ──changed──► settle (two equal reads) ──► Reload
//! reload_now ────────────────────────────────────────────────────────────┘
//! ```
//!
//! An event says only that it is time to look. A file that is being written is often valid TOML
//! already, so nothing is believed before it has been the same for a while, unless somebody says
//! that it is complete.

mod look;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as wakes;
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use self::look::{Content, Look};
use super::{Config, Mistakes, Overrides, load, parse};
use crate::files::{Places, Stamp};

/// What became of a change of the file.
#[derive(Debug)]
pub enum Reload {
    /// The file is right: this holds from now on.
    Applied(Arc<Config>),
    /// The file is wrong: what held before still holds.
    Rejected(Mistakes),
    /// The file is gone or cannot be read: what held before still holds.
    Unreadable(io::Error),
}

/// A file under watch, until this is dropped.
#[derive(Debug)]
pub struct Watch {
    /// One for every change.
    pub reloads: mpsc::Receiver<Reload>,
    /// Has the file read at once.
    pub reloader: Reloader,
}

/// Has the file read at once, as SIGHUP asks for.
#[derive(Clone, Debug)]
pub struct Reloader {
    asked: Arc<AtomicBool>,
    wake: wakes::SyncSender<()>,
    thread: Arc<OnceLock<Thread>>,
}

impl Reloader {
    /// Has the file read now, and the outcome reported even if nothing has changed. Who asks for
    /// it has written all of it; only an empty file is still waited for.
    pub fn reload_now(&self) {
        self.asked.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn was_asked(&self) -> bool {
        self.asked.swap(false, Ordering::SeqCst)
    }

    /// A wake-up that is waiting already does for this one as well.
    fn wake(&self) {
        let _ = self.wake.try_send(());
    }
}

/// How often the file is looked at without any event: an overflow of the queue loses them.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long the file must stay the same. Twice the longest pause of a writer that we wait for.
const QUIET: Duration = Duration::from_millis(200);
/// How long the file must stay empty or missing: programs that save a file begin by that.
const QUIET_WITHOUT_CONTENT: Duration = Duration::from_secs(1);
/// After this, the content alone must stay the same, and the file may be touched all the time.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bounds what a directory costs in which something else is written all the time.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Watches the file from here on. `loaded` is what it held when it was last read: what has changed
/// since is reported first.
pub fn watch(path: &Path, overrides: Overrides, loaded: Vec<u8>) -> io::Result<Watch> {
    let (wake, woken) = wakes::sync_channel(1);
    let (report, reloads) = mpsc::channel(1);
    let reloader = Reloader { asked: Arc::default(), wake, thread: Arc::default() };
    let seconds = LOOK_EVERY.as_secs();
    let unheard = format!("the configuration file; it is looked at every {seconds} s instead");
    let woken_by_file = reloader.clone();
    let watcher = Watcher {
        path: path.to_owned(),
        overrides,
        reloader: reloader.clone(),
        places: Places::new(move || woken_by_file.wake(), unheard),
        stamp: None,
        content: Content::Bytes(loaded),
        report,
    };
    // A thread of its own: a file system that hangs must not hold up anything else.
    let watching = thread::Builder::new()
        .name("config-watch".to_owned())
        .spawn(move || watcher.run(&woken))?;
    let _ = reloader.thread.set(watching.thread().clone());
    Ok(Watch { reloads, reloader })
}

struct Watcher {
    path: PathBuf,
    overrides: Overrides,
    /// Kept here as well, so that the wait for a wake-up never ends for want of a sender.
    reloader: Reloader,
    places: Places,
    /// The file as it was when it was last read.
    stamp: Option<Stamp>,
    content: Content,
    report: mpsc::Sender<Reload>,
}

impl Watcher {
    fn run(mut self, woken: &wakes::Receiver<()>) {
        let mut woken_by_event = false;
        loop {
            // First the places, then the file: a change in between makes an event.
            self.places.follow([self.path.as_path()]);
            let asked = self.reloader.was_asked();
            let unchanged = self.stamp == Some(Stamp::of(&self.path));
            if asked || !unchanged {
                let Some((settled, asked)) = self.settle(asked) else { return };
                if self.take(settled, asked).is_err() {
                    return;
                }
            } else if woken_by_event {
                self.pause(BETWEEN_LOOKS);
            }
            woken_by_event = woken.recv_timeout(LOOK_EVERY).is_ok();
            if self.report.is_closed() {
                return;
            }
        }
    }

    /// The file once it has stayed the same, or somebody has asked for it, and whether that was so;
    /// nothing if nobody waits for it any more.
    fn settle(&self, mut asked: bool) -> Option<(Look, bool)> {
        let started = Instant::now();
        let mut last = Look::at(&self.path);
        let mut since = started;
        loop {
            if asked && has_content(&last) {
                return Some((last, asked));
            }
            self.pause(QUIET);
            asked |= self.reloader.was_asked();
            let now = Look::at(&self.path);
            let untouched = now.stamp == last.stamp || started.elapsed() > PATIENCE;
            if !untouched || now.content() != last.content() {
                since = Instant::now();
            } else if since.elapsed() >= quiet_for(&now) {
                return Some((now, asked));
            }
            last = now;
            if self.report.is_closed() {
                return None;
            }
        }
    }

    /// Sleeps, until somebody asks for the file at the longest.
    fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.reloader.asked.load(Ordering::SeqCst) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    /// Reports the settled file, if it is news.
    fn take(&mut self, settled: Look, asked: bool) -> Result<(), mpsc::error::SendError<Reload>> {
        let content = settled.content();
        self.stamp = Some(settled.stamp);
        if !asked && content == self.content {
            return Ok(());
        }
        self.content = content;
        let reload = match settled.read {
            Err(error) => Reload::Unreadable(error),
            Ok(bytes) => {
                let parsed = load::decode(&self.path, &bytes, |name, text| {
                    parse(name, text, &self.overrides)
                });
                parsed.map_or_else(Reload::Rejected, |config| Reload::Applied(Arc::new(config)))
            }
        };
        self.report.blocking_send(reload)
    }
}

fn quiet_for(look: &Look) -> Duration {
    if has_content(look) { QUIET } else { QUIET_WITHOUT_CONTENT }
}

fn has_content(look: &Look) -> bool {
    look.read.as_ref().is_ok_and(|bytes| !bytes.trim_ascii().is_empty())
}
