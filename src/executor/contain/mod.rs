//! An agent in a PID namespace of its own, which no process leaves and none survives that has
//! lost its first one.
//!
//! ```text
//! gate, opened ── exec ──► proxy ── spawn ──► init, process 1 ── spawn ──► gate ── exec ──► agent
//!                            │ ── signals ──────► │ ── to the agent; once that has ended, to all
//!                            │ ◄── its start, its exit, whether others are left ── │
//! ```
//!
//! The *proxy* is the process that the runner knows as the agent's leader: it hands on each signal
//! that can be caught, and ends as the agent does. The *init* reaps orphans, and ends when it is
//! alone, or when the proxy ends before the agent: the kernel kills the rest then. It is in the
//! proxy's group, carries the agent's marks, and stays if others outlive the agent. So it is found
//! as any member of an agent's group is, by the next runner too, and to end it is to end all.

mod init;
mod namespaces;
mod proxy;
mod signals;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, ExitCode};

use rustix::process::Pid;

/// The first argument by which the runner is the proxy or the init of an agent.
pub const VERB: &str = "contain";

/// The first option of a gate whose agent is to have a PID namespace.
pub(super) const OPTION: &str = "--pid-namespace";

/// The second argument by which the runner is an init.
const INIT: &str = "init";

/// The runner's program, for those who are it already.
pub(super) const SELF: &str = "/proc/self/exe";

/// Is what `args` say: an init, or the proxy that starts one. What follows is for the agent's gate.
#[must_use]
pub fn run(args: &[OsString]) -> ExitCode {
    match args.split_first() {
        Some((first, rest)) if first == INIT => init::run(rest),
        Some(_) | None => proxy::run(args),
    }
}

/// What is left of a gate's arguments if its agent is to have a PID namespace.
pub(super) fn asked(args: &[OsString]) -> Option<&[OsString]> {
    let (first, rest) = args.split_first()?;
    (first == OPTION).then_some(rest)
}

/// What is the proxy: it tells by its stdin, a socket, what a gate does.
pub(super) fn proxy(args: &[OsString]) -> Command {
    let mut proxy = Command::new(SELF);
    proxy.arg(VERB).args(args);
    proxy
}

/// Whether the process says that it is an init. Only to be believed of one that is proven to be
/// an agent's.
pub(super) fn is_init(pid: Pid) -> bool {
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let mut args = line.split(|byte| *byte == 0).skip(1).map(OsStr::from_bytes);
    args.next().is_some_and(|verb| verb == VERB) && args.next().is_some_and(|arg| arg == INIT)
}
