//! Real files.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use rustix::io::Errno;
use tempfile::TempDir;

use super::dir::{Dir, Lock, Log};
use super::fault::{self, Point};
use super::look::{Found, Lookout};
use super::*;
use crate::plan::{EntityId, Time};

mod follow;
mod header;
mod look;
mod model;
mod mounts;
mod names;
mod rotator;

const FOREVER: Policy = Policy { max_bytes: None, keep: usize::MAX, max_total_bytes: None };

fn at_most(max: u64) -> Policy {
    Policy { max_bytes: Some(max), ..FOREVER }
}

/// A log directory, and everything that was written to the log in it.
struct Rig {
    _temp: Option<TempDir>,
    dir: PathBuf,
    writer: Option<File>,
    written: Vec<u8>,
}

impl Rig {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        Self { dir: temp.path().to_owned(), _temp: Some(temp), writer: None, written: Vec::new() }
    }

    /// Where nothing waits for a disk, if there is such a place.
    fn in_memory() -> Self {
        match tempfile::tempdir_in("/dev/shm") {
            Ok(temp) => {
                let dir = temp.path().to_owned();
                Self { _temp: Some(temp), ..Self::at(&dir) }
            }
            Err(_) => Self::new(),
        }
    }

    fn at(dir: &Path) -> Self {
        Self { _temp: None, dir: dir.to_owned(), writer: None, written: Vec::new() }
    }

    /// A new agent opens the log.
    fn start(&mut self, policy: &Policy) {
        self.writer = Some(open(&self.dir, NAME, policy).unwrap().file);
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.writer.is_none() {
            self.start(&FOREVER);
        }
        self.writer.as_ref().unwrap().write_all(bytes).unwrap();
        self.written.extend_from_slice(bytes);
    }

    fn write_lines(&mut self, count: usize) {
        for _ in 0..count {
            self.write(format!("line at {}\n", self.written.len()).as_bytes());
        }
    }

    /// A look by somebody who has just started, at a directory at which nobody else is. Other tests
    /// of this process fork, and until it runs a program a fork has the locks of all of them.
    fn look(&self, policy: &Policy) -> Found {
        loop {
            let found = self.look_once(policy);
            if !found.skipped {
                return found;
            }
            std::thread::yield_now();
        }
    }

    fn look_once(&self, policy: &Policy) -> Found {
        let settings = Settings { dir: self.dir.clone(), policy: *policy };
        Lookout::default().look(&settings, Time::default(), &AtomicBool::new(false))
    }

    fn joined(&self) -> Vec<u8> {
        joined(&self.dir, &EntityId::new("x").unwrap()).unwrap()
    }

    fn log(&self) -> Log {
        Dir::lock(&self.dir, Lock::Read).unwrap().unwrap().log(NAME).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The sizes of all files, by name.
    fn files(&self) -> BTreeMap<String, u64> {
        let file = |entry: io::Result<fs::DirEntry>| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())
        };
        fs::read_dir(&self.dir).unwrap().map(file).collect()
    }

    /// The names of all files but the live log.
    fn others(&self) -> Vec<String> {
        self.files().into_keys().filter(|name| name != NAME).collect()
    }

    #[track_caller]
    fn nothing_is_lost(&self) {
        let joined = self.joined();
        let common = joined.iter().zip(&self.written).take_while(|(a, b)| a == b).count();
        let lens = (joined.len(), self.written.len());
        assert!(joined == self.written, "differs at {common} of {lens:?}: {:?}", self.files());
    }
}

const NAME: &str = "agent-x.log";

/// The process dies before the change of this number, counted from 0.
fn dying_at(step: usize) -> impl FnMut(Point) -> io::Result<()> {
    let mut left = step;
    let mut dead = false;
    move |_| {
        dead |= left == 0;
        left = left.saturating_sub(1);
        if dead { Err(io::Error::other("died here")) } else { Ok(()) }
    }
}

/// The system refuses this.
fn refusing(refused: Point, errno: Errno) -> impl FnMut(Point) -> io::Result<()> {
    move |point| if point == refused { Err(errno.into()) } else { Ok(()) }
}
