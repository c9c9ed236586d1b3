//! Cutting segments off a live log while its agent writes to it.
//!
//! 1. copy the bytes to `agent-x.log.copy`, and make them last
//! 2. rename it to the segment's name, which tells the bytes' place, and make that last
//! 3. punch the bytes out of the live log
//!
//! A death before 2 leaves a copy that nobody looks at; one before 3 leaves bytes that are in both,
//! which the next one who looks recognizes as such by the segment's name.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::fs::fstatvfs;
use rustix::io::Errno;

use super::dir::{Dir, Log};
use super::fault::{self, Point};
use super::live::Live;
use super::names::{Part, Segment, copy_name};
use crate::files::trust::no_link;

/// The most segments that are cut off one log before the others are looked at.
const AT_ONCE: usize = 16;

/// What came of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rotated {
    /// The live log is no longer than it may be.
    Done,
    /// Nothing stands in the way, but there is more to cut off.
    More,
    /// There is no room for a copy; the live log is as it was.
    Full,
    /// The file system cannot punch holes; the live log is as it was.
    CannotPunch,
}

/// Cuts segments off a live log until it has no more than `max` bytes.
pub(super) fn rotate(dir: &Dir, name: &str, log: &mut Log, max: u64) -> io::Result<Rotated> {
    let Some(mut live) = Live::open(dir, name, log, true)? else { return Ok(Rotated::Done) };
    if live.len - live.begin <= max {
        live.clear()?;
        return Ok(Rotated::Done);
    }
    if !live.can_punch()? {
        return Ok(Rotated::CannotPunch);
    }
    live.clear()?;
    for _ in 0..AT_ONCE {
        if live.len - live.begin <= max {
            return Ok(Rotated::Done);
        }
        let number = log.next()?;
        let end = live.cut(max)?;
        if !has_room(dir, end - live.begin)? {
            return Ok(Rotated::Full);
        }
        let copied = copy(dir, name, &mut live, end);
        if copied.as_ref().is_err_and(is_full) {
            dir.remove(&copy_name(name))?;
            return Ok(Rotated::Full);
        }
        copied?;
        let part = Part::Copied { start: live.begin, end };
        let segment = Segment { number, part };
        dir.rename(&copy_name(name), &segment.name(name))?;
        log.segments.push(segment);
        dir.sync()?;
        live.punch_up_to(end)?;
    }
    Ok(if live.len - live.begin <= max { Rotated::Done } else { Rotated::More })
}

/// Takes away what somebody who died in the middle of a rotation has left of it.
pub(super) fn clean_up(dir: &Dir, name: &str, log: &mut Log) -> io::Result<()> {
    if log.copy {
        dir.remove(&copy_name(name))?;
        log.copy = false;
    }
    if let Some(mut live) = Live::open(dir, name, log, true)? {
        live.clear()?;
    }
    Ok(())
}

/// Copies what lies before `end`.
fn copy(dir: &Dir, name: &str, live: &mut Live, end: u64) -> io::Result<()> {
    fault::before(Point::Create)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).custom_flags(no_link());
    let mut copy = options.open(dir.path(&copy_name(name)))?;
    let bytes = end - live.begin;
    live.file.seek(SeekFrom::Start(live.begin))?;
    fault::before(Point::Copy)?;
    // Within the kernel, and without a second copy where the file system can share blocks.
    if io::copy(&mut (&live.file).take(bytes), &mut copy)? != bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    fault::before(Point::Sync)?;
    // What is punched out must outlive a loss of power.
    copy.sync_all()
}

/// Whether there is room for a copy that does not take the agents' last: they would lose lines.
fn has_room(dir: &Dir, bytes: u64) -> io::Result<bool> {
    let system = fstatvfs(dir.handle())?;
    let room = system.f_bavail.saturating_mul(system.f_frsize);
    // Some, such as ramfs, tell nothing.
    Ok(system.f_blocks == 0 || room / 2 >= bytes)
}

fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}
