//! Any bytes as a log that is shown.

#![expect(clippy::indexing_slicing, reason = "a failed check is what it is for")]

use super::{Lines, begun, heads, last_lines, part_of, visible};

/// Parts of it are parts of it, and nothing in it has power over a terminal.
pub(in crate::cli) fn show(all: &[u8]) {
    for line in all.split_inclusive(|byte| *byte == b'\n') {
        let shown = visible(line);
        let harmless = |c: char| c == '\t' || !c.is_control();
        assert!(shown.chars().all(harmless), "{shown:?} of {line:?}");
    }
    for lines in [1, 2, 10] {
        let expected: Vec<_> = all.split_inclusive(|byte| *byte == b'\n').collect();
        let from = expected.len().saturating_sub(lines);
        assert_eq!(last_lines(all, lines), expected[from..].concat());
    }
    for head in heads(all) {
        let _ = begun(&all[head..]);
    }
    let previous = part_of(all, true, None, None);
    assert!(previous.is_empty() || heads(previous).len() == 1);
    // In pieces it is the same.
    let mut lines = Lines::default();
    let mut pieces: Vec<u8> = all.chunks(7).flat_map(|piece| lines.finished(piece)).collect();
    assert!(pieces.is_empty() || pieces.ends_with(b"\n"));
    pieces.extend_from_slice(&lines.rest);
    assert_eq!(pieces, all);
}
