//! The blocking part of a start: open the log and write its head, run the program; and the reason
//! if that fails.

use std::env;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::Pid;

use super::leader::abandon;
use super::log_name::log_name;
use super::logs::{self, Opened};
use super::tree::Cgroup;
use super::{Shared, pidfd};
use crate::account::AccountError;
use crate::executor::gate::Privileges;
use crate::executor::{Identity, SpawnRequest, gate};
use crate::fault::{self, Point};
use crate::plan::{AgentSpec, Confinement};

/// Why there is no process.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("the command is empty")]
    NoCommand,
    #[error("cannot open log {}: {}", path.display(), reason(error))]
    Log { path: PathBuf, error: io::Error },
    #[error("working directory {} {}", path.display(), cwd_problem(error))]
    WorkingDirectory { path: PathBuf, error: io::Error },
    #[error("cannot start {program:?}: {problem} ({})", reason(error))]
    Program { program: String, problem: String, error: io::Error },
    #[error("cannot run it as somebody else: {0}")]
    Account(#[from] AccountError),
    #[error("cannot start the gate of an agent: {}", reason(error))]
    Gate { error: io::Error },
    #[error("cannot put the agent into a cgroup: {}", reason(error))]
    Cgroup { error: io::Error },
    #[error("cannot watch {program:?}, so it was killed: {}", reason(error))]
    Watch { program: String, error: io::Error },
    #[error("the start was broken off")]
    BrokenOff,
}

/// An agent that runs.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    /// What holds all that it starts.
    pub(super) cgroup: Option<Cgroup>,
}

/// Starts the process as the leader of a new group, by a gate that is opened once it is recorded
/// who it is. The caller must watch and reap it.
pub(super) fn start(request: &SpawnRequest, with: &Shared) -> Result<Started, StartError> {
    let spec = &request.spec;
    let program = spec.argv.first().ok_or(StartError::NoCommand)?;
    let log = open_log(request)?;
    let (ours, theirs) = UnixStream::pair().map_err(|error| StartError::Gate { error })?;
    let pid = spawn_gate(request, &with.gate, theirs, &log)?;
    with.reaper.keep(pid);
    fault::reach(Point::GateStarted);
    // While it is a gate: what an agent starts is born where the agent is.
    let cgroup = with.trees.hold(request.run, pid).map_err(|error| {
        with.reaper.free(pid, || abandon(pid, None));
        StartError::Cgroup { error }
    })?;
    fault::reach(Point::GateHeld);
    let opened = identify(pid).and_then(|(pidfd, identity)| {
        with.record.identity(request.run, identity);
        fault::reach(Point::GateRecorded);
        // An agent is worth more than the head of its log, for which a full disk has no room.
        if let Err(error) = log.write_header(request, identity.pid) {
            tracing::debug!(run = %request.run, %error, "the head of a log is missing");
        }
        gate::open(ours)?;
        fault::reach(Point::GateOpened);
        Ok(pidfd)
    });
    match opened {
        Ok(pidfd) => Ok(Started { pid, pidfd, cgroup }),
        Err(error) => {
            with.reaper.free(pid, || abandon(pid, cgroup.as_ref()));
            Err(diagnose(spec, program, error))
        }
    }
}

/// Nothing here may take std from `posix_spawn` to `fork`, which copies the page tables: no
/// `pre_exec`, no uid or gid.
fn spawn_gate(
    request: &SpawnRequest,
    gate: &[String],
    socket: UnixStream,
    log: &Opened,
) -> Result<Pid, StartError> {
    let spec = &request.spec;
    let privileges = Privileges::of(&spec.confinement)?;
    let (runner, verb) = gate.split_first().ok_or(StartError::NoCommand)?;
    let (stdout, stderr) = log.twice().map_err(|error| StartError::Gate { error })?;
    let child = Command::new(runner)
        .args(verb)
        .args(privileges.options())
        .args(&spec.argv)
        .env_clear()
        .envs(inherited(&spec.confinement))
        .envs(&spec.env)
        .envs(&request.markers)
        .current_dir(&spec.cwd)
        .stdin(OwnedFd::from(socket))
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0)
        .spawn()
        .map_err(|error| match unusable_cwd(spec) {
            Some(unusable) => unusable,
            None => StartError::Gate { error },
        })?;
    // Dropping `child` neither ends nor reaps the process.
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(StartError::BrokenOff)
}

/// What an agent gets of the runner's own environment.
fn inherited(confinement: &Confinement) -> impl Iterator<Item = (OsString, OsString)> {
    env::vars_os().filter(|(name, _)| confinement.inherits(name.as_encoded_bytes()))
}

/// Who the child is. As it is not reaped, its number cannot have become another's.
fn identify(child: Pid) -> io::Result<(OwnedFd, Identity)> {
    let pidfd = pidfd::open(child)?;
    let start = pidfd::stat(child)?.start;
    let pid = child.as_raw_nonzero().get().unsigned_abs();
    Ok((pidfd, Identity { pid, start }))
}

/// The log, appended to.
fn open_log(request: &SpawnRequest) -> Result<Opened, StartError> {
    let name = log_name(&request.entity);
    logs::open(&request.log_dir, &name, &request.logs)
        .map_err(|error| StartError::Log { path: request.log_dir.join(name), error })
}

/// Finds out what a failed start is about: the error is the same whether it is the working
/// directory, the program or its interpreter that is not there.
fn diagnose(spec: &AgentSpec, program: &str, error: io::Error) -> StartError {
    if let Some(unusable) = unusable_cwd(spec) {
        return unusable;
    }
    let problem = match (error.kind(), find(spec, program)) {
        (ErrorKind::NotFound, Some(found)) => {
            format!("{} is there, but the interpreter that it names is not", found.display())
        }
        (ErrorKind::NotFound, None) if is_bare(program) => "not found in PATH".to_owned(),
        (ErrorKind::NotFound, None) if Path::new(program).is_relative() => {
            format!("not found from {}", spec.cwd.display())
        }
        (ErrorKind::NotFound, None) => "not found".to_owned(),
        (ErrorKind::PermissionDenied, _) => "not a file that may be executed".to_owned(),
        _ if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) => {
            "neither a program nor a script that begins with #!".to_owned()
        }
        _ => "the system refused".to_owned(),
    };
    StartError::Program { program: program.to_owned(), problem, error }
}

fn unusable_cwd(spec: &AgentSpec) -> Option<StartError> {
    // The empty component at the end asks for a directory.
    let errno = access(spec.cwd.join(""), Access::EXEC_OK).err()?;
    Some(StartError::WorkingDirectory { path: spec.cwd.clone(), error: errno.into() })
}

/// The file that would have been run.
fn find(spec: &AgentSpec, program: &str) -> Option<PathBuf> {
    if !is_bare(program) {
        return Some(spec.cwd.join(program)).filter(|path| path.exists());
    }
    let inherited = || env::var_os("PATH").filter(|_| spec.confinement.inherits(b"PATH"));
    let path = spec.env.get("PATH").map(OsString::from).or_else(inherited)?;
    env::split_paths(&path)
        .map(|dir| spec.cwd.join(dir).join(program))
        .find(|candidate| access(candidate, Access::EXEC_OK).is_ok())
}

/// Whether a program of this name is looked for in PATH.
fn is_bare(program: &str) -> bool {
    !program.contains('/')
}

fn cwd_problem(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => "does not exist".to_owned(),
        Some(Errno::NOTDIR) => "is not a directory".to_owned(),
        _ => format!("cannot be entered: {}", reason(error)),
    }
}

/// The error in words, without its number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}
