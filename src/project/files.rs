//! The files that say what belongs in a project's environment.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::files::{Places, Stamp};
use crate::plan::template::python;

/// In a project's directory. The first one makes it a project.
const NAMES: [&str; 3] = ["pyproject.toml", "uv.lock", ".python-version"];

/// What tells one content of the files from another: for each the CRC-32, none if it cannot be
/// read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fingerprint([Option<u32>; NAMES.len()]);

impl Fingerprint {
    pub(super) fn is_project(&self) -> bool {
        let [pyproject, ..] = self.0;
        pyproject.is_some()
    }
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) print: Fingerprint,
    /// Whether the environment has a Python.
    pub(super) python: bool,
}

/// The files of one project, under watch.
pub(super) struct Files {
    dir: PathBuf,
    paths: [PathBuf; NAMES.len()],
    places: Places,
    stamps: Option<[Stamp; NAMES.len()]>,
    print: Fingerprint,
}

impl Files {
    /// `changed` is notified of every change after the first look.
    pub(super) fn new(dir: &Path, changed: Arc<Notify>) -> Self {
        let unheard =
            format!("{}; a change there is not seen before the next start", dir.display());
        Self {
            dir: dir.to_owned(),
            paths: NAMES.map(|name| dir.join(name)),
            places: Places::new(move || changed.notify_one(), unheard),
            stamps: None,
            print: Fingerprint::default(),
        }
    }

    /// What there is now. Blocks.
    pub(super) fn look(&mut self) -> Look {
        // First the places, then the files: a change in between makes an event.
        self.places.follow(self.paths.iter().map(PathBuf::as_path));
        // Agents may write in this directory all the time: the files are not read for that.
        let stamps = self.paths.each_ref().map(|path| Stamp::of(path));
        if self.stamps.as_ref() != Some(&stamps) {
            self.stamps = Some(stamps);
            self.print = Fingerprint(self.paths.each_ref().map(|path| checksum(path)));
        }
        Look { print: self.print, python: python(&self.dir).exists() }
    }
}

fn checksum(path: &Path) -> Option<u32> {
    // To read a pipe would be to wait for its writer.
    path.is_file().then(|| std::fs::read(path).ok()).flatten().map(|bytes| crc32fast::hash(&bytes))
}
