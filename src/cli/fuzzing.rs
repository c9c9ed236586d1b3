//! Any bytes as what verbs are given, and as what they show.

#![expect(clippy::missing_panics_doc, reason = "a failed check is what it is for")]

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::logs::fuzzing::show;
use super::operate::time_span;
use super::select::Selection;
use crate::control;
use crate::executor::logs::fuzzing::files;
use crate::proto::control as pb;

/// What is asked of an instance, in messages and in words.
pub fn control(data: &[u8]) {
    control::fuzzing::requests(data);
    let text = String::from_utf8_lossy(data);
    for word in text.split_whitespace() {
        if let Err(what_to_write) = time_span(word) {
            assert!(!what_to_write.is_empty());
        }
    }
    if let Ok(selection) = Selection::of_words(text.split_whitespace()) {
        assert!(selection.is_empty() || selection.selector() != pb::Selector::default());
    }
}

/// What is shown is what was written: all of it, once, and harmless.
pub fn logs(data: &[u8]) {
    let dir = Scratch::new();
    let all = files(&dir.0, data);
    show(&all);
}

/// A directory that is gone in the end. In memory, if there is such a place: nothing waits for a
/// disk there.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = base.join(format!("runner-fuzz-{}-{number}", std::process::id()));
        let made = fs::create_dir(&dir);
        assert!(made.is_ok(), "{}: {made:?}", dir.display());
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
