//! The state directory, and the lock by which one runner at a time has it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

/// The mode of the directory: what agents are told is nobody else's business.
const PRIVATE: u32 = 0o700;

/// A state directory that is ours until this is dropped, or the process ends.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// A POSIX lock: unlike a BSD one it is not inherited, so that no agent can hold it.
    _lock: File,
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
    /// Makes the directory if it is not there, and takes its lock.
    ///
    /// # Errors
    /// [`DirectoryError::Held`] if another runner has it; nothing was changed then.
    pub fn lock(path: &Path) -> Result<Self, DirectoryError> {
        let unusable = |source| DirectoryError::Unusable { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(PRIVATE).create(path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(unusable)?;
        match fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => {
                let holder = fs::read_to_string(&lock_path).unwrap_or_default();
                let holder = holder.trim().escape_debug().to_string();
                return Err(DirectoryError::Held { path, holder });
            }
            Err(errno) => return Err(unusable(errno.into())),
        }
        fs::set_permissions(&path, Permissions::from_mode(PRIVATE)).map_err(unusable)?;
        // A full disk has no room for the name, which is for people; the lock holds without it.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(Self { path, _lock: lock })
    }

    /// Where it is, with symbolic links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
