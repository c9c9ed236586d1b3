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
mod server;
mod wire;

use std::io;

use crate::plan::Exit;

pub use births::Births;
pub(super) use births::Gate;
pub(super) use privileges::Privileges;
pub use server::serve;
pub(super) use wire::Word;

/// The first argument by which the runner is a server of gates, and the gates themselves.
pub const VERB: &str = "gate";

/// The exit code of a gate that was never opened.
const CLOSED: u8 = 125;

/// The exit code of a gate whose agent could not be run.
const NOT_RUN: u8 = 127;

/// Whether a gate that never became an agent may have ended like this.
#[must_use]
pub(super) fn is_gates_own(exit: Exit) -> bool {
    matches!(exit, Exit::Code(code) if code == i32::from(CLOSED) || code == i32::from(NOT_RUN))
}

/// The number that carries an error from a process to another.
fn number_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or_default()
}
