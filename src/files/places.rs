//! The directories in which a change may change a file.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// As many links as the kernel follows.
const MOST_HOPS: usize = 40;

/// A directory's device and inode: a directory that was made anew needs a new watch.
type Identity = (u64, u64);

/// The directories that are watched now.
pub(crate) struct Places {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, Identity>,
    /// What to say if something cannot be watched; none: it was said.
    unheard: Option<String>,
}

impl Places {
    /// None yet. `wake` is called when a file may have changed; `unheard` says what is not heard
    /// of, and what happens instead, if that cannot be found out: it goes on from "cannot watch".
    pub(crate) fn new(wake: impl Fn() + Send + 'static, unheard: String) -> Self {
        let on_event = move |event: notify::Result<notify::Event>| {
            // An error may mean lost events. By name nothing is passed over: where links lead
            // to the file, a change bears another name.
            if event.map_or(true, |event| may_change(event.kind)) {
                wake();
            }
        };
        let mut places = Self { watcher: None, watched: BTreeMap::new(), unheard: Some(unheard) };
        match notify::recommended_watcher(on_event) {
            Ok(watcher) => places.watcher = Some(watcher),
            Err(error) => places.warn(&error),
        }
        places
    }

    /// Watches the directory of each file, and that of every link on the way to it.
    pub(crate) fn follow<'p>(&mut self, paths: impl IntoIterator<Item = &'p Path>) {
        let Some(mut watcher) = self.watcher.take() else { return };
        let wanted: BTreeMap<_, _> =
            paths.into_iter().flat_map(|path| directories(path).unwrap_or_default()).collect();
        let stale =
            |(place, identity): &(&PathBuf, &Identity)| wanted.get(*place) != Some(identity);
        let stale: Vec<PathBuf> =
            self.watched.iter().filter(stale).map(|(place, _)| place.clone()).collect();
        for place in stale {
            // Fails where the directory is gone, and the watch with it.
            let _ = watcher.unwatch(&place);
            self.watched.remove(&place);
        }
        for (place, identity) in wanted {
            if self.watched.contains_key(&place) {
                continue;
            }
            match watcher.watch(&place, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(place, identity);
                }
                Err(error) => self.warn(&error),
            }
        }
        self.watcher = Some(watcher);
    }

    fn warn(&mut self, error: &notify::Error) {
        if let Some(unheard) = self.unheard.take() {
            tracing::warn!(%error, "cannot watch {unheard}");
        }
    }
}

/// Whether a file may have changed. That somebody opened it is reported as well, and we do so
/// ourselves at every look.
fn may_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

/// The directories in which a change may make `path` another file: that of every link on the way
/// to it and that of the file itself, or the nearest that there is.
pub(crate) fn directories(path: &Path) -> io::Result<BTreeMap<PathBuf, Identity>> {
    let mut found = BTreeMap::new();
    let mut at = PathBuf::new();
    let mut ahead: VecDeque<OsString> = parts(&std::path::absolute(path)?);
    let mut hops = 0;
    while let Some(part) = ahead.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        let Ok(target) = next.read_link() else {
            at = next;
            continue;
        };
        add(&mut found, &at);
        hops += 1;
        if hops > MOST_HOPS {
            break;
        }
        for part in parts(&target).into_iter().rev() {
            ahead.push_front(part);
        }
    }
    let mut directory = at.parent();
    while let Some(candidate) = directory {
        if add(&mut found, candidate) {
            break;
        }
        directory = candidate.parent();
    }
    Ok(found)
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

/// Adds the directory, if there is one.
fn add(found: &mut BTreeMap<PathBuf, Identity>, directory: &Path) -> bool {
    let Some(meta) = directory.metadata().ok().filter(std::fs::Metadata::is_dir) else {
        return false;
    };
    found.insert(directory.to_owned(), (meta.dev(), meta.ino()));
    true
}
