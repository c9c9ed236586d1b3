//! A live log: where its data begin, and how what lies before that is taken away.
//!
//! The newest segment's name tells which bytes were copied. Whoever copied them may have died
//! before they were punched out, so they are compared: a byte there is either zero (punched out)
//! or the segment's (not yet). If it is neither, somebody has put another file in the place of the
//! one that was copied from, and all of it is data. Thus a byte goes only where its copy is. Such a
//! file may be shorter than what was copied, and so far hold nothing but what agrees with it: which
//! of the two it is, its next bytes tell.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use super::dir::{Dir, Log};
use super::fault::{self, Point};
use super::names::{Part, Segment};
use crate::files::trust::no_link;

const BUFFER: usize = 64 << 10;

/// A live log, open.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) file: File,
    /// Where its data begin.
    pub(super) begin: u64,
    /// Its length when it was opened.
    pub(super) len: u64,
    /// Whether anything is left of what lies before its data.
    leftovers: bool,
    /// It agrees with what was copied, and is shorter: whether its bytes are data is not known yet.
    pub(super) undecided: bool,
}

impl Live {
    /// Opens the live log of this name, if there is one.
    pub(super) fn open(dir: &Dir, name: &str, log: &Log, write: bool) -> io::Result<Option<Self>> {
        let mut options = OpenOptions::new();
        options.read(true).write(write).custom_flags(no_link());
        let file = match options.open(dir.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let len = file.metadata()?.len();
        let first = first_data(&file, len)?;
        let live = Self { file, begin: 0, len, leftovers: false, undecided: false };
        let newest = log.segments.last().copied();
        if let Some(segment @ Segment { part: Part::Copied { start, end }, .. }) = newest {
            let (begin, undecided) = (end.min(len), end > len);
            if first >= begin {
                return Ok(Some(Self { begin, undecided, ..live }));
            }
            let copied = Copied { start, end: begin, file: open_segment(dir, name, segment)? };
            if live.holds_nothing_but(&copied, first)? {
                let leftovers = !undecided;
                return Ok(Some(Self { begin, leftovers, undecided, ..live }));
            }
        }
        // Nothing was copied from this file, or somebody has removed the copies.
        let begin = if first == 0 { 0 } else { live.skip_zeros(first)? };
        Ok(Some(Self { begin, ..live }))
    }

    /// Whether its bytes from `first` to the end of `copied` are zero or the copied ones.
    fn holds_nothing_but(&self, copied: &Copied, first: u64) -> io::Result<bool> {
        let (mut here, mut there) = (vec![0; BUFFER], vec![0; BUFFER]);
        let mut at = first;
        while at < copied.end {
            let here = piece(&mut here, copied.end - at);
            self.file.read_exact_at(here, at)?;
            let there = piece(&mut there, copied.end - at);
            copied.read(there, at)?;
            if here.iter().zip(there.iter()).any(|(here, there)| *here != 0 && here != there) {
                return Ok(false);
            }
            at += here.len() as u64;
        }
        Ok(true)
    }

    /// The first byte from `at` on that is not zero.
    fn skip_zeros(&self, mut at: u64) -> io::Result<u64> {
        let mut buffer = vec![0; BUFFER];
        while at < self.len {
            let piece = piece(&mut buffer, self.len - at);
            self.file.read_exact_at(piece, at)?;
            if let Some(zeros) = piece.iter().position(|byte| *byte != 0) {
                return Ok(at + zeros as u64);
            }
            at += piece.len() as u64;
        }
        Ok(self.len)
    }

    /// Takes away what is left before its data.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        if self.leftovers {
            self.punch_up_to(self.begin)?;
        }
        Ok(())
    }

    /// Takes away all that lies before `end`: its data begin there now.
    ///
    /// From the very start, as the block with the last cut in it was kept for the half after it.
    pub(super) fn punch_up_to(&mut self, end: u64) -> io::Result<()> {
        fault::before(Point::Punch)?;
        punch(&self.file, 0, end)?;
        (self.begin, self.leftovers) = (end, false);
        Ok(())
    }

    /// Where to cut off a segment of at most `max` bytes: after the last line end within them, or,
    /// if no line ends there, in the middle of a line.
    pub(super) fn cut(&self, max: u64) -> io::Result<u64> {
        let mut buffer = vec![0; BUFFER];
        let mut to = self.begin + max;
        while to > self.begin {
            let piece = piece(&mut buffer, to - self.begin);
            let from = to - piece.len() as u64;
            self.file.read_exact_at(piece, from)?;
            if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
                return Ok(from + at as u64 + 1);
            }
            to = from;
        }
        Ok(self.begin + max)
    }

    /// Whether the file system can take bytes out of the middle of a file.
    pub(super) fn can_punch(&self) -> io::Result<bool> {
        can_punch(&self.file)
    }
}

/// Whether the file system can take bytes out of the middle of this file, which is open to write.
///
/// It is asked to do so far behind the file's end, where there is nothing.
pub(super) fn can_punch(file: &File) -> io::Result<bool> {
    let behind = file.metadata()?.len().next_multiple_of(1 << 20) + (1 << 20);
    match fault::before(Point::Probe).and_then(|()| punch(file, behind, 1 << 20)) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) => Ok(false),
        probed => probed.map(|()| true),
    }
}

fn punch(file: &File, start: u64, len: u64) -> io::Result<()> {
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::io::retry_on_intr(|| fallocate(file, mode, start, len))?)
}

/// Where the first byte is that is stored; the file's length if none is.
fn first_data(file: &File, len: u64) -> io::Result<u64> {
    match seek(file, SeekFrom::Data(0)) {
        Ok(first) => Ok(first),
        Err(Errno::NXIO) => Ok(len),
        // Not known: the bytes will be looked at.
        Err(Errno::INVAL) => Ok(0),
        Err(errno) => Err(errno.into()),
    }
}

/// As much of the buffer as is wanted.
fn piece(buffer: &mut [u8], wanted: u64) -> &mut [u8] {
    let len = usize::try_from(wanted).map_or(buffer.len(), |wanted| wanted.min(buffer.len()));
    let (piece, _) = buffer.split_at_mut(len);
    piece
}

/// A segment, and the bytes of the live log that it is a copy of.
struct Copied {
    start: u64,
    end: u64,
    file: Option<File>,
}

impl Copied {
    /// What the live log had from `at` on, as far as it is known: zeros elsewhere.
    fn read(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        into.fill(0);
        let Some(file) = &self.file else { return Ok(()) };
        let before = usize::try_from(self.start.saturating_sub(at)).unwrap_or(usize::MAX);
        let Some(mut into) = into.get_mut(before..) else { return Ok(()) };
        let mut at = at.saturating_sub(self.start);
        while !into.is_empty() {
            let read = file.read_at(into, at)?;
            if read == 0 {
                break;
            }
            let (_, rest) = into.split_at_mut(read);
            into = rest;
            at += read as u64;
        }
        Ok(())
    }
}

fn open_segment(dir: &Dir, live: &str, segment: Segment) -> io::Result<Option<File>> {
    match File::open(dir.path(&segment.name(live))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}
