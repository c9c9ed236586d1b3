//! Whether a file may be believed: who owns it, and who else could have written or read it.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;

use super::mounts;
use crate::account;

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const OTHERS: u32 = 0o007;
const STICKY: u32 = 0o1000;

/// Why a file or directory is not believed, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {problem}; {help}", path.display())]
pub struct Unsafe {
    /// What is not believed, or the directory in which it could be replaced.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
    /// What to do.
    pub help: String,
}

impl Unsafe {
    pub(crate) fn new(path: &Path, problem: String, help: impl Into<String>) -> Self {
        Self { path: path.to_owned(), problem, help: help.into() }
    }
}

/// So that it goes wherever a file that cannot be read does.
impl From<Unsafe> for io::Error {
    fn from(why: Unsafe) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, why)
    }
}

/// Of a file that is opened to be written or made: a link there was put by somebody else, to have us
/// write where it leads.
pub(crate) fn no_link() -> i32 {
    flags(OFlags::NOFOLLOW)
}

fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or_default()
}

/// What is read of a file, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nobody but its owner and root may have written it.
    Believed,
    /// Nor may others have read it.
    Secret,
}

/// The bytes of a regular file, if it may be believed. What the path resolves to is looked at, and
/// it is the file that was looked at which is read.
///
/// # Errors
/// An [`Unsafe`] within; or why it cannot be read, also for more than `most` bytes.
pub(crate) fn read(path: &Path, kind: Kind, most: u64) -> io::Result<Vec<u8>> {
    // A pipe would be waited for.
    let file = OpenOptions::new().read(true).custom_flags(flags(OFlags::NONBLOCK)).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    check(path, &meta, kind)?;
    whole(&file, most)
}

/// All that a file holds.
///
/// # Errors
/// Why it cannot be read, also for more than `most` bytes.
pub(crate) fn whole(file: &File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > most) {
        let text = match most >> 20 {
            0 => format!("larger than {} KiB", most >> 10),
            mebibytes => format!("larger than {mebibytes} MiB"),
        };
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// Whether a file with this metadata may be believed, and could not have been put there by
/// somebody else.
pub(crate) fn check(path: &Path, meta: &Metadata, kind: Kind) -> Result<(), Unsafe> {
    owner(path, meta)?;
    writers(path, meta)?;
    if kind == Kind::Secret && meta.mode() & OTHERS != 0 {
        let problem = format!("may be read by every user of this machine ({})", octal(meta));
        let help =
            format!("run `chmod 600 {0}`, or 640 for a group that may read it", path.display());
        return Err(Unsafe::new(path, problem, help));
    }
    let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    for file in [path, &resolved] {
        directory_of(file)?;
    }
    Ok(())
}

fn owner(path: &Path, meta: &Metadata) -> Result<(), Unsafe> {
    let own = geteuid().as_raw();
    if meta.uid() == own || meta.uid() == 0 {
        return Ok(());
    }
    let problem =
        format!("belongs to user {}, who could change it: not to user {own} or root", meta.uid());
    let help = format!("run `chown {own} {}`, or have its owner run this", path.display());
    Err(Unsafe::new(path, problem, help))
}

fn writers(path: &Path, meta: &Metadata) -> Result<(), Unsafe> {
    if meta.mode() & OTHERS_WRITE != 0 {
        let problem = format!("may be changed by every user of this machine ({})", octal(meta));
        return Err(Unsafe::new(path, problem, format!("run `chmod o-w {}`", path.display())));
    }
    if meta.mode() & GROUP_WRITES != 0 && !account::is_group_of(meta.uid(), meta.gid()) {
        let problem = format!("may be changed by its group {} ({})", meta.gid(), octal(meta));
        return Err(Unsafe::new(path, problem, format!("run `chmod g-w {}`", path.display())));
    }
    Ok(())
}

/// Who may write into a directory may put another file in the place of one, unless it is sticky, or
/// nobody writes there at all.
fn directory_of(file: &Path) -> Result<(), Unsafe> {
    let dir = match file.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Path::new("."),
        Some(dir) => dir,
        None => return Ok(()),
    };
    // What cannot be looked at cannot be written into either.
    let Ok(meta) = dir.metadata() else { return Ok(()) };
    if meta.mode() & STICKY != 0 {
        return Ok(());
    }
    match writers(dir, &meta) {
        Err(why) if !mounts::is_read_only(dir) => Err(Unsafe {
            problem: format!("{}: {} could be replaced", why.problem, file.display()),
            ..why
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether others than its owner and root could have written there.
pub(crate) fn is_written_by_others(meta: &Metadata) -> bool {
    writers(Path::new(""), meta).is_err()
}

fn octal(meta: &Metadata) -> String {
    format!("mode {:04o}", meta.mode() & 0o7777)
}

#[cfg(test)]
mod tests;
