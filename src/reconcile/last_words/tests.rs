use std::fs;

use super::*;

#[test]
fn the_last_lines_that_all_have_are_told_in_their_order_and_once() {
    let crash = "Traceback (most recent call last):\n  File \"a.py\"\nValueError: no model\n";
    let a = format!("I am a\n{crash}--- runner: head of the next\nI am a\n{crash}");
    let b = format!("--- runner: head\nI am b\n\n{crash}{crash}\nb again");
    let expected = "Traceback (most recent call last): |   File \"a.py\" | ValueError: no model";
    assert_eq!(common(&[&a, &b]), expected);
    assert_eq!(common(&["x\ny", "z"]), "");
    assert_eq!(common(&[]), "");
}

#[test]
fn what_they_wrote_is_bounded_and_cannot_paint_a_terminal() {
    let lines = (0..50).map(|n| format!("\x1b[31m{n}\x07{}", "é".repeat(9000)));
    let told = common(&[&lines.collect::<Vec<_>>().join("\n")]);
    assert!(!told.chars().any(char::is_control), "{told}");
    assert!(told.starts_with("\\u{1b}[31m45\\u{7}é"), "{told}");
    assert!(told.len() < LINES * (LENGTH + 20), "{}", told.len());
}

#[test]
fn who_wrote_nothing_is_no_witness_and_who_wrote_something_else_is_told_alone() {
    let dir = tempfile::tempdir().unwrap();
    let ids = ["a", "b", "c"].map(|id| EntityId::new(id).unwrap());
    assert_eq!(last_words(dir.path(), &ids), (String::new(), String::new()));
    let write = |id: &str, text: &[u8]| {
        fs::write(dir.path().join(format!("agent-{id}.log")), text).unwrap();
    };
    write("a", b"--- runner: head\n");
    write("b", b"b \xff fell\n");
    assert_eq!(last_words(dir.path(), &ids), ("b \u{fffd} fell".into(), "b".into()));
    write("c", b"c fell\n");
    assert_eq!(last_words(dir.path(), &ids), ("b \u{fffd} fell".into(), "b".into()));
    // As if all before had been cut off, and more than is read.
    write("c", &[vec![0; 20_000], b"\nboom\n".to_vec()].concat());
    write("b", b"now b\nboom\n");
    assert_eq!(last_words(dir.path(), &ids), ("boom".into(), "b, c".into()));
}
