//! The server of gates, and what its copies do. It ends with the runner, and so do they.

use std::convert::Infallible;
use std::env;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use nix::sys::signal::SigSet;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Pid, setpgid};
use rustix::stdio::{dup2_stdin, stdin};

use super::privileges::Privileges;
use super::wire::{self, Word};
use super::{CLOSED, NOT_RUN, number_of};
use crate::executor::kernel::{Copied, SingleThreaded};

/// What the runner is told of a birth: whether it was in the cgroup, and the process id, or an
/// error's number below zero.
pub(super) type Answer = [u8; 5];

/// Bears a gate for each request on stdin, until that closes. A gate returns from here as well,
/// if it does not become an agent.
#[must_use]
pub fn serve() -> ExitCode {
    match bear_gates() {
        // The runner has closed its end, or is gone.
        Err(_) => ExitCode::SUCCESS,
        Ok(gate) => match become_agent(&gate) {
            Ok(never) => match never {},
            Err(Closed::NoWord) => ExitCode::from(CLOSED),
            Err(Closed::NotRun) => ExitCode::from(NOT_RUN),
        },
    }
}

/// Returns in a gate alone, with its socket.
fn bear_gates() -> io::Result<UnixStream> {
    // The runner reads its signals and so has them blocked; an agent must be able to end by them.
    SigSet::empty().thread_set_mask()?;
    let process = SingleThreaded::prove()?;
    let mut runner = UnixStream::from(fcntl_dupfd_cloexec(stdin(), 3)?);
    // What an agent gets. Nor may a gate keep open what tells the runner that the server has ended.
    dup2_stdin(&File::open("/dev/null")?)?;
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

enum Closed {
    NoWord,
    NotRun,
}

fn become_agent(mut socket: &UnixStream) -> Result<Infallible, Closed> {
    setpgid(None, None).map_err(|_| Closed::NoWord)?;
    let (word, output) = Word::receive(socket).map_err(|_| Closed::NoWord)?;
    let (privileges, command) = Privileges::parse(&word.args).ok_or(Closed::NotRun)?;
    let (program, args) = command.split_first().ok_or(Closed::NotRun)?;
    let mut agent = Command::new(program);
    agent.args(args).env_clear().envs(word.env);
    let number = match env::set_current_dir(&word.cwd).and_then(|()| output.try_clone()) {
        Err(error) => number_of(&error),
        Ok(errors) => match privileges.drop_others() {
            Err(error) => -number_of(&error),
            Ok(()) => number_of(&agent.stdout(output).stderr(errors).exec()),
        },
    };
    // If that fails the runner is gone.
    let _ = socket.write_all(&number.to_ne_bytes());
    Err(Closed::NotRun)
}
