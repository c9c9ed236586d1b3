use ratatui::crossterm::cursor::Hide;

use super::*;
use crate::cli::pty::in_terminal;

/// What leaves the alternate screen, and puts the cursor back to where it was before.
const LEAVE: &str = "\x1b[?1049l";
const SHOW: &str = "\x1b[?25h";

#[test]
#[ignore = "takes the terminal that it is run in; the other test gives it one of its own"]
fn panics_while_it_has_the_terminal() {
    let _taken = Taken::take().unwrap();
    execute!(stdout(), Hide).unwrap();
    panic!("of all things");
}

#[test]
fn a_panic_gives_the_terminal_back_before_it_says_what_was_wrong() {
    let test = format!("{}::panics_while_it_has_the_terminal", module_path!());
    let shown = in_terminal(&test, "stty -a");
    let (taken, given_back) = shown.split_once(LEAVE).unwrap_or_else(|| panic!("{shown}"));
    assert!(taken.contains("\x1b[?1049h") && taken.contains("\x1b[?25l"), "{shown}");
    assert!(given_back.contains(SHOW), "{shown}");
    assert!(given_back.contains("of all things"), "{shown}");
    assert!(!given_back.contains(LEAVE), "once is enough: {shown}");
    let modes: Vec<_> = given_back.split_whitespace().collect();
    for mode in ["echo", "icanon", "isig", "icrnl", "opost"] {
        assert!(modes.contains(&mode), "{mode} is off: {shown}");
    }
}
