//! One look at all logs: cuts off what is too much, drops what is too old, and tells when to look
//! again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::dir::{Dir, Lock, Log};
use super::retain::{self, Dropped};
use super::rotate::{Rotated, clean_up, rotate};
use super::{Policy, Settings};
use crate::executor::local::log_name::fnv1a;
use crate::plan::Time;

/// The least time between two looks, unless a log has more to cut off than one look does.
const SHORTEST: Duration = Duration::from_millis(250);

/// The most time between two looks while anybody writes. A log that has been growing slowly, and
/// grows faster of a sudden, is too long for this time at most.
pub(super) const LONGEST: Duration = Duration::from_secs(10);

/// About how many logs are listed together, where that need not be all: a list takes memory for
/// every log that there ever was.
const AT_ONCE: u64 = 256;

/// The smallest segment to which logs are cut so that all of them together fit.
const LEAST: u64 = 4 << 10;

/// What is known from one look to the next. Nothing is lost if it is: it saves work and words.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    /// The directories in which there may be live logs: agents keep the one they started with.
    dirs: Vec<PathBuf>,
    /// Those in which the leftovers of others were looked for.
    cleaned: HashSet<PathBuf>,
    /// Those that cannot be rotated in.
    at_restart: HashSet<PathBuf>,
    /// How long each live log was when nothing was left to do about it. Most may be of entities
    /// that are gone, and their number grows: so one more costs a few bytes, and nothing a look.
    lengths: HashMap<FileId, u64>,
    /// The one by which all logs were looked at.
    policy: Option<Policy>,
    looked_at: Option<Time>,
}

/// The device and the inode of a live log.
type FileId = (u64, u64);

/// What came of a look.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) dropped: Dropped,
    /// Logs for whose segments there was no room.
    pub(super) full: usize,
    /// Directories in which it was found that logs cannot be rotated.
    pub(super) at_restart: Vec<PathBuf>,
    /// What could not be done, and with which log.
    pub(super) failed: BTreeMap<PathBuf, String>,
    /// Whether a directory was not looked at, as others were at it.
    pub(super) skipped: bool,
    /// How many live logs there are.
    live: usize,
    /// Whether any log grew since the last look.
    grew: bool,
    /// The time until the first log will be too long, if they go on growing as they do.
    until_due: Option<Duration>,
    /// Whether there is more to cut off.
    more: bool,
}

/// When the next look is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// After this time.
    In(Duration),
    /// When somebody has written to a log since this look began, and not before this time.
    Stirred(Duration),
    /// When the settings have changed.
    Never,
}

impl Lookout {
    /// The directories that the next look is to look at: those in which there may be live logs.
    pub(super) fn follow(&mut self, settings: &Settings) -> &[PathBuf] {
        self.dirs.retain(|dir| *dir != settings.dir && dir.is_dir());
        // Something must be there to be watched. If it cannot be made, agents cannot start either,
        // and it is told of those.
        if fs::create_dir_all(&settings.dir).is_ok() {
            self.dirs.push(settings.dir.clone());
        }
        &self.dirs
    }

    /// Looks at all logs, unless it is to end. Blocks.
    pub(super) fn look(&mut self, settings: &Settings, now: Time, end: &AtomicBool) -> Found {
        self.follow(settings);
        let mut found = Found::default();
        let elapsed = self.looked_at.map(|at| now.since(at));
        for path in self.dirs.clone() {
            let mut look =
                Look { policy: &settings.policy, lookout: self, elapsed, found: &mut found };
            if let Err(error) = look.at(&path, end) {
                found.fail(path, &error);
            }
        }
        if self.lengths.len() > 2 * found.live {
            // Mostly of files that are gone. The others are looked at once more for that.
            self.lengths.clear();
        }
        if !found.skipped {
            self.policy = Some(settings.policy);
        }
        self.looked_at = Some(now);
        found
    }
}

impl Found {
    fn fail(&mut self, path: PathBuf, error: &io::Error) {
        self.failed.insert(path, error.to_string());
    }

    /// When to look again.
    pub(super) fn next(&self, policy: &Policy) -> Next {
        if self.more {
            return Next::In(Duration::ZERO);
        }
        if self.full > 0 || !self.failed.is_empty() {
            // Room may be made without anybody writing to a log.
            return Next::In(LONGEST);
        }
        match (policy.max_bytes.or(policy.max_total_bytes), self.grew) {
            (None, _) => Next::Never,
            (Some(_), false) => Next::Stirred(Duration::ZERO),
            (Some(_), true) => match self.until_due.filter(|due| *due < LONGEST) {
                Some(due) => Next::In(due.max(SHORTEST)),
                None => Next::Stirred(LONGEST),
            },
        }
    }
}

/// Which logs are listed together.
enum Wanted {
    All,
    /// One of so many parts.
    Part {
        part: u64,
        of: u64,
    },
    /// These.
    Written(HashSet<String>),
}

impl Wanted {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Part { part, of } => fnv1a(name.as_bytes()) % of == *part,
            Self::Written(names) => names.contains(name),
        }
    }
}

/// A look at one directory.
struct Look<'l> {
    policy: &'l Policy,
    lookout: &'l mut Lookout,
    elapsed: Option<Duration>,
    found: &'l mut Found,
}

impl Look<'_> {
    fn at(&mut self, path: &Path, end: &AtomicBool) -> io::Result<()> {
        let dir = match Dir::lock(path, Lock::TryChange) {
            Ok(Some(dir)) => dir,
            Ok(None) => {
                // Another runner looks after it at this moment, or somebody reads.
                (self.found.skipped, self.found.grew) = (true, true);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let first = self.lookout.cleaned.insert(path.to_owned());
        for wanted in self.wanted(&dir, first)? {
            let mut logs = dir.list(|name| wanted.has(name))?;
            let live = logs.values().filter(|log| log.live).count();
            if !matches!(wanted, Wanted::Written(_)) {
                self.found.live += live;
            }
            let max = max(self.policy, live);
            for (name, log) in &mut logs {
                if end.load(Ordering::Relaxed) {
                    return Ok(());
                }
                if let Err(error) = self.at_log(&dir, name, log, (first, max)) {
                    self.found.fail(dir.path(name), &error);
                }
            }
            if let Some(most) = self.policy.max_total_bytes {
                self.found.dropped += retain::bound(&dir, &mut logs, most)?;
            }
        }
        Ok(())
    }

    /// The logs about which there may be anything to do. These are all, at first, under another
    /// policy and where all together are bounded; else those that were written to.
    fn wanted(&mut self, dir: &Dir, first: bool) -> io::Result<Vec<Wanted>> {
        if self.policy.max_total_bytes.is_some() {
            return Ok(vec![Wanted::All]);
        }
        if first || self.lookout.policy != Some(*self.policy) {
            let of = self.lookout.lengths.len() as u64 / AT_ONCE + 1;
            return Ok((0..of).map(|part| Wanted::Part { part, of }).collect());
        }
        let mut written = HashSet::new();
        dir.each_live(|name, metadata| {
            self.found.live += 1;
            if self.lookout.lengths.get(&file_id(metadata)) != Some(&metadata.len()) {
                written.insert(name.to_owned());
            }
        })?;
        Ok(if written.is_empty() { Vec::new() } else { vec![Wanted::Written(written)] })
    }

    fn at_log(
        &mut self,
        dir: &Dir,
        name: &str,
        log: &mut Log,
        (first, max): (bool, Option<u64>),
    ) -> io::Result<()> {
        if first {
            clean_up(dir, name, log)?;
        }
        let mut done = None;
        if log.live {
            let metadata = dir.path(name).metadata()?;
            let (id, len) = (file_id(&metadata), metadata.len());
            let max = max.filter(|_| !self.lookout.at_restart.contains(dir.root()));
            let before = self.lookout.lengths.remove(&id);
            let is_done = match max.filter(|max| len - log.presumed_begin(len) > *max) {
                Some(max) => self.rotate(dir, name, log, max)?,
                None => true,
            };
            self.measure(before, len, len - log.presumed_begin(len), max);
            done = is_done.then_some((id, len));
        }
        self.found.dropped += retain::keep(dir, name, log, self.policy.keep)?;
        self.lookout.lengths.extend(done);
        Ok(())
    }

    /// Returns whether nothing is left to do.
    fn rotate(&mut self, dir: &Dir, name: &str, log: &mut Log, max: u64) -> io::Result<bool> {
        let mut rotated = rotate(dir, name, log, max)?;
        if rotated == Rotated::Full && log.segments.len() >= self.policy.keep {
            // The oldest would have to go for the new one: it makes room now, or nothing ever will.
            let fewer = self.policy.keep.saturating_sub(1);
            let dropped = retain::keep(dir, name, log, fewer)?;
            self.found.dropped += dropped;
            if dropped.count > 0 {
                rotated = rotate(dir, name, log, max)?;
            }
        }
        match rotated {
            Rotated::Done => {}
            Rotated::More => self.found.more = true,
            Rotated::Full => self.found.full += 1,
            Rotated::CannotPunch => {
                let path = dir.root().to_owned();
                if self.lookout.at_restart.insert(path.clone()) {
                    self.found.at_restart.push(path);
                }
            }
        }
        Ok(matches!(rotated, Rotated::Done | Rotated::CannotPunch))
    }

    /// Takes in how fast a log grows.
    fn measure(&mut self, before: Option<u64>, len: u64, data: u64, max: Option<u64>) {
        let Some(elapsed) = self.elapsed else { return };
        let grown = len.saturating_sub(before.unwrap_or(0));
        if grown == 0 {
            return;
        }
        self.found.grew = true;
        if let (Some(max), Some(_)) = (max, before) {
            let left = max.saturating_sub(data);
            let nanos = elapsed.as_nanos() * u128::from(left) / u128::from(grown);
            let due = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            let sooner = self.found.until_due.map_or(due, |other| other.min(due));
            self.found.until_due = Some(sooner);
        }
    }
}

fn file_id(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

/// How long each of so many live logs may be. Where all logs together are bounded, the live ones,
/// of which nothing is dropped, may have half of that.
fn max(policy: &Policy, live: usize) -> Option<u64> {
    let share = policy.max_total_bytes.map(|most| {
        let live = u64::try_from(live).unwrap_or(u64::MAX).max(1);
        (most / 2 / live).max(LEAST)
    });
    match (policy.max_bytes, share) {
        (Some(max), Some(share)) => Some(max.min(share)),
        (max, share) => max.or(share),
    }
}
