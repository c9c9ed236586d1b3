//! Where state is kept, and who has it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open, statvfs};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, fcntl_getlk};
use tokio::time::timeout;

use super::Check;
use super::files::{file_system, is_remote};
use crate::cli::file::{Loaded, state_home};
use crate::cli::output::bytes;
use crate::control::client::{connect, instances};
use crate::proto::control as pb;

/// How long an instance may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// The least room for state: the journal and the events of a runner with many agents.
const ROOM_BYTES: u64 = 64 << 20;

/// The directory that would be used; without a configuration, that of all state directories.
pub(super) fn state_dir(loaded: Option<&Loaded>, named: Option<&Path>) -> io::Result<PathBuf> {
    match (loaded, named) {
        (Some(loaded), _) => loaded.state_dir(),
        (None, Some(named)) => absolute(named),
        (None, None) => Ok(state_home()?.join("runner")),
    }
}

pub(super) fn checks(state_dir: &io::Result<PathBuf>) -> Vec<Check> {
    const NAME: &str = "state directory";
    const NEEDED: &str = "no runner can be started with it";
    match state_dir {
        Ok(dir) => vec![directory(dir), lock(dir)],
        Err(error) => vec![
            Check::missing(NAME, error.to_string(), NEEDED)
                .help("give --state-dir, or set `runner.state_dir`"),
        ],
    }
}

fn directory(dir: &Path) -> Check {
    const NAME: &str = "state directory";
    // It is made when a runner starts.
    let there = dir.ancestors().find(|above| above.exists()).unwrap_or(dir);
    let shown = if there == dir {
        dir.display().to_string()
    } else {
        format!("{} (not made yet)", dir.display())
    };
    if let Err(error) = write_into(there) {
        let found = format!("{shown}: nothing can be written into {}: {error}", there.display());
        return Check::missing(NAME, found, "no runner can be started with it")
            .help("give it to the user who runs this, or another one by --state-dir");
    }
    let kind = there.canonicalize().ok().and_then(|dir| file_system(&dir)).unwrap_or_default();
    let room = statvfs(there).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
    let found = format!("{shown}, on {kind}, {} free", bytes(room));
    if room < ROOM_BYTES {
        return Check::degraded(NAME, found, "what happened and who runs may not be written down")
            .help("make room on that file system");
    }
    match kind.as_str() {
        "tmpfs" | "ramfs" => Check::degraded(
            NAME,
            found,
            "orders such as `suspend`, and what happened, are lost with the next boot",
        )
        .help("give another one by --state-dir, or `runner.state_dir`"),
        kind if is_remote(kind) => {
            Check::degraded(NAME, found, "its lock may not keep a runner on another machine away")
                .help("give one on a local file system by --state-dir, or `runner.state_dir`")
        }
        _ => Check::ok(NAME, found, "who runs is written down, so that agents outlive the runner"),
    }
}

/// Writes into a file without a name, which is gone as soon as it is closed; into one that is
/// removed, on file systems that have none.
fn write_into(dir: &Path) -> io::Result<()> {
    let (mode, flags) = (Mode::RUSR | Mode::WUSR, OFlags::WRONLY | OFlags::CLOEXEC);
    let file = match open(dir, flags | OFlags::TMPFILE, mode) {
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
            let path = dir.join(format!(".runner-doctor-{}", std::process::id()));
            let file = open(&path, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
            fs::remove_file(path)?;
            file
        }
        opened => opened?,
    };
    rustix::io::write(file, b"runner doctor")?;
    Ok(())
}

/// Asks for the lock, without taking it.
fn lock(dir: &Path) -> Check {
    const NAME: &str = "state lock";
    let path = dir.join("lock");
    let Ok(file) = File::open(&path) else {
        return Check::ok(NAME, "nobody has had it yet", "a runner can take it");
    };
    match fcntl_getlk(&file, &Flock::from(FlockType::ReadLock)) {
        Ok(None) => Check::ok(NAME, "free", "a runner can take it"),
        Ok(Some(_)) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            let found = format!("process {} has it", holder.trim());
            Check::ok(NAME, found, "another runner with this state directory ends with 3")
        }
        Err(errno) => Check::degraded(
            NAME,
            format!("the file system does not tell: {errno}"),
            "two runners may take it at a time",
        )
        .help("give a state directory on a local file system"),
    }
}

/// Who answers there; wherever one runs, if the command line names none.
pub(super) async fn instance(state_dir: &io::Result<PathBuf>, names_one: bool) -> Check {
    const NAME: &str = "instance";
    let dirs = match state_dir {
        Ok(dir) if names_one => vec![dir.clone()],
        Ok(_) | Err(_) => instances().unwrap_or_default(),
    };
    let (mut running, mut silent) = (Vec::new(), Vec::new());
    for dir in dirs {
        match status(&dir).await {
            Some(Ok(status)) => {
                let pb::Status { name, version, pid, .. } = status;
                running.push(format!("{name}: version {version}, process {pid}"));
            }
            Some(Err(why)) => silent.push(format!("{}: {why}", dir.display())),
            None => {}
        }
    }
    if !silent.is_empty() {
        let means = "the verbs that ask it get no answer either";
        return Check::degraded(NAME, silent.join("; "), means)
            .help("look at its log, and at what its process waits for");
    }
    if running.is_empty() {
        return Check::ok(NAME, "none runs", "`runner reconcile` starts one");
    }
    Check::ok(NAME, running.join("; "), "the verbs can ask it")
}

/// None if nobody is there.
async fn status(dir: &Path) -> Option<Result<pb::Status, String>> {
    let mut client = connect(dir).ok()?;
    Some(match timeout(PATIENCE, client.get_status(pb::GetStatusRequest {})).await {
        Ok(Ok(status)) => Ok(status.into_inner()),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_elapsed) => Err(format!("no answer within {PATIENCE:?}")),
    })
}
