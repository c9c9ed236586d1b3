//! What the fuzzing of journals has to know of their lines.

use super::{Memory, Replay, parse, replay, write_line};

/// What a journal of these bytes says, and how many of its lines could not be used.
pub(in crate::state) fn read(bytes: &[u8]) -> (Memory, usize) {
    let Replay { memory, damaged } = replay(bytes);
    (memory, damaged)
}

/// The same file without the lines that are not as they were written.
pub(in crate::state) fn without_damage(file: &[u8]) -> Vec<u8> {
    let lines = file.split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| parse(line).is_some()).flatten().copied().collect()
}

/// What is remembered, as it is written down.
pub(in crate::state) fn round_trip(memory: &Memory) -> Vec<u8> {
    let mut text = Vec::new();
    for fact in memory.facts() {
        let written = write_line(&mut text, &fact);
        assert!(written.is_ok(), "{written:?}");
    }
    text
}
