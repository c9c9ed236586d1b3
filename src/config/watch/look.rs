//! One look at the file.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::config::load;

/// What tells one state of a file from the next without reading it. The change time is in it
/// because, unlike the modification time, no program can set it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stamp {
    File { device: u64, inode: u64, size: u64, modified: (i64, i64), changed: (i64, i64) },
    Failed(io::ErrorKind),
}

impl Stamp {
    pub(super) fn of(path: &Path) -> Self {
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

/// What two looks are compared by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Bytes(Vec<u8>),
    Failed(io::ErrorKind),
}

/// The file as it was found.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) stamp: Stamp,
    pub(super) read: io::Result<Vec<u8>>,
}

impl Look {
    pub(super) fn at(path: &Path) -> Self {
        let meta = path.metadata();
        let stamp = meta.as_ref().map_or_else(|error| Stamp::Failed(error.kind()), Stamp::from);
        let read = meta.and_then(|meta| {
            if meta.is_file() {
                load::read(path)
            } else {
                // To read a pipe would be to wait for its writer.
                Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
            }
        });
        Self { stamp, read }
    }

    pub(super) fn content(&self) -> Content {
        match &self.read {
            Ok(bytes) => Content::Bytes(bytes.clone()),
            Err(error) => Content::Failed(error.kind()),
        }
    }
}
