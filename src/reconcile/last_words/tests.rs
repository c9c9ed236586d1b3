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
    let told = |a: &str, b: &str, c: &str| {
        let id = |id: &str| EntityId::new(id).unwrap();
        last_words(&[("a", a), ("b", b), ("c", c)].map(|(it, tail)| (id(it), tail.to_owned())))
    };
    assert_eq!(told("", "", ""), (String::new(), String::new()));
    let head = "--- runner: head\n";
    assert_eq!(told(head, "b fell\n", ""), ("b fell".into(), "b".into()));
    assert_eq!(told(head, "b fell\n", "c fell\n"), ("b fell".into(), "b".into()));
    assert_eq!(told(head, "now b\nboom\n", "\nboom\n"), ("boom".into(), "b, c".into()));
}
