//! The gate: a process that becomes an agent when it is told to, and ends if nobody does.
//!
//! ```text
//! runner ── birth ──► server ── copy of itself, a child of the runner, in its cgroup ──► gate
//!    │ open its pidfd, record who it is                                                   │
//!    └── what to become ────────────► exec: the socket closes · or the reason why not, as a number
//! ```
//!
//! A runner that dies before it has recorded an agent closes the socket, and then no agent ever
//! ran. So there is no moment at which an agent runs that the next runner does not know of.
//!
//! The server is this program in another process, which does nothing else: it is so small that to
//! copy it costs a fraction of what it costs to run a program, and as the copy is born where it
//! belongs nobody has to be moved into a cgroup. It holds no agent: a runner that loses it starts
//! another.

mod births;
mod privileges;
pub mod sandbox;
mod server;
mod wire;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::stdio::{dup2_stdin, stdin};

use crate::plan::Exit;

pub use births::Births;
pub(super) use births::Gate;
pub(super) use privileges::{END, Privileges, most_files};
pub(super) use wire::{Word, refuse, refused};

/// The first argument by which the runner is a server of gates, and the gates themselves.
pub const VERB: &str = "gate";

/// The exit code of a gate that was never opened.
const CLOSED: u8 = 125;

/// The exit code of a gate whose agent could not be run.
pub(super) const NOT_RUN: u8 = 127;

/// Whether a gate that never became an agent may have ended like this.
#[must_use]
pub(super) fn is_gates_own(exit: Exit) -> bool {
    matches!(exit, Exit::Code(code) if code == i32::from(CLOSED) || code == i32::from(NOT_RUN))
}

/// Serves gates on stdin; or, told so by `args`, is the gate of one agent, which nobody has to
/// record: options, `--` and a command.
#[must_use]
pub fn run(args: &[OsString]) -> ExitCode {
    if args.is_empty() { server::serve() } else { server::become_now(args) }
}

/// The socket that is stdin. An agent gets /dev/null; what is left of the socket closes when it is
/// run.
pub(super) fn take_stdin() -> io::Result<UnixStream> {
    let socket = fcntl_dupfd_cloexec(stdin(), 3)?;
    dup2_stdin(File::open("/dev/null")?)?;
    Ok(socket.into())
}

/// The number that carries an error from a process to another.
pub(super) fn number_of(error: &io::Error) -> i32 {
    // None would be read as none at all.
    error.raw_os_error().unwrap_or(Errno::IO.raw_os_error())
}
