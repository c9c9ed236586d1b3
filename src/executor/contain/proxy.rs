//! The process that stands for the agent in the runner's own namespace.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitCode, ExitStatus};

use nix::sys::prctl::set_dumpable;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::low_level::{emulate_default_handler, raise};

use super::signals::Signals;
use super::{INIT, SELF, VERB, namespaces};
use crate::executor::gate::{NOT_RUN, number_of, refuse, take_stdin};

/// Starts the agent in a namespace, and ends as it does.
pub(super) fn run(args: &[OsString]) -> ExitCode {
    match follow(args) {
        Ok(Some(status)) => end_as(status),
        Ok(None) | Err(_) => ExitCode::from(NOT_RUN),
    }
}

/// Hands on signals until the agent has ended; none if it could not be started.
fn follow(args: &[OsString]) -> io::Result<Option<ExitStatus>> {
    let signals = Signals::block()?;
    let runner = take_stdin()?;
    let (mut init, mut told) = match namespaces::enter().and_then(|()| spawn_init(args)) {
        Ok(begun) => begun,
        Err(error) => {
            refuse(&runner, -number_of(&error));
            return Ok(None);
        }
    };
    let number = i32::try_from(init.id()).map_err(io::Error::other)?;
    let (mut runner, mut status) = (Some(runner), None);
    loop {
        let is_told = signals.wait_or(Some(&told))?;
        for signal in signals.take() {
            // It is not reaped, so the number is its own.
            let _ = kill(Pid::from_raw(number), signal);
        }
        if !is_told {
            continue;
        }
        match (next(&mut told), runner.take(), status) {
            // The runner sees it run when the socket closes.
            (Some(0), Some(_runner), _) => {}
            (Some(number), Some(runner), _) => {
                refuse(&runner, number);
                init.wait()?;
                return Ok(None);
            }
            (Some(ended), None, None) => status = Some(ExitStatus::from_raw(ended)),
            // Others are left, whom the init stays for.
            (Some(_), None, Some(status)) => return Ok(Some(status)),
            (None, _, status) => {
                init.wait()?;
                // An init that ended first took the agent with it.
                return Ok(Some(status.unwrap_or(ExitStatus::from_raw(Signal::SIGKILL as i32))));
            }
        }
    }
}

/// The first child that is born after the namespace was made is its process 1.
fn spawn_init(args: &[OsString]) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let init =
        Command::new(SELF).args([VERB, INIT]).args(args).stdin(OwnedFd::from(theirs)).spawn()?;
    Ok((init, ours))
}

/// The next number that the init tells; none if it has ended.
fn next(told: &mut UnixStream) -> Option<i32> {
    let mut number = [0; 4];
    told.read_exact(&mut number).ok()?;
    Some(i32::from_ne_bytes(number))
}

/// Ends with the same exit code, or by the same signal.
fn end_as(status: ExitStatus) -> ExitCode {
    if let Some(signal) = status.signal() {
        // Whoever looks for a core looks for the agent's.
        let _ = set_dumpable(false);
        // The former does not know real-time signals, and the latter is blocked or ignored for
        // others.
        let _ = emulate_default_handler(signal).or_else(|_| raise(signal));
    }
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(NOT_RUN))
}
