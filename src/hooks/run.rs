//! One run of the command.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::time::timeout;

use super::Settings;
use crate::events::Record;
use crate::executor::local::pidfd::register;
use crate::executor::local::survey::{INSTANCE, RUN};

/// As much of what it says on stderr is told, in bytes.
const MOST_SAID: usize = 2048;

/// How long the rest of its words may take after its end: a process that it left behind may hold
/// the pipe.
const LINGER: Duration = Duration::from_millis(200);

/// The runner's own variables that are none of the command's: its service manager would take the
/// command for the runner, and the next runner would take it for an agent.
const NOT_INHERITED: [&str; 5] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", INSTANCE, RUN];

/// Why an event was not taken care of.
#[derive(Debug, thiserror::Error)]
pub(super) enum HookError {
    #[error("cannot run {program:?}: {error}")]
    NotRun { program: String, error: io::Error },
    #[error("cannot be watched: {0}")]
    NotWatched(#[from] io::Error),
    #[error("it did not end within {0:?}, and was killed")]
    TimedOut(Duration),
    #[error("{status}{}", after(said))]
    Failed { status: ExitStatus, said: String },
}

fn after(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!("; it said: {said}") }
}

/// Runs it with the event on stdin, and ends all of its process group that it leaves behind. If
/// this is dropped, the group is killed.
pub(super) async fn run(settings: &Settings, record: &Record, text: &str) -> Result<(), HookError> {
    let mut group = Group(start(settings, record)?);
    let (stdin, stderr) = (group.0.stdin.take(), group.0.stderr.take());
    let exit = group.exit()?;
    let mut said = Vec::new();
    {
        let mut talk = pin!(talk((stdin, stderr), text, &mut said));
        let mut is_silent = false;
        let ended = timeout(settings.timeout, async {
            tokio::select! {
                () = &mut talk => {
                    is_silent = true;
                    exit.readable().await.map(drop)
                }
                ended = exit.readable() => ended.map(drop),
            }
        });
        let ended = ended.await;
        group.kill();
        ended.map_err(|_| HookError::TimedOut(settings.timeout))??;
        if !is_silent {
            let _ = timeout(LINGER, talk).await;
        }
    }
    let status = group.0.wait().await?;
    if status.success() {
        return Ok(());
    }
    Err(HookError::Failed { status, said: String::from_utf8_lossy(&said).trim().to_owned() })
}

fn start(settings: &Settings, record: &Record) -> Result<Child, HookError> {
    let mut argv = settings.command.iter();
    let program = argv.next().cloned().unwrap_or_default();
    let mut command = Command::new(&program);
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    command
        .args(argv)
        .envs(settings.env.iter().map(|(name, value)| (name, value)))
        .env("RUNNER_EVENT_KIND", &record.kind)
        .env("RUNNER_EVENT_NAME", &record.entity)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| HookError::NotRun { program, error })
}

/// Tells it the event, and keeps the end of what it says.
async fn talk(
    (stdin, stderr): (Option<ChildStdin>, Option<ChildStderr>),
    text: &str,
    said: &mut Vec<u8>,
) {
    let tell = async {
        if let Some(mut stdin) = stdin {
            // It need not read.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
    };
    let listen = async {
        let Some(mut stderr) = stderr else { return };
        let mut piece = [0; 1024];
        while let Ok(length @ 1..) = stderr.read(&mut piece).await {
            said.extend_from_slice(piece.get(..length).unwrap_or_default());
            said.drain(..said.len().saturating_sub(MOST_SAID));
        }
    };
    tokio::join!(tell, listen);
}

/// A child, and the group that it leads.
struct Group(Child);

impl Group {
    fn leader(&self) -> Option<Pid> {
        // None once it was waited for: its number may be another's then.
        self.0.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
    }

    /// Is readable once the first process has ended, which stays a zombie and holds the number of
    /// the group until it is waited for.
    fn exit(&self) -> io::Result<AsyncFd<OwnedFd>> {
        let leader = self.leader().ok_or(io::ErrorKind::NotFound)?;
        register(pidfd_open(leader, PidfdFlags::NONBLOCK)?)
    }

    fn kill(&self) {
        if let Some(leader) = self.leader() {
            // It fails if nobody is left but the zombie.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
