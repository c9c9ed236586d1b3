//! One run of `uv sync`.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;
use tracing::debug;

use crate::plan::template::{python, venv};

/// As much of what uv says is kept, in lines and in bytes of a line.
const MOST_LINES: usize = 40;
const LONGEST_LINE: u64 = 1024;
/// How long the rest of uv's words may take after its end: a process that it left behind may hold
/// the pipe.
const LINGER: Duration = Duration::from_secs(1);

/// Why there is no environment, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(super) enum SyncError {
    #[error(
        "no pyproject.toml in {}, so there is nothing to sync: `cwd` or `runner.agents_dir` must \
         name a project's directory (`uv init --bare` makes one), or `runner.launcher` be a list \
         such as [\"python3\", \"-m\"]", dir.display()
    )]
    NoProject { dir: PathBuf },
    #[error(
        "uv is not in PATH: install it (https://docs.astral.sh/uv/), or let `runner.launcher` be \
         a list such as [\"python3\", \"-m\"]"
    )]
    NoUv,
    #[error("cannot run uv: {0}")]
    NotRun(#[from] io::Error),
    #[error("uv sync failed ({status}) and said:\n{said}")]
    Failed { status: ExitStatus, said: String },
    #[error("uv sync succeeded, but there is no {}", python.display())]
    NoPython { python: PathBuf },
}

/// Has `uv` make the environment of the project in `dir` as its files say; returns the last line of what
/// uv said. If this is dropped, uv is killed with all it started.
pub(super) async fn sync(uv: &Path, dir: &Path) -> Result<String, SyncError> {
    let mut child = command(uv, dir).spawn().map_err(|error| {
        let missing = error.kind() == io::ErrorKind::NotFound;
        if missing { SyncError::NoUv } else { SyncError::NotRun(error) }
    })?;
    let stderr = child.stderr.take();
    let mut group = Group(child);
    let mut said = VecDeque::new();
    let status = {
        let mut listening = pin!(listen(stderr, &mut said));
        tokio::select! {
            biased;
            () = &mut listening => group.0.wait().await?,
            status = group.0.wait() => {
                let _ = timeout(LINGER, listening).await;
                status?
            }
        }
    };
    if !status.success() {
        let said = Vec::from(said).join("\n");
        return Err(SyncError::Failed { status, said });
    }
    let python = python(dir);
    if !python.exists() {
        return Err(SyncError::NoPython { python });
    }
    Ok(said.pop_back().unwrap_or_default())
}

fn command(uv: &Path, dir: &Path) -> Command {
    let mut command = Command::new(uv);
    command
        .args(["sync", "--color", "never"])
        .current_dir(dir)
        // Where agents look for it: also for a member of a workspace, and if the user's shell says
        // otherwise.
        .env("UV_PROJECT_ENVIRONMENT", venv(dir))
        .env_remove("VIRTUAL_ENV")
        // The runner's own, for its service manager.
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    command
}

/// Keeps the end of what uv says.
async fn listen(stderr: Option<ChildStderr>, said: &mut VecDeque<String>) {
    let Some(stderr) = stderr else { return };
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    while let Ok(1..) = (&mut stderr).take(LONGEST_LINE).read_until(b'\n', &mut line).await {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        debug!(event = "project.uv", "{text}");
        if said.len() == MOST_LINES {
            said.pop_front();
        }
        said.push_back(text);
    }
}

/// A child, and the group that it leads.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // None once it was waited for: its number may be another's then.
        let pid = self.0.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}
