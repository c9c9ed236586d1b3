//! The state directory, and the lock by which one runner at a time has it.

use std::fs::{self, DirBuilder, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
    PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock, fstat, ftruncate};
use rustix::io::{Errno, FdFlags, fcntl_setfd, pwrite};
use rustix::process::geteuid;
use rustix::stdio::{dup2_stdin, stdin};

use crate::files::trust::{self, Unsafe};

/// The mode of the directory: what agents are told is nobody else's business.
const PRIVATE: u32 = 0o700;

/// What runners keep there.
const OWN: [&str; 9] = [
    "lock",
    "journal",
    "journal.next",
    "events",
    "events.1",
    "control.sock",
    "world-port",
    "holder",
    "holder.next",
];

/// A state directory that is ours until the process ends, whatever program it is by then.
///
/// Its lock is a POSIX one: unlike a BSD one it is not inherited by children, so that no agent can
/// hold it, and it is kept by a process that replaces itself. But it is lost as soon as any
/// descriptor of its file is closed. So there is only one, in the place of stdin, which a runner
/// does not read: that is where its successor finds it.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

/// Why the directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another runner has it.
    #[error("another runner has the state directory {}: process {holder}", path.display())]
    Held {
        /// The directory.
        path: PathBuf,
        /// Who has it, in its own words.
        holder: String,
    },
    /// Somebody else could have written what is in it.
    #[error("the state directory cannot be used: {0}")]
    Unsafe(#[from] Unsafe),
    /// It cannot be made, or its lock not be opened.
    #[error("the state directory {} cannot be used", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Directory {
    /// Makes the directory if it is not there, and takes its lock, or finds that this process has
    /// it already. Takes the place of stdin.
    ///
    /// # Errors
    /// [`DirectoryError::Held`] if another runner has it, [`DirectoryError::Unsafe`] if it may be
    /// somebody else's work; nothing was changed then.
    pub fn lock(path: &Path) -> Result<Self, DirectoryError> {
        let unusable = |source| DirectoryError::Unusable { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(PRIVATE).create(path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        let open_to_others = judge(&path)?;
        let lock_path = path.join("lock");
        if !is_stdin(&lock_path) {
            open_as_stdin(&lock_path).map_err(unusable)?;
        }
        let lock = stdin();
        match fcntl_lock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => {
                let holder = fs::read_to_string(&lock_path).unwrap_or_default();
                let holder = holder.trim().escape_debug().to_string();
                return Err(DirectoryError::Held { path, holder });
            }
            Err(errno) => return Err(unusable(errno.into())),
        }
        for path in open_to_others {
            let mode = fs::metadata(&path).map_err(unusable)?.mode() & PRIVATE;
            fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(unusable)?;
        }
        let holder = format!("{}\n", std::process::id());
        // A full disk has no room for the name, which is for people; the lock holds without it.
        let _ = ftruncate(lock, 0).and_then(|()| pwrite(lock, holder.as_bytes(), 0));
        let directory = Self { path };
        directory.hand_on(false).map_err(unusable)?;
        Ok(directory)
    }

    /// Whether the lock outlives an exec: for a successor in this very process, never for a child.
    ///
    /// # Errors
    /// If the system refuses; then nothing has changed.
    pub fn hand_on(&self, yes: bool) -> io::Result<()> {
        let flags = if yes { FdFlags::empty() } else { FdFlags::CLOEXEC };
        Ok(fcntl_setfd(stdin(), flags)?)
    }

    /// Who has this directory, among all runners that there are: the machine's name, for people, and
    /// what makes it unlike any other. It stays as long as the directory does.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub fn holder(&self) -> io::Result<String> {
        let path = self.path.join("holder");
        match fs::read_to_string(&path) {
            Ok(written) if !written.trim().is_empty() => return Ok(written.trim().to_owned()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => {}
        }
        let host = fs::read_to_string("/proc/sys/kernel/hostname")?;
        let unique = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        let holder = format!("{}_{}", host.trim(), unique.trim());
        let next = self.path.join("holder.next");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(holder.as_bytes())?;
        file.sync_all()?;
        fs::rename(next, path)?;
        Ok(holder)
    }

    /// Where it is, with symbolic links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether all that is ours in the directory is ours alone; what others may only read, which is to
/// be mended. What stands there decides which processes are signalled, and nobody else may have a
/// say in that. A user's own group is not others.
fn judge(dir: &Path) -> Result<Vec<PathBuf>, DirectoryError> {
    let unusable = |source| DirectoryError::Unusable { path: dir.to_owned(), source };
    let meta = dir.metadata().map_err(unusable)?;
    owned(dir, &meta)?;
    if trust::is_written_by_others(&meta) {
        let problem = format!("may be written into by others (mode {:04o})", meta.mode() & 0o7777);
        let shown = dir.display();
        let help =
            format!("see that what is in it is yours, then run `chmod 700 {shown}`, or remove it");
        return Err(Unsafe::new(dir, problem, help).into());
    }
    let mut open_to_others = Vec::new();
    for path in OWN.map(|name| dir.join(name)).into_iter().chain([dir.to_owned()]) {
        let meta = match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            meta => meta.map_err(unusable)?,
        };
        owned(&path, &meta)?;
        if meta.is_symlink() {
            let help = format!("see where it leads, then run `rm {}`", path.display());
            return Err(
                Unsafe::new(&path, "is a link, which no runner makes".to_owned(), help).into()
            );
        }
        // A socket is made anew in any case.
        if !meta.file_type().is_socket() && trust::is_written_by_others(&meta) {
            let problem = format!("may be changed by others (mode {:04o})", meta.mode() & 0o7777);
            let shown = path.display();
            let help = format!("see that it is as it was, then run `chmod 600 {shown}`");
            return Err(Unsafe::new(&path, problem, help).into());
        }
        if meta.mode() & 0o077 != 0 {
            open_to_others.push(path);
        }
    }
    Ok(open_to_others)
}

fn owned(path: &Path, meta: &Metadata) -> Result<(), Unsafe> {
    let own = geteuid().as_raw();
    if meta.uid() == own {
        return Ok(());
    }
    let problem = format!("belongs to user {}, not to user {own} who runs this", meta.uid());
    let help = format!("run `chown {own} {}`, or name another one by --state-dir", path.display());
    Err(Unsafe::new(path, problem, help))
}

/// Whether stdin is this file: then the program that this process was before has locked it.
fn is_stdin(path: &Path) -> bool {
    let (Ok(file), Ok(stdin)) = (fs::metadata(path), fstat(stdin())) else { return false };
    (file.dev(), file.ino()) == (stdin.st_dev, stdin.st_ino)
}

fn open_as_stdin(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(trust::no_link());
    Ok(dup2_stdin(options.open(path)?)?)
}
