//! The runner's side: gates are asked for here, and opened.

use std::io::{self, ErrorKind, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use super::server::{Answer, read_answer};
use super::wire::{self, Word, refused};

/// How long a birth may take before the server counts as broken. Nobody is reaped meanwhile.
const BIRTH_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an exec may take before the gate counts as broken.
const EXEC_TIMEOUT: Duration = Duration::from_secs(10);

/// Where gates come from.
#[derive(Debug)]
pub struct Births {
    /// The command that is a server of gates.
    command: Vec<String>,
    server: Mutex<Option<Server>>,
}

/// A gate that waits. Dropping it ends it.
#[derive(Debug)]
pub(in crate::executor) struct Gate {
    /// A child of this process.
    pub(in crate::executor) pid: Pid,
    /// Whether it was born in the cgroup.
    pub(in crate::executor) held: bool,
    socket: UnixStream,
}

impl Births {
    /// Nothing is started yet. `command` is what [serves](super::run) gates.
    #[must_use]
    pub fn new(command: Vec<String>) -> Self {
        Self { command, server: Mutex::default() }
    }

    /// Has a gate born, in `cgroup` if the system can do that. The caller must reap it. Blocks.
    ///
    /// # Errors
    /// If there is no server and none can be started, or it cannot be copied.
    pub(in crate::executor) fn birth(&self, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Gate> {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &mut *server {
            match running.birth(cgroup) {
                Err(error) if is_lost(&error) => {
                    tracing::warn!(event = "gates.lost", %error, "the server of gates was lost");
                    // If it had borne one, that ends as its socket does.
                    *server = None;
                }
                born => return born,
            }
        }
        server.insert(Server::start(&self.command)?).birth(cgroup)
    }
}

#[cfg(test)]
impl Births {
    /// Ends the server as if somebody had killed it.
    pub(in crate::executor) fn lose(&self) {
        let server = self.server.lock().unwrap();
        pidfd_send_signal(&server.as_ref().unwrap().pidfd, Signal::KILL).unwrap();
    }
}

/// Whether it is about the server, and not about one gate.
fn is_lost(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe
            | ErrorKind::ConnectionReset
            | ErrorKind::UnexpectedEof
            | ErrorKind::WouldBlock
            | ErrorKind::TimedOut
    )
}

/// A process that bears gates. Dropping it ends it.
#[derive(Debug)]
struct Server {
    socket: UnixStream,
    pidfd: OwnedFd,
}

impl Server {
    fn start(command: &[String]) -> io::Result<Self> {
        let (program, args) = command.split_first().ok_or(ErrorKind::InvalidInput)?;
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_read_timeout(Some(BIRTH_TIMEOUT))?;
        let server = Command::new(program)
            .args(args)
            // Its gates are agents to be, which get nothing that is not named.
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let pidfd = pidfd_open(Pid::from_child(&server), PidfdFlags::empty())?;
        Ok(Self { socket, pidfd })
    }

    fn birth(&mut self, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Gate> {
        let (ours, theirs) = UnixStream::pair()?;
        wire::ask(&self.socket, theirs.as_fd(), cgroup)?;
        drop(theirs);
        let mut answer = Answer::default();
        self.socket.read_exact(&mut answer)?;
        let (pid, held) = read_answer(answer)?;
        Ok(Gate { pid, held, socket: ours })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that answers no more may not see that its socket closes. Errors would mean that it
        // has ended, and was reaped as a stranger.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let id = WaitId::PidFd(self.pidfd.as_fd());
        let _ = retry_on_intr(|| waitid(id.clone(), WaitIdOptions::EXITED));
    }
}

impl Gate {
    /// Opens it. Blocks until the agent runs.
    ///
    /// # Errors
    /// Why it could not be run, as its exec said; or `UnexpectedEof`, `BrokenPipe` if the gate is
    /// gone, `TimedOut` if it does not answer.
    pub(in crate::executor) fn open(self, word: &Word, output: BorrowedFd<'_>) -> io::Result<()> {
        self.socket.set_read_timeout(Some(EXEC_TIMEOUT))?;
        word.send(&self.socket, output)?;
        match refused(&self.socket)? {
            0 => Ok(()),
            number if number < 0 => {
                let error = io::Error::from_raw_os_error(number.saturating_neg());
                Err(io::Error::other(format!(
                    "its user, privileges, sandbox or PID namespace cannot be set: {error}"
                )))
            }
            number => Err(io::Error::from_raw_os_error(number)),
        }
    }
}
