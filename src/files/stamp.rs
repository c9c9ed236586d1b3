//! What a file looks like from outside.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What tells one state of a file from the next without reading it. The change time is in it
/// because, unlike the modification time, no program can set it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stamp {
    File { device: u64, inode: u64, size: u64, modified: (i64, i64), changed: (i64, i64) },
    Failed(io::ErrorKind),
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> Self {
        path.metadata().map_or_else(|error| Self::Failed(error.kind()), |meta| Self::from(&meta))
    }
}

impl From<&Metadata> for Stamp {
    fn from(meta: &Metadata) -> Self {
        Self::File {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}
