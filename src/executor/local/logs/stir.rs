//! Being told that somebody writes to a log, once: as long as nobody does, nothing is looked at.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

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

    /// Watches these directories, which are some, until the next write after this moment.
    pub(super) fn arm(&self, dirs: &[PathBuf]) -> io::Result<()> {
        if dirs.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.drain()?;
        let until_written = WatchFlags::MODIFY | WatchFlags::ONESHOT | WatchFlags::ONLYDIR;
        for dir in dirs {
            add_watch(self.inotify.get_ref(), dir, until_written)?;
        }
        Ok(())
    }

    /// Waits for a write to any file of a watched directory, or for the end of such a directory.
    /// May be dropped at any time.
    pub(super) async fn stirred(&self) -> io::Result<()> {
        loop {
            let mut readable = self.inotify.readable().await?;
            // It may have been readable before it was armed, and not be since.
            let stirred = self.drain()?;
            readable.clear_ready();
            if stirred {
                return Ok(());
            }
        }
    }

    /// Reads all events; what happened does not matter. Returns whether there was one.
    fn drain(&self) -> io::Result<bool> {
        let mut events = [0_u8; 4096];
        let mut any = false;
        loop {
            match read(self.inotify.get_ref(), &mut events) {
                Ok(_) => any = true,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(any),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
