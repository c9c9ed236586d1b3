//! Opening a log for the agent that is about to start, which no process of the one before outlived.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::Policy;
use super::dir::{Dir, Lock};
use super::header::header_line;
use super::live::{Live, can_punch};
use super::names::{Part, Segment};
use crate::clock;
use crate::executor::SpawnRequest;
use crate::files::trust::no_link;

/// A live log is as long as all that was ever written to it, though most of that is a hole. File
/// systems end at 16 TiB (ext4) or beyond; a log this long is not continued after a start.
const LONGEST: u64 = 1 << 40;

/// A log, open for an agent to write to.
#[derive(Debug)]
pub(in crate::executor::local) struct Opened {
    pub(super) file: File,
    /// Whether the last line lacks its end.
    mid_line: bool,
}

/// Opens the log `name` in `dir`, appended to; both are made if they are not there.
pub(in crate::executor::local) fn open(
    dir: &Path,
    name: &str,
    policy: &Policy,
) -> io::Result<Opened> {
    let path = dir.join(name);
    // Where an agent of another user could write, it could put a link in the place of its log.
    let append =
        || OpenOptions::new().append(true).create(true).custom_flags(no_link()).open(&path);
    let mut file = match append() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(dir)?;
            append()?
        }
        file => file?,
    };
    if is_to_be_retired(&file, policy)? {
        match retire(dir, name) {
            Ok(()) => file = append()?,
            // An agent is worth more than the length of its log.
            Err(error) => {
                tracing::warn!(event = "logs.rotation_failed", log = name, %error, "log not rotated");
            }
        }
    }
    let mid_line = ends_mid_line(&path, &file).unwrap_or(false);
    Ok(Opened { file, mid_line })
}

impl Opened {
    /// For the agent's output, and for its errors.
    pub(in crate::executor::local) fn output(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Writes the line that tells whose output follows, in one piece. To be called before the
    /// agent can write to the log.
    pub(in crate::executor::local) fn write_header(
        &self,
        request: &SpawnRequest,
        pid: u32,
    ) -> io::Result<()> {
        let line = header_line(request, pid, clock::wall_time());
        let end_of_line = if self.mid_line { "\n" } else { "" };
        (&self.file).write_all(format!("{end_of_line}{line}\n").as_bytes())
    }
}

/// Whether a new file has to be begun: this one is too long, and cannot be cut.
fn is_to_be_retired(file: &File, policy: &Policy) -> io::Result<bool> {
    let len = file.metadata()?.len();
    let longest =
        getrlimit(Resource::Fsize).current.map_or(LONGEST, |limit| LONGEST.min(limit / 2));
    Ok(match policy.max_bytes {
        Some(max) if len > max => len > longest || !can_punch(file)?,
        Some(_) | None => false,
    })
}

/// Makes a segment of a live log by another name.
fn retire(dir: &Path, name: &str) -> io::Result<()> {
    // The lock is waited for.
    let Some(dir) = Dir::lock(dir, Lock::Change)? else { return Ok(()) };
    let log = dir.log(name)?;
    let Some(live) = Live::open(&dir, name, &log, false)? else { return Ok(()) };
    // What nobody can tell yet, nobody will once it is put aside: rather twice than never.
    let start = if live.undecided { 0 } else { live.begin };
    let segment = Segment { number: log.next()?, part: Part::Retired { start } };
    dir.rename(name, &segment.name(name))
}

/// The file itself is open to write only, as the agent gets it.
fn ends_mid_line(path: &Path, file: &File) -> io::Result<bool> {
    let len = file.metadata()?.len();
    if len == 0 {
        return Ok(false);
    }
    let mut last = [0];
    let mut options = OpenOptions::new();
    let read = options.read(true).custom_flags(no_link()).open(path)?;
    read.read_exact_at(&mut last, len - 1)?;
    // Zero: there is a hole before the end, as all was cut off.
    Ok(last != [b'\n'] && last != [0])
}
