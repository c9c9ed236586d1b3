//! Whether changes of files are told, and on what file systems things are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};

use super::Check;

/// How long the kernel may take to tell of a change.
const PATIENCE: Duration = Duration::from_secs(2);

/// Watches a file that is made for it, and looks where the configuration is.
pub(super) fn watch(config: Option<&Path>) -> Check {
    const NAME: &str = "file watch";
    const BLIND: &str = "an edited configuration is noticed within 5 s, not at once";
    let bounds = format!(
        "{} instances and {} watches for each user",
        setting("max_user_instances"),
        setting("max_user_watches")
    );
    if let Err(error) = tried() {
        return Check::degraded(NAME, format!("{error}; {bounds}"), BLIND)
            .help("raise fs.inotify.max_user_instances and fs.inotify.max_user_watches by sysctl");
    }
    let dir = config.and_then(|path| path.canonicalize().ok()?.parent().map(Path::to_owned));
    if let Some((dir, kind)) = dir.and_then(|dir| Some((dir.clone(), file_system(&dir)?)))
        && is_remote(&kind)
    {
        let found = format!("a change was told; but {} is on {kind}; {bounds}", dir.display());
        let means = format!("who edits the file on another machine is not heard: {BLIND}");
        return Check::degraded(NAME, found, means)
            .help("send SIGHUP or run `runner reload` after an edit");
    }
    let means = "an edited configuration is noticed at once";
    Check::ok(NAME, format!("a change was told; {bounds}"), means)
}

fn setting(name: &str) -> String {
    let read = fs::read_to_string(Path::new("/proc/sys/fs/inotify").join(name));
    read.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn tried() -> io::Result<()> {
    let dir = Scratch::make()?;
    let (tell, told) = mpsc::channel();
    let on_event = move |event: notify::Result<notify::Event>| {
        // Only the first one is waited for.
        let _ = tell.send(event.is_ok());
    };
    let mut watcher = notify::recommended_watcher(on_event).map_err(io::Error::other)?;
    watcher.watch(&dir.0, RecursiveMode::NonRecursive).map_err(io::Error::other)?;
    fs::write(dir.0.join("file"), "changed")?;
    match told.recv_timeout(PATIENCE) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(io::Error::other("a change of a file was not told")),
    }
}

/// A directory of ours that goes away with this.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> io::Result<Self> {
        let dir = std::env::temp_dir().join(format!("runner-doctor-{}", std::process::id()));
        fs::create_dir(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The name of the file system that a directory is on, as `mountinfo` has it: that of the deepest
/// mount above it, and of those the latest.
pub(super) fn file_system(dir: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = |line: &str| {
        let (fields, rest) = line.split_once(" - ")?;
        let at = fields.split(' ').nth(4)?.replace("\\040", " ");
        let above = dir.starts_with(&at);
        above.then(|| (at.len(), rest.split(' ').next().unwrap_or_default().to_owned()))
    };
    mounts.lines().filter_map(mount).max_by_key(|(depth, _)| *depth).map(|(_, kind)| kind)
}

/// Whether others change files there without this kernel's knowledge.
pub(super) fn is_remote(kind: &str) -> bool {
    ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "virtiofs", "afs"].contains(&kind)
        || kind.starts_with("fuse")
}
