//! Signals that are waited for together with a socket, as neither the proxy nor the init may have
//! a second thread.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};

/// All signals of this process that can be caught. A child is born with them blocked, so that none
/// is lost before it waits for its own.
pub(super) struct Signals(SignalFd);

impl Signals {
    pub(super) fn block() -> io::Result<Self> {
        let all = SigSet::all();
        all.thread_block()?;
        Ok(Self(SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// Waits until there is a signal, or `socket` has something to say, and tells whether that has.
    pub(super) fn wait_or(&self, socket: Option<&UnixStream>) -> io::Result<bool> {
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut all = vec![readable(self.0.as_fd())];
        all.extend(socket.map(|socket| readable(socket.as_fd())));
        rustix::io::retry_on_intr(|| poll(&mut all, None))?;
        Ok(all.get(1).is_some_and(|socket| !socket.revents().is_empty()))
    }

    /// Those that came. Real-time signals have no names, and are not passed on.
    pub(super) fn take(&self) -> impl Iterator<Item = Signal> {
        let next = || self.0.read_signal().ok().flatten();
        let number = |info: nix::libc::signalfd_siginfo| i32::try_from(info.ssi_signo).ok();
        std::iter::from_fn(next).filter_map(move |info| Signal::try_from(number(info)?).ok())
    }
}
