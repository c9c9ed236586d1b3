//! A terminal for tests of what is done to one.

use std::env::current_exe;
use std::process::{Command, Stdio};

/// What is on a new terminal after an ignored test was run in it, and a command of the shell after
/// that: all that was written to it.
pub(super) fn in_terminal(test: &str, then: &str) -> String {
    let this = current_exe().unwrap();
    let (_, test) = test.split_once("::").expect("a full path of a test");
    let both = format!("'{}' --ignored --exact {test} --nocapture; {then}", this.display());
    let script = Command::new("script")
        .args(["-qec", &both, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .expect("`script` of util-linux gives it a terminal");
    String::from_utf8_lossy(&script.stdout).into_owned()
}
