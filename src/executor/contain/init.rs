//! Process 1 of an agent's namespace.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use nix::sys::signal::{Signal, kill};
use nix::unistd;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, wait};

use super::signals::Signals;
use super::{SELF, namespaces};
use crate::executor::gate::{self, take_stdin};

/// All processes of the namespace but this one.
const ALL: unistd::Pid = unistd::Pid::from_raw(-1);

/// Starts the agent, and looks after the namespace until it is empty. However this ends, the
/// kernel ends all others in it.
pub(super) fn run(args: &[OsString]) -> ExitCode {
    match look_after(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The agent, and who is told of its exit. Its end before that is the end of all.
struct Agent {
    pid: Pid,
    proxy: UnixStream,
}

fn look_after(args: &[OsString]) -> io::Result<()> {
    let signals = Signals::block()?;
    let proxy = take_stdin()?;
    namespaces::mount_proc()?;
    let mut agent = start(args, proxy)?;
    loop {
        let proxy_ended = signals.wait_or(agent.as_ref().map(|agent| &agent.proxy))?;
        for signal in signals.take().filter(|signal| *signal != Signal::SIGCHLD) {
            // The agent is not reaped, so the number is its own. Errors would mean that there is
            // nobody to signal.
            let _ = kill(agent.as_ref().map_or(ALL, |agent| nix_pid(agent.pid)), signal);
        }
        if !reap(&mut agent)? || (proxy_ended && agent.is_some()) {
            return Ok(());
        }
    }
}

/// Starts the agent as the leader of a group, as it would be without a namespace; none if it
/// cannot be run.
fn start(args: &[OsString], mut proxy: UnixStream) -> io::Result<Option<Agent>> {
    let (ours, theirs) = UnixStream::pair()?;
    let child = Command::new(SELF)
        .arg(gate::VERB)
        .args(args)
        .stdin(OwnedFd::from(theirs))
        .process_group(0)
        .spawn()?;
    let number = gate::refused(&ours)?;
    tell(&mut proxy, number);
    Ok((number == 0).then(|| Agent { pid: Pid::from_child(&child), proxy }))
}

/// Reaps whoever has ended, and tells whether anybody is left. The proxy is told of the agent's
/// exit, and then that others are left, if so.
fn reap(agent: &mut Option<Agent>) -> io::Result<bool> {
    let mut exit = None;
    let others = loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if agent.as_ref().is_some_and(|agent| agent.pid == pid) => {
                exit = agent.take().map(|agent| (agent.proxy, status));
            }
            Ok(Some(_orphan)) => {}
            Ok(None) => break true,
            Err(Errno::CHILD) => break false,
            Err(errno) => return Err(errno.into()),
        }
    };
    if let Some((mut proxy, status)) = exit {
        tell(&mut proxy, status.as_raw());
        if others {
            tell(&mut proxy, 1);
        }
    }
    Ok(others)
}

/// If that fails the proxy has ended, which is seen elsewhere.
fn tell(proxy: &mut UnixStream, number: i32) {
    let _ = proxy.write_all(&number.to_ne_bytes());
}

fn nix_pid(pid: Pid) -> unistd::Pid {
    unistd::Pid::from_raw(pid.as_raw_nonzero().get())
}
