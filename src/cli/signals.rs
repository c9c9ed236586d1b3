//! The signals by which a runner is told things.
//!
//! They are blocked and read, never handled. One that comes while the runner replaces itself stays
//! pending until its successor reads it: there is no moment at which it is lost, or kills.

use std::io;

use nix::sys::signal::{SigSet, Signal, raise};
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
    /// SIGTSTP: Ctrl-Z.
    Suspend,
    /// SIGWINCH, SIGCONT: the terminal has another size, or is ours again.
    Redraw,
}

/// Those that were sent and not read yet.
#[derive(Debug)]
pub(super) struct Signals(AsyncFd<SignalFd>);

/// Those that are about the runner.
const OURS: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR2];

/// Those that are about a terminal that is drawn on.
const OF_TERMINAL: [Signal; 3] = [Signal::SIGTSTP, Signal::SIGCONT, Signal::SIGWINCH];

/// Blocks them, for this thread and all that it starts: call it before there are any.
pub(super) fn block(draws: bool) -> io::Result<()> {
    Ok(all(draws).thread_block()?)
}

fn all(draws: bool) -> SigSet {
    let of_terminal = OF_TERMINAL.iter().filter(|_| draws);
    OURS.iter().chain(of_terminal).copied().collect()
}

/// Does what SIGTSTP does to who does not block it: stops the process until it is continued, unless
/// there is nobody who could do that.
pub(super) fn suspend() -> io::Result<()> {
    let suspend: SigSet = [Signal::SIGTSTP].into_iter().collect();
    raise(Signal::SIGTSTP)?;
    suspend.thread_unblock()?;
    Ok(suspend.thread_block()?)
}

impl Signals {
    /// Those that came since they were blocked, too.
    pub(super) fn new(draws: bool) -> io::Result<Self> {
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for the sake of types whose descriptor can change"
        )]
        let fd =
            AsyncFd::with_interest(SignalFd::with_flags(&all(draws), flags)?, Interest::READABLE)?;
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
            let is = |signal: Signal| number == signal as i32;
            return Ok(match () {
                () if is(Signal::SIGHUP) => Told::Reload,
                () if is(Signal::SIGUSR2) => Told::Replace,
                () if is(Signal::SIGTSTP) => Told::Suspend,
                () if is(Signal::SIGCONT) || is(Signal::SIGWINCH) => Told::Redraw,
                () => Told::Stop,
            });
        }
    }
}
