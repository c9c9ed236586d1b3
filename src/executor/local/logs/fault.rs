//! Where a test may have the process die, or the system refuse: before each system call that
//! changes something.

use std::io;

/// What is about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    Create,
    Copy,
    Sync,
    Rename,
    SyncDir,
    Probe,
    Punch,
    Truncate,
    Remove,
}

#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "it fails in tests only")]
pub(super) const fn before(_: Point) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(super) fn before(point: Point) -> io::Result<()> {
    HOOK.with_borrow_mut(|hook| hook.as_mut().map_or(Ok(()), |hook| hook(point)))
}

#[cfg(test)]
type Hook = Box<dyn FnMut(Point) -> io::Result<()>>;

#[cfg(test)]
thread_local! {
    static HOOK: std::cell::RefCell<Option<Hook>> = const { std::cell::RefCell::new(None) };
}

/// Runs `body` with `hook` asked before every change that this thread makes.
#[cfg(test)]
pub(super) fn with<T>(
    hook: impl FnMut(Point) -> io::Result<()> + 'static,
    body: impl FnOnce() -> T,
) -> T {
    HOOK.set(Some(Box::new(hook)));
    let output = body();
    HOOK.set(None);
    output
}
