use super::*;
use crate::cli::pty::in_terminal;

fn line(width: usize, colour: bool) -> String {
    let part = |text: &str, phase: &str| Part { text: text.to_owned(), phase: phase.to_owned() };
    let parts = [part("12 running", "Running"), part("狼狼\n", ""), part("world ok", "")];
    rendered(&parts, width, colour)
}

#[test]
fn the_line_has_at_most_one_column_less_than_there_is() {
    assert_eq!(line(80, false), "12 running · 狼狼\\n · world ok");
    for width in 0..40 {
        let line = line(width, false);
        assert!(line.width() <= width.saturating_sub(1), "{width}: {line}");
    }
    assert_eq!(line(31, false), "12 running · 狼狼\\n · world ok");
    assert_eq!(line(30, false), "12 running · 狼狼\\n · world …");
    assert_eq!(line(18, false), "12 running · 狼…");
    assert_eq!(line(13, false), "12 running");
    assert_eq!(line(5, false), "12 …");
}

#[test]
fn colours_take_no_room() {
    assert_eq!(line(11, true), "\x1b[32m12 running\x1b[0m");
    assert_eq!(line(10, true), "\x1b[32m12 runni…\x1b[0m");
}

#[test]
#[ignore = "draws on the terminal that it is run in; the other test gives it one of its own"]
fn panics_below_its_log() {
    let console = Console::new();
    console.make_way_for_panics();
    console.show(vec![Part { text: "12 running".to_owned(), phase: String::new() }]);
    (&console).write_all(b"the log\n").unwrap();
    panic!("of all things");
}

#[test]
fn a_panic_erases_the_line_before_it_says_what_was_wrong() {
    let shown = in_terminal(&format!("{}::panics_below_its_log", module_path!()), "true");
    assert!(shown.contains("12 running\r\r\x1b[Jthe log\r\n12 running\r\r\x1b[J"), "{shown:?}");
    let (_, said) = shown.rsplit_once(ERASE).unwrap();
    assert!(said.contains("of all things") && !said.contains("12 running"), "{shown:?}");
}
