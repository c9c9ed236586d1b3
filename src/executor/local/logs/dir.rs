//! A log directory, locked, and what is in it.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};

use super::fault::{self, Point};
use super::names::{Name, Part, Segment};

/// A log directory that nobody else changes meanwhile, but for the ends of live logs.
///
/// The lock is the directory's own, and ends with the process. Two runners may share a directory.
#[derive(Debug)]
pub(super) struct Dir {
    path: PathBuf,
    handle: File,
}

/// What a directory has of one agent's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) live: bool,
    /// Whether somebody died while copying a segment.
    pub(super) copy: bool,
    /// In order.
    pub(super) segments: Vec<Segment>,
}

/// What a directory is locked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    /// To read. Waits for those who change.
    Read,
    /// To change. Waits for all others.
    Change,
    /// To change. Does not wait.
    TryChange,
}

impl Dir {
    /// Locks a directory; nothing if others have it, and are not waited for.
    pub(super) fn lock(path: &Path, lock: Lock) -> io::Result<Option<Self>> {
        let handle = File::open(path)?;
        let operation = match lock {
            Lock::Read => FlockOperation::LockShared,
            Lock::Change => FlockOperation::LockExclusive,
            Lock::TryChange => FlockOperation::NonBlockingLockExclusive,
        };
        match retry_on_intr(|| flock(&handle, operation)) {
            Err(Errno::WOULDBLOCK) => Ok(None),
            // A file system without locks is used by one runner at a time, or not at all.
            Ok(()) | Err(_) => Ok(Some(Self { path: path.to_owned(), handle })),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.path
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The handle, to ask about its file system.
    pub(super) fn handle(&self) -> &File {
        &self.handle
    }

    /// Those of the logs that are wanted, by the names of their live files.
    pub(super) fn list(&self, wanted: impl Fn(&str) -> bool) -> io::Result<BTreeMap<String, Log>> {
        let mut logs: BTreeMap<String, Log> = BTreeMap::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            // What is a link or a pipe was made so by somebody who wants something else with it.
            let Some(name) = name.to_str().and_then(Name::parse) else { continue };
            if !wanted(name.live()) || !entry.file_type()?.is_file() {
                continue;
            }
            match name {
                Name::Live(live) => logs.entry(live.to_owned()).or_default().live = true,
                Name::Copy(live) => logs.entry(live.to_owned()).or_default().copy = true,
                Name::Segment(live, segment) => {
                    logs.entry(live.to_owned()).or_default().segments.push(segment);
                }
            }
        }
        for log in logs.values_mut() {
            log.segments.sort_unstable();
        }
        Ok(logs)
    }

    /// Shows each live log, and keeps nothing of it.
    pub(super) fn each_live(&self, mut see: impl FnMut(&str, &Metadata)) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(Name::Live(name)) = name.to_str().and_then(Name::parse) else { continue };
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => see(name, &metadata),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The log of one agent.
    pub(super) fn log(&self, live: &str) -> io::Result<Log> {
        Ok(self.list(|name| name == live)?.remove(live).unwrap_or_default())
    }

    /// Makes names last that were given.
    pub(super) fn sync(&self) -> io::Result<()> {
        fault::before(Point::SyncDir)?;
        self.handle.sync_all()
    }

    /// Gives a file another name.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fault::before(Point::Rename)?;
        fs::rename(self.path(from), self.path(to))
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        fault::before(Point::Remove)?;
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

impl Log {
    /// The number of the segment that comes next.
    ///
    /// # Errors
    /// If there is none: a segment by the same name would be lost.
    pub(super) fn next(&self) -> io::Result<u64> {
        let Some(last) = self.segments.last() else { return Ok(1) };
        let none = || io::Error::other(format!("no segment can follow `….log.{last}`: remove it"));
        last.number.checked_add(1).ok_or_else(none)
    }

    /// Where the data of a live log of this length begin, if all is as it should be.
    pub(super) fn presumed_begin(&self, len: u64) -> u64 {
        match self.segments.last().map(|segment| segment.part) {
            Some(Part::Copied { end, .. }) if end <= len => end,
            Some(Part::Copied { .. } | Part::Retired { .. }) | None => 0,
        }
    }
}
