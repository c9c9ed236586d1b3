//! One look at the file.

use std::io;
use std::path::Path;

use crate::config::load;
use crate::files::Stamp;

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
