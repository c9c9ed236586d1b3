//! How a runner becomes the program that is on the disk by now: `design/decisions/0013`.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf, absolute};
use std::process::Stdio;
use std::time::Duration;

use tokio::time::timeout;

/// The flag by which a successor is asked whether it could take over, before it has to.
const CHECK: &str = "--check";

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The program that this process may become, with the arguments that this one was given.
#[derive(Clone, Debug)]
pub(super) struct Successor {
    program: PathBuf,
    arg0: OsString,
    args: Vec<OsString>,
}

/// Why the program on the disk cannot take over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error("{} cannot be run: {error}", program.display())]
    NotRun { program: PathBuf, error: io::Error },
    #[error("{} did not answer within {PATIENCE:?}", program.display())]
    Silent { program: PathBuf },
    #[error("{} refused ({status}): {}", program.display(), words.trim())]
    Refused { program: PathBuf, status: std::process::ExitStatus, words: String },
}

impl Successor {
    /// What this process was started as. To be called at its start: later the name that it was
    /// started by may be another program's, or nobody's.
    pub(super) fn new() -> io::Result<Self> {
        let mut words = env::args_os();
        let arg0 = words.next().unwrap_or_default();
        let running = executable()?;
        let program = named(&arg0).filter(|name| is_same(name, &running)).unwrap_or(running);
        Ok(Self { program, arg0, args: words.collect() })
    }

    /// Whether it could take over: it runs, knows all arguments, and finds the file right.
    pub(super) async fn check(&self) -> Result<(), Unfit> {
        let program = || self.program.clone();
        let mut command = tokio::process::Command::new(&self.program);
        let asked = command.args(&self.args).arg(CHECK).stdin(Stdio::null()).kill_on_drop(true);
        let output = match timeout(PATIENCE, asked.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(Unfit::NotRun { program: program(), error }),
            Err(_) => return Err(Unfit::Silent { program: program() }),
        };
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Unfit::Refused { program: program(), status: output.status, words })
    }

    /// Becomes it. Returns only if that fails.
    pub(super) fn take_over(&self) -> io::Error {
        std::process::Command::new(&self.program).arg0(&self.arg0).args(&self.args).exec()
    }
}

/// The runner's own executable, also when another one took its name a moment ago.
pub(super) fn executable() -> io::Result<PathBuf> {
    let path = env::current_exe()?;
    let bytes = path.as_os_str().as_bytes();
    Ok(match bytes.strip_suffix(b" (deleted)") {
        Some(name) if !path.exists() => OsString::from_vec(name.to_vec()).into(),
        Some(_) | None => path,
    })
}

/// The file that the shell would have meant: unlike the executable it may be a symbolic link,
/// which leads elsewhere after an upgrade.
fn named(arg0: &OsStr) -> Option<PathBuf> {
    if arg0.as_bytes().contains(&b'/') {
        return absolute(arg0).ok();
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(arg0)).find(|path| path.is_file())
}

fn is_same(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| path.metadata().map(|file| (file.dev(), file.ino()));
    matches!((file(one), file(other)), (Ok(one), Ok(other)) if one == other)
}
