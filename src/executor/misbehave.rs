//! For tests: the process that misbehaves on request, and a way to wait for what it does.

use std::env;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// The longest that any test waits for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Where `tests/misbehave/process.rs` was built. Its flags are described there.
pub(crate) fn misbehave() -> PathBuf {
    let this = env::current_exe().unwrap();
    let path = this.parent().unwrap().parent().unwrap().join("examples/misbehave");
    assert!(path.exists(), "build it first: cargo build --example misbehave");
    path
}

/// Waits for something that tells nobody when it happens.
pub(crate) fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < DEADLINE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
