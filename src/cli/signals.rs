//! The signals by which a runner is told things.
//!
//! They are blocked and read, never handled. One that comes while the runner replaces itself stays
//! pending until its successor reads it: there is no moment at which it is lost, or kills.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What a signal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// SIGINT, SIGTERM.
    Stop,
    /// SIGHUP.
    Reload,
    /// SIGUSR2.
    Replace,
}

/// Those that were sent and not read yet.
#[derive(Debug)]
pub(super) struct Signals(AsyncFd<SignalFd>);

/// Blocks them, for this thread and all that it starts: call it before there are any.
pub(super) fn block() -> io::Result<()> {
    Ok(all().thread_block()?)
}

fn all() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR2].into_iter().collect()
}

impl Signals {
    /// Those that came since they were blocked, too.
    pub(super) fn new() -> io::Result<Self> {
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for the sake of types whose descriptor can change"
        )]
        let fd = AsyncFd::with_interest(SignalFd::with_flags(&all(), flags)?, Interest::READABLE)?;
        Ok(Self(fd))
    }

    /// The next one. May be dropped at any time: what was not returned was not read.
    pub(super) async fn next(&self) -> io::Result<Told> {
        loop {
            let mut ready = self.0.readable().await?;
            let Some(signal) = self.0.get_ref().read_signal()? else {
                ready.clear_ready();
                continue;
            };
            let number = i32::try_from(signal.ssi_signo).map_err(io::Error::other)?;
            if number == Signal::SIGHUP as i32 {
                return Ok(Told::Reload);
            }
            return Ok(if number == Signal::SIGUSR2 as i32 { Told::Replace } else { Told::Stop });
        }
    }
}
