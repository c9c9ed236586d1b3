//! The server of gates, and what its copies do. It ends with the runner, and so do they.

use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use nix::sys::signal::SigSet;
use rustix::io::Errno;
use rustix::process::{Pid, setpgid};

use super::privileges::Privileges;
use super::wire::{self, Word, refuse};
use super::{CLOSED, NOT_RUN, number_of, take_stdin};
use crate::executor::contain;
use crate::executor::kernel::{Copied, SingleThreaded, ignore_no_signal};

/// What the runner is told of a birth: whether it was in the cgroup, and the process id, or an
/// error's number below zero.
pub(super) type Answer = [u8; 5];

/// Bears a gate for each request on stdin, until that closes. A gate returns from here as well,
/// if it does not become an agent.
pub(super) fn serve() -> ExitCode {
    match bear_gates() {
        // The runner has closed its end, or is gone.
        Err(_) => ExitCode::SUCCESS,
        Ok(gate) => wait_and_become(&gate),
    }
}

/// Becomes what `args` say, and tells on stdin if that cannot be.
pub(super) fn become_now(args: &[OsString]) -> ExitCode {
    let Ok(socket) = begin() else { return ExitCode::from(NOT_RUN) };
    let Err(refusal) = exec(args, |agent| agent);
    refuse(&socket, refusal);
    ExitCode::from(NOT_RUN)
}

/// The socket that is stdin, in a process that signals reach.
fn begin() -> io::Result<UnixStream> {
    // The runner reads its signals and so has them blocked; an agent must be able to end by them.
    SigSet::empty().thread_set_mask()?;
    ignore_no_signal();
    take_stdin()
}

/// Returns in a gate alone, with its socket.
fn bear_gates() -> io::Result<UnixStream> {
    let mut runner = begin()?;
    let process = SingleThreaded::prove()?;
    loop {
        let (gate, cgroup) = wire::asked(&runner)?;
        let born = bear(&process, cgroup.as_ref());
        if let Ok((Copied::Sibling, _)) = born {
            return Ok(gate.into());
        }
        runner.write_all(&answer(&born))?;
    }
}

/// Tells also whether it was born in the cgroup.
fn bear(process: &SingleThreaded, cgroup: Option<&OwnedFd>) -> io::Result<(Copied, bool)> {
    if let Some(cgroup) = cgroup {
        // Refused by old kernels, and by some containers: it can still be moved there.
        if let Ok(copied) = process.copy(Some(cgroup.as_fd())) {
            return Ok((copied, true));
        }
    }
    Ok((process.copy(None)?, false))
}

fn answer(born: &io::Result<(Copied, bool)>) -> Answer {
    let (number, held) = match born {
        Ok((Copied::Original(pid), held)) => (pid.as_raw_nonzero().get(), *held),
        Ok((Copied::Sibling, _)) => (0, false),
        Err(error) => (-number_of(error), false),
    };
    let [a, b, c, d] = number.to_ne_bytes();
    [held.into(), a, b, c, d]
}

/// What an [`answer`] says: who was born, and whether in the cgroup.
pub(super) fn read_answer([held, number @ ..]: Answer) -> io::Result<(Pid, bool)> {
    let number = i32::from_ne_bytes(number);
    match Pid::from_raw(number) {
        Some(pid) if number > 0 => Ok((pid, held != 0)),
        Some(_) | None => Err(io::Error::from_raw_os_error(number.saturating_neg())),
    }
}

/// Waits for the word, and becomes what it says.
fn wait_and_become(socket: &UnixStream) -> ExitCode {
    if setpgid(None, None).is_err() {
        return ExitCode::from(CLOSED);
    }
    let Ok((word, output)) = Word::receive(socket) else { return ExitCode::from(CLOSED) };
    let Err(refusal) = carry_out(word, output, socket);
    refuse(socket, refusal);
    ExitCode::from(NOT_RUN)
}

/// Returns only what it has to be [refused](refuse) for.
fn carry_out(word: Word, output: OwnedFd, socket: &UnixStream) -> Result<Infallible, i32> {
    let before = |error: io::Error| -number_of(&error);
    env::set_current_dir(&word.cwd).map_err(|error| number_of(&error))?;
    let errors = output.try_clone().map_err(before)?;
    let dress = |mut agent: Command| {
        agent.env_clear().envs(word.env).stdout(output).stderr(errors);
        agent
    };
    let Some(args) = contain::asked(&word.args) else { return exec(&word.args, dress) };
    let socket = socket.try_clone().map_err(before)?;
    Err(before(dress(contain::proxy(args)).stdin(OwnedFd::from(socket)).exec()))
}

/// Becomes the agent, once it is dressed. Returns only what it has to be [refused](refuse) for.
fn exec(args: &[OsString], dress: impl FnOnce(Command) -> Command) -> Result<Infallible, i32> {
    let malformed = -Errno::INVAL.raw_os_error();
    let (privileges, command) = Privileges::parse(args).ok_or(malformed)?;
    let (program, args) = command.split_first().ok_or(malformed)?;
    let mut agent = Command::new(program);
    agent.args(args);
    let mut agent = dress(agent);
    privileges.drop_others().map_err(|error| -number_of(&error))?;
    Err(number_of(&agent.exec()))
}
