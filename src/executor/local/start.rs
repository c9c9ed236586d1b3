//! The blocking part of a start: open the log and write its head, run the program; and the reason
//! if that fails.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::Pid;

use super::leader::abandon;
use super::log_name::log_name;
use super::logs::{self, Opened};
use super::tree::{Cgroup, release};
use super::{Shared, pidfd};
use crate::account::AccountError;
use crate::executor::gate::{Gate, Privileges, Word};
use crate::executor::{Identity, RESOURCE_ATTRIBUTES, SpawnRequest};
use crate::fault::{self, Point};
use crate::plan::{AgentSpec, Confinement, Limits, RunId};

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
    #[error(
        "its sandbox names {}, which cannot be used: {}; make it, or leave it out",
        path.display(), reason(error)
    )]
    Sandbox { path: PathBuf, error: io::Error },
    #[error("cannot start the gate of an agent: {}", reason(error))]
    Gate { error: io::Error },
    #[error("cannot put the agent into a cgroup, within its limits: {}", reason(error))]
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
    let word = word(request, with)?;
    let log = open_log(request)?;
    // Before there is a gate: what an agent starts is born where the agent is.
    let limits = &spec.confinement.limits;
    let made = with.trees.make(request.run, limits);
    let made = made.map_err(|error| StartError::Cgroup { error })?;
    fault::reach(Point::CgroupMade);
    let (gate, cgroup) = bear_gate((request.run, limits), made.as_ref(), with)?;
    let pid = gate.pid;
    let opened = identify(pid).and_then(|(pidfd, identity)| {
        with.record.identity(request.run, identity);
        fault::reach(Point::GateRecorded);
        // An agent is worth more than the head of its log, for which a full disk has no room.
        if let Err(error) = log.write_header(request, identity.pid) {
            tracing::debug!(run = %request.run, %error, "the head of a log is missing");
        }
        gate.open(&word, log.output())?;
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

/// A gate, and the cgroup that holds it.
fn bear_gate(
    run: (RunId, &Limits),
    made: Option<&Cgroup>,
    with: &Shared,
) -> Result<(Gate, Option<Cgroup>), StartError> {
    let place = made.and_then(|cgroup| cgroup.open_dir().ok());
    let birth = || with.births.birth(place.as_ref().map(AsFd::as_fd));
    let born = with.reaper.keep_born(birth, |gate| gate.pid);
    let gate = born.map_err(|error| {
        made.into_iter().for_each(release);
        StartError::Gate { error }
    })?;
    fault::reach(Point::GateStarted);
    let held = with.trees.hold(run, made, &gate).map_err(|error| {
        with.reaper.free(gate.pid, || abandon(gate.pid, made));
        StartError::Cgroup { error }
    })?;
    fault::reach(Point::GateHeld);
    Ok((gate, held))
}

/// What the gate is to become.
fn word(request: &SpawnRequest, with: &Shared) -> Result<Word, StartError> {
    let spec = &request.spec;
    let privileges = Privileges::of(&spec.confinement)?;
    look_at_walls(spec)?;
    let mut env: BTreeMap<OsString, OsString> = inherited(&spec.confinement).collect();
    let own = spec.env.iter().chain(&request.markers);
    env.extend(own.map(|(name, value)| (name.into(), value.into())));
    let attributes = env.entry(RESOURCE_ATTRIBUTES.into()).or_default();
    // What is no text is no list of attributes, and is not ours to mend.
    if let Some(given) = attributes.to_str() {
        *attributes = request.resource.added_to(given).into();
    }
    let place = with.trees.gate_option().map(Into::into);
    let options = place.into_iter().chain(privileges.options());
    let args = options.chain(spec.argv.iter().map(Into::into)).collect();
    Ok(Word { cwd: spec.cwd.clone(), args, env: env.into_iter().collect() })
}

/// The gate could tell that a path is not there, but not which.
fn look_at_walls(spec: &AgentSpec) -> Result<(), StartError> {
    let sandbox = spec.confinement.sandbox.iter();
    for (path, _) in sandbox.flat_map(|sandbox| sandbox.paths(&spec.cwd)) {
        if let Err(error) = path.metadata() {
            return Err(StartError::Sandbox { path, error });
        }
    }
    Ok(())
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
        (ErrorKind::PermissionDenied, Some(found)) if spec.confinement.sandbox.is_some() => {
            format!(
                "its sandbox may not let it run {}, or the interpreter that it needs: name their \
                 directories in `read`",
                found.display()
            )
        }
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
