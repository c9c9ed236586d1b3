//! Being told that somebody writes to a log, once: as long as nobody does, nothing is looked at.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::io::{Errno, read};
use tokio::io::unix::AsyncFd;

use crate::executor::local::pidfd::register;

/// Watches directories for the next write to any file in them.
///
/// Each watch ends with the first event, so writers pay for one in a long time, and not for each
/// line.
#[derive(Debug)]
pub(super) struct Stir {
    inotify: AsyncFd<OwnedFd>,
}

impl Stir {
    pub(super) fn new() -> io::Result<Self> {
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self { inotify: register(inotify)? })
    }

    /// Watches a directory until the next write.
    pub(super) fn arm(&self, dir: &Path) -> io::Result<()> {
        let until_written = WatchFlags::MODIFY | WatchFlags::ONESHOT | WatchFlags::ONLYDIR;
        add_watch(self.inotify.get_ref(), dir, until_written)?;
        Ok(())
    }

    /// Waits for a write to any file of a watched directory, or for the end of such a directory.
    /// May be dropped at any time.
    pub(super) async fn stirred(&self) -> io::Result<()> {
        let mut readable = self.inotify.readable().await?;
        let mut events = [0_u8; 4096];
        loop {
            match read(self.inotify.get_ref(), &mut events) {
                // What happened does not matter; that nothing more is to be read does.
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        readable.clear_ready();
        Ok(())
    }
}
