//! Any files in a log directory: what is read of them is what they are, once.

#![expect(clippy::indexing_slicing, reason = "a failed check is what it is for")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::look::Lookout;
use super::names::{Name, Part, Segment, copy_name};
use super::{Follower, Policy, Settings, joined};
use crate::fuzzing::frames;
use crate::plan::{EntityId, Time};

/// The live log of the entity that it is about.
const LIVE: &str = "agent-x.log";

/// Names that are made of one are told from it and from each other, and fit.
pub(crate) fn names(live: &str) {
    assert_eq!(Name::parse(live), Some(Name::Live(live)));
    let copy = copy_name(live);
    assert_eq!(Name::parse(&copy), Some(Name::Copy(live)));
    for part in [Part::Copied { start: 1 << 41, end: 1 << 42 }, Part::Retired { start: 1 << 41 }] {
        let segment = Segment { number: 99_999_999, part };
        let name = segment.name(live);
        assert_eq!(Name::parse(&name), Some(Name::Segment(live, segment)));
        assert!(name.len() <= 255 && copy.len() <= 255, "{name} is too long");
    }
}

/// What the directory has of the log by the end. Its frames: a file, more written to the live log,
/// a rotation, a reading.
pub(crate) fn files(dir: &Path, data: &[u8]) -> Vec<u8> {
    let entity = EntityId::new("x").ok();
    let Some(entity) = entity else { return Vec::new() };
    let mut follower = None;
    let mut seen = Vec::new();
    for (what, content) in frames(data) {
        match what % 4 {
            // Strangers do that while nobody reads.
            0 if follower.is_none() => plant(dir, content),
            1 => append(dir, content),
            2 => rotate(dir, &entity, content),
            0 | 3.. => {
                let follower = follower.get_or_insert_with(|| Follower::new(dir, &entity));
                seen.extend(read(follower));
            }
        }
    }
    let all = all(dir, &entity);
    if let Some(mut follower) = follower {
        seen.extend(read(&mut follower));
        assert!(seen == all, "seen {seen:?}\nthere is {all:?}");
    }
    ends(dir, &entity, &all);
    all
}

/// What is there of the log, which both ways to read it agree on, and so does who looks at the
/// files naively.
fn all(dir: &Path, entity: &EntityId) -> Vec<u8> {
    let all = joined(dir, entity).unwrap_or_default();
    let seen = read(&mut Follower::new(dir, entity));
    assert!(all == seen, "joined {all:?}\nseen {seen:?}");
    let naive = naively(dir);
    assert!(all == naive, "joined {all:?}\nnaively {naive:?}");
    all
}

fn read(follower: &mut Follower) -> Vec<u8> {
    let read = follower.read();
    assert!(read.is_ok(), "{read:?}");
    read.unwrap_or_default()
}

/// A name, a newline, and the bytes of the file.
fn plant(dir: &Path, content: &[u8]) {
    let (name, bytes) = match content.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&content[..at], &content[at + 1..]),
        None => (content, &[][..]),
    };
    let Ok(name) = std::str::from_utf8(name) else { return };
    if name.contains(['/', '\0']) || name.is_empty() || name == "." || name == ".." {
        return;
    }
    // One that is too long is no file.
    let _ = fs::write(dir.join(name), bytes);
}

fn append(dir: &Path, bytes: &[u8]) {
    let mut options = fs::OpenOptions::new();
    let opened = options.append(true).create(true).open(dir.join(LIVE));
    let written = opened.and_then(|mut file| file.write_all(bytes));
    assert!(written.is_ok(), "{written:?}");
}

/// Moves bytes, and neither loses one nor doubles one.
fn rotate(dir: &Path, entity: &EntityId, content: &[u8]) {
    let before = all(dir, entity);
    let max = content.first().map_or(16, |byte| u64::from(*byte) + 1);
    let policy = Policy { max_bytes: Some(max), keep: usize::MAX, max_total_bytes: None };
    let settings = Settings { dir: dir.to_owned(), policy };
    Lookout::default().look(&settings, Time::default(), &AtomicBool::new(false));
    let after = all(dir, entity);
    assert!(before == after, "before {before:?}\nafter {after:?}");
}

/// Whoever wants the end of it only gets whole lines of the end.
fn ends(dir: &Path, entity: &EntityId, all: &[u8]) {
    for most in [0, 1, all.len() / 2, all.len(), usize::MAX] {
        let end = read(&mut Follower::of_end(dir, entity, most as u64));
        assert!(all.ends_with(&end) && end.len() <= most);
        let before = &all[..all.len() - end.len()];
        assert!(before.is_empty() || before.ends_with(b"\n") || end.is_empty());
    }
}

/// The same by the words of `names.rs` and `live.rs`, as simply as can be.
fn naively(dir: &Path) -> Vec<u8> {
    let mut segments: Vec<(Segment, Vec<u8>)> = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(Name::Segment(LIVE, segment)) = name.to_str().and_then(Name::parse) {
            segments.push((segment, fs::read(entry.path()).unwrap_or_default()));
        }
    }
    segments.sort();
    let mut all = Vec::new();
    for (segment, bytes) in &segments {
        let begin = usize::try_from(segment.begin()).unwrap_or(usize::MAX);
        all.extend_from_slice(bytes.get(begin..).unwrap_or_default());
    }
    let live = fs::read(dir.join(LIVE)).unwrap_or_default();
    let begin = segments.last().and_then(|(segment, bytes)| copied(&live, *segment, bytes));
    let begin = begin.unwrap_or_else(|| if is_cut(dir) { zeros(&live) } else { 0 });
    all.extend_from_slice(&live[begin..]);
    all
}

/// Whether bytes were taken out of the beginning of the live log. Zeros that stand there were
/// written.
fn is_cut(dir: &Path) -> bool {
    let live = fs::File::open(dir.join(LIVE));
    live.is_ok_and(|live| rustix::fs::seek(live, rustix::fs::SeekFrom::Data(0)) != Ok(0))
}

fn zeros(live: &[u8]) -> usize {
    live.iter().take_while(|byte| **byte == 0).count()
}

/// Up to where the live log was copied to its newest segment, if it was, as far as it tells.
fn copied(live: &[u8], segment: Segment, bytes: &[u8]) -> Option<usize> {
    let Part::Copied { start, end } = segment.part else { return None };
    let start = usize::try_from(start).ok()?;
    let end = usize::try_from(end).unwrap_or(usize::MAX).min(live.len());
    let is_copied = |(at, byte): (usize, &u8)| {
        *byte == 0 || at.checked_sub(start).and_then(|at| bytes.get(at)) == Some(byte)
    };
    live[..end].iter().enumerate().all(is_copied).then_some(end)
}
