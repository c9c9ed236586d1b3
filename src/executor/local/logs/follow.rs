//! Reading what an agent writes, as it does: through rotations and restarts, each byte once.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::io::{read, retry_on_intr};

use super::dir::{Dir, Lock, Log};
use super::live::Live;
use super::names::{Part, Segment};
use crate::executor::local::pidfd::register;
use crate::executor::log_name;
use crate::plan::EntityId;

/// Reads one agent's log, on and on.
#[derive(Debug)]
pub struct Follower {
    dir: PathBuf,
    name: String,
    place: Place,
    /// How many of the bytes that are there at first are wanted, if not all.
    most: Option<u64>,
}

/// How far was read.
#[derive(Clone, Copy, Debug, Default)]
enum Place {
    /// There was nothing yet.
    #[default]
    Nowhere,
    /// In the file that was live then: its device and inode, and how much of it. All segments up to
    /// this one were read as well: they need not be of that file.
    Live((u64, u64), u64, Option<Segment>),
    /// To the end of this segment, after which there was no live log.
    After(Segment),
}

impl Follower {
    /// One that has read nothing yet.
    #[must_use]
    pub fn new(log_dir: &Path, entity: &EntityId) -> Self {
        Self { dir: log_dir.to_owned(), name: log_name(entity), place: Place::Nowhere, most: None }
    }

    /// One that begins with the last whole lines of at most so many bytes.
    #[must_use]
    pub fn of_end(log_dir: &Path, entity: &EntityId, most: u64) -> Self {
        Self { most: Some(most), ..Self::new(log_dir, entity) }
    }

    /// What is new since the last time; the first time all that is kept. What was dropped meanwhile,
    /// as `logs.keep` asks for, is missing.
    ///
    /// # Errors
    /// If the directory or a file in it cannot be read. That there is none yet is no error.
    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut new = Vec::new();
        // With the lock held nothing is cut off meanwhile.
        let dir = match Dir::lock(&self.dir, Lock::Read) {
            Ok(Some(dir)) => dir,
            Ok(None) => return Ok(new),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(new),
            Err(error) => return Err(error),
        };
        let log = dir.log(&self.name)?;
        let mut unread = self.unread(&dir, &log);
        let mut live = None;
        let found = Live::open(&dir, &self.name, &log, false)?;
        // One that nobody can tell yet is as none: the place must not be in what is not shown.
        if let Some(found) = found.filter(|found| !found.undecided) {
            let id = id(&found.file)?;
            let from = match self.place {
                // Somebody has emptied it.
                Place::Live(before, at, _) if before == id && at <= found.len => {
                    at.max(found.begin)
                }
                Place::Live(..) | Place::After(_) | Place::Nowhere => found.begin,
            };
            live = Some((found.file, id, from));
        }
        let mut left = self.most.take().unwrap_or(u64::MAX);
        let mut skipped = false;
        if let Some((file, _, from)) = &mut live {
            skipped |= skip(file, from, &mut left)?;
        }
        for (segment, from) in unread.iter_mut().rev() {
            skipped |= skip(&File::open(dir.path(&segment.name(&self.name)))?, from, &mut left)?;
        }
        for (segment, from) in unread {
            copy(&File::open(dir.path(&segment.name(&self.name)))?, from, &mut new)?;
        }
        self.place = match (live, log.segments.last()) {
            (Some((file, id, from)), _) => {
                let read = copy(&file, from, &mut new)?;
                Place::Live(id, from + read, log.segments.last().copied())
            }
            (None, Some(last)) => Place::After(*last),
            (None, None) => Place::Nowhere,
        };
        if skipped {
            let first = new.iter().position(|byte| *byte == b'\n').map_or(new.len(), |end| end + 1);
            new.drain(..first);
        }
        Ok(new)
    }

    /// The segments that were not read, in order, each with the place in it to read from.
    fn unread(&self, dir: &Dir, log: &Log) -> Vec<(Segment, u64)> {
        let all = log.segments.iter().map(|segment| (*segment, segment.begin()));
        let (id, at, last) = match self.place {
            Place::Nowhere => return all.collect(),
            Place::After(last) => return all.filter(|(segment, _)| *segment > last).collect(),
            Place::Live(id, at, last) => (id, at, last),
        };
        // What was live may be live still, or be put aside, or be gone with all that was copied of it.
        let read = log.segments.partition_point(|segment| Some(*segment) <= last);
        let segments = log.segments.get(read..).unwrap_or_default();
        let aside = segments.iter().position(|segment| self.is_of(dir, *segment, id));
        let (mine, rest) = segments.split_at(aside.unwrap_or(segments.len()));
        let retired = |segment: &Segment| matches!(segment.part, Part::Retired { .. });
        let first = mine.iter().rposition(retired).map_or(0, |last| last + 1);
        let copies = mine.get(first..).unwrap_or_default().iter();
        let mut unread: Vec<_> = copies
            .filter_map(|segment| match segment.part {
                Part::Copied { start, end } if end > at => {
                    Some((*segment, at.saturating_sub(start)))
                }
                Part::Copied { .. } | Part::Retired { .. } => None,
            })
            .collect();
        if let [aside, later @ ..] = rest {
            unread.push((*aside, at.max(aside.begin())));
            unread.extend(later.iter().map(|segment| (*segment, segment.begin())));
        }
        unread
    }

    /// Whether this segment is the file that was live once.
    fn is_of(&self, dir: &Dir, segment: Segment, id: (u64, u64)) -> bool {
        let is_retired = matches!(segment.part, Part::Retired { .. });
        let file = || File::open(dir.path(&segment.name(&self.name)));
        is_retired && file().and_then(|file| self::id(&file)).is_ok_and(|own| own == id)
    }
}

/// Moves the place to read from, so that no more follows than is left to be read. Tells whether that
/// skips anything.
fn skip(file: &File, from: &mut u64, left: &mut u64) -> io::Result<bool> {
    let size = file.metadata()?.len().saturating_sub(*from);
    let skipped = size.saturating_sub(*left);
    *from += skipped;
    *left -= size - skipped;
    Ok(skipped > 0)
}

fn id(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Adds what is there from this place on; tells how much that was.
fn copy(mut file: &File, from: u64, into: &mut Vec<u8>) -> io::Result<u64> {
    file.seek(SeekFrom::Start(from))?;
    Ok(file.read_to_end(into)? as u64)
}

/// Waits for writes to some logs.
#[derive(Debug)]
pub struct Writes {
    inotify: OwnedFd,
    dir: PathBuf,
    names: Vec<String>,
    /// The watches of logs, by their numbers.
    watched: HashMap<i32, String>,
}

impl Writes {
    /// Of the agents of these entities.
    ///
    /// # Errors
    /// If the system has no more watches.
    pub fn of<'e>(
        log_dir: &Path,
        entities: impl IntoIterator<Item = &'e EntityId>,
    ) -> io::Result<Self> {
        let inotify = init(CreateFlags::CLOEXEC)?;
        let appears = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        add_watch(&inotify, log_dir, appears)?;
        let names = entities.into_iter().map(log_name).collect();
        let mut writes = Self { inotify, dir: log_dir.to_owned(), names, watched: HashMap::new() };
        writes.watch()?;
        Ok(writes)
    }

    /// Watches the files that are there under these names now.
    fn watch(&mut self) -> io::Result<()> {
        for name in &self.names {
            match add_watch(&self.inotify, self.dir.join(name), WatchFlags::MODIFY) {
                Ok(watch) => {
                    self.watched.insert(watch, name.clone());
                }
                Err(rustix::io::Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// The same as [`wait`](Self::wait), in a task. May be dropped at any time.
    ///
    /// # Errors
    /// If the system does not tell any more.
    pub async fn written(&mut self) -> io::Result<()> {
        let inotify = register(self.inotify.try_clone()?)?;
        drop(inotify.readable().await?);
        self.wait()
    }

    /// Waits until something was written that was not there when this was called last, or made.
    ///
    /// # Errors
    /// If the system does not tell any more.
    pub fn wait(&mut self) -> io::Result<()> {
        let mut events = [0_u8; 4096];
        retry_on_intr(|| read(&self.inotify, &mut events))?;
        // Many writes are one: what else is told by now is told by the same reading.
        while retry_on_intr(|| {
            let mut more = [PollFd::new(&self.inotify, PollFlags::IN)];
            poll(&mut more, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }))
        })? > 0
        {
            retry_on_intr(|| read(&self.inotify, &mut events))?;
        }
        // One of them may be another file by now.
        self.watch()
    }
}
