//! Dropping segments: the oldest first, and every one counted.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::ops::AddAssign;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::SystemTime;

use super::dir::{Dir, Log};
use super::fault::{self, Point};
use super::names::{Part, Segment};
use super::rotate::clean_up;
use crate::files::trust::no_link;

/// Segments that are no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) count: u64,
    pub(super) bytes: u64,
}

impl AddAssign for Dropped {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
    }
}

/// Drops all but the newest `keep` segments of a log.
pub(super) fn keep(dir: &Dir, name: &str, log: &mut Log, keep: usize) -> io::Result<Dropped> {
    let mut dropped = Dropped::default();
    let over = log.segments.len().saturating_sub(keep);
    let old: Vec<Segment> = log.segments.iter().take(over).copied().collect();
    for segment in old {
        dropped += drop_segment(dir, name, log, segment)?;
    }
    Ok(dropped)
}

/// Drops the oldest segments of all logs until these have no more than `most` bytes together, or
/// only the live ones are left.
pub(super) fn bound(dir: &Dir, logs: &mut BTreeMap<String, Log>, most: u64) -> io::Result<Dropped> {
    let mut total = 0_u64;
    let mut by_age = Vec::new();
    for (name, log) in &*logs {
        if let Ok(live) = dir.path(name).metadata() {
            total += live.len() - log.presumed_begin(live.len());
        }
        let mut age = SystemTime::UNIX_EPOCH;
        for segment in &log.segments {
            let Ok(metadata) = dir.path(&segment.name(name)).metadata() else { continue };
            // A file that went out of use may be written to later by a process left behind.
            age = age.max(metadata.modified()?);
            total += metadata.len().saturating_sub(segment.begin());
            by_age.push((age, name.clone(), *segment));
        }
    }
    by_age.sort();
    let mut dropped = Dropped::default();
    for (_, name, segment) in by_age {
        if total <= most {
            break;
        }
        let Some(log) = logs.get_mut(&name) else { continue };
        let one = drop_segment(dir, &name, log, segment)?;
        total = total.saturating_sub(one.bytes);
        dropped += one;
    }
    Ok(dropped)
}

/// Drops a segment. The name of the newest stays, as it tells where the live log's data begin.
fn drop_segment(dir: &Dir, name: &str, log: &mut Log, segment: Segment) -> io::Result<Dropped> {
    let path = dir.path(&segment.name(name));
    let len = match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        metadata => metadata?.len(),
    };
    let bytes = len.saturating_sub(segment.begin());
    let tells = matches!(segment.part, Part::Copied { .. });
    if tells && log.segments.last() == Some(&segment) {
        if bytes > 0 {
            // Its bytes may still be in the live log, and would be taken for new ones.
            clean_up(dir, name, log)?;
            fault::before(Point::Truncate)?;
            let mut options = OpenOptions::new();
            options.write(true).custom_flags(no_link()).open(path)?.set_len(0)?;
        }
    } else {
        dir.remove(&segment.name(name))?;
        log.segments.retain(|kept| *kept != segment);
    }
    Ok(if bytes > 0 { Dropped { count: 1, bytes } } else { Dropped::default() })
}
