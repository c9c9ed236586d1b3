//! The gate: a process that becomes an agent when it is told to, and ends if nobody does.
//!
//! ```text
//! runner ── spawn ──► gate, waiting for one byte on its stdin (a socket)
//!    │ open its pidfd, record who it is
//!    └── go ────────► exec of the agent: the socket closes · or the reason why not, as a number
//! ```
//!
//! A runner that dies before it has recorded an agent closes the socket, and then no agent ever
//! ran. So there is no moment at which an agent runs that the next runner does not know of.
//!
//! What an agent is to have no more, such as the runner's user, its gate gives up before the exec.

mod privileges;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use nix::sys::signal::SigSet;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::{dup2_stdin, stdin};

use crate::plan::Exit;

pub(super) use privileges::Privileges;

/// The first argument by which the runner is a gate.
pub const VERB: &str = "gate";

/// Opens the gate.
const GO: u8 = b'G';

/// The exit code of a gate that was never opened.
const CLOSED: u8 = 125;

/// The exit code of a gate whose agent could not be run.
const NOT_RUN: u8 = 127;

/// How long an exec may take before the gate counts as broken.
const EXEC_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a gate that never became an agent may have ended like this.
#[must_use]
pub(super) fn is_gates_own(exit: Exit) -> bool {
    matches!(exit, Exit::Code(code) if code == i32::from(CLOSED) || code == i32::from(NOT_RUN))
}

/// Waits on stdin for the word, and then becomes what `args` say: options, `--` and a command.
#[must_use]
pub fn wait_and_become(args: &[OsString]) -> ExitCode {
    match become_agent(args) {
        Ok(never) => match never {},
        Err(Closed::NoWord) => ExitCode::from(CLOSED),
        Err(Closed::NotRun) => ExitCode::from(NOT_RUN),
    }
}

enum Closed {
    NoWord,
    NotRun,
}

enum Never {}

fn become_agent(args: &[OsString]) -> Result<Never, Closed> {
    // The runner reads its signals and so has them blocked; an agent must be able to end by them.
    SigSet::empty().thread_set_mask().map_err(|_| Closed::NoWord)?;
    // The agent gets /dev/null; what is left of the socket closes when it is run.
    let socket = fcntl_dupfd_cloexec(stdin(), 3).map_err(|_| Closed::NoWord)?;
    let mut socket = UnixStream::from(socket);
    let null = File::open("/dev/null").map_err(|_| Closed::NoWord)?;
    dup2_stdin(&null).map_err(|_| Closed::NoWord)?;

    let mut word = [0];
    match socket.read_exact(&mut word) {
        Ok(()) if word == [GO] => {}
        Ok(()) | Err(_) => return Err(Closed::NoWord),
    }
    let (privileges, command) = Privileges::parse(args).ok_or(Closed::NotRun)?;
    let (program, args) = command.split_first().ok_or(Closed::NotRun)?;
    let number = match privileges.drop_others() {
        Ok(()) => number_of(&Command::new(program).args(args).exec()),
        Err(error) => -number_of(&error),
    };
    // If that fails the runner is gone.
    let _ = socket.write_all(&number.to_ne_bytes());
    Err(Closed::NotRun)
}

fn number_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or_default()
}

/// Opens the gate at the other end of `socket`. Blocks until the agent runs.
///
/// # Errors
/// Why it could not be run, as its exec said; or `BrokenPipe` if the gate is gone, `TimedOut` if
/// it does not answer.
pub(super) fn open(mut socket: UnixStream) -> io::Result<()> {
    socket.set_read_timeout(Some(EXEC_TIMEOUT))?;
    socket.write_all(&[GO])?;
    let mut number = [0; 4];
    let mut read = 0;
    while let Some(rest) = number.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match socket.read(rest) {
            Ok(0) => return Ok(()),
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
    }
    match i32::from_ne_bytes(number) {
        number if number < 0 => {
            let error = io::Error::from_raw_os_error(number.saturating_neg());
            Err(io::Error::other(format!("its user or privileges cannot be changed: {error}")))
        }
        number => Err(io::Error::from_raw_os_error(number)),
    }
}
