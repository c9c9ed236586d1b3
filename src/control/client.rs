//! The other end: finds running instances, and talks to one.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::SOCKET;
use crate::executor::local::pidfd::register;
use crate::proto::control::runner_client::RunnerClient;

/// The longest path of a socket, with its final zero (unix(7)).
const LONGEST_PATH: usize = 108;

/// How long to wait for an answer, or for the first one of many.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// The largest answer: a million agents with all that is known of them.
const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// A connection to an instance.
pub type Client = RunnerClient<Channel>;

/// Connects to the instance with this state directory.
///
/// # Errors
/// If none runs there, or it is another user's.
pub fn connect(state_dir: &Path) -> io::Result<Client> {
    let path = state_dir.join(SOCKET);
    // Tried here, where the reason can be told.
    drop(connect_to(&path)?);
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { connect_to(&path).map(TokioIo::new) }
    });
    // The address is never looked at.
    let endpoint = Endpoint::from_static("http://runner.invalid").timeout(DEADLINE);
    let channel = endpoint.connect_with_connector_lazy(connector);
    Ok(Client::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES))
}

fn connect_to(path: &Path) -> io::Result<UnixStream> {
    let stream = reachable(path, StdStream::connect)?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// The process that an instance is.
#[derive(Debug)]
pub struct Process(AsyncFd<OwnedFd>);

impl Process {
    /// That of the instance with this state directory.
    ///
    /// # Errors
    /// If none runs there, or it cannot be seen from here.
    pub fn of(state_dir: &Path) -> io::Result<Self> {
        let pid = connect_to(&state_dir.join(SOCKET))?.peer_cred()?.pid();
        let pid = pid.and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        register(pidfd_open(pid, PidfdFlags::NONBLOCK)?).map(Self)
    }

    /// Returns when it has ended.
    pub async fn ended(&self) {
        // There is an error only where the runtime is over.
        let _ = self.0.readable().await;
    }
}

/// Does something with a socket whose path may be too long for one: by its directory then.
pub(super) fn reachable<T>(
    path: &Path,
    with: impl FnOnce(PathBuf) -> io::Result<T>,
) -> io::Result<T> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return with(path.to_owned());
    };
    if path.as_os_str().as_bytes().len() < LONGEST_PATH {
        return with(path.to_owned());
    }
    let dir = File::open(dir)?;
    with(Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name))
}

/// The state directories of the instances that run on this machine and that can be seen from here.
///
/// # Errors
/// If the system does not tell of its sockets.
pub fn instances() -> io::Result<Vec<PathBuf>> {
    let listed = fs::read_to_string("/proc/net/unix")?;
    // The path is the last of eight words, and may have spaces.
    let paths = listed.lines().filter_map(|line| line.split_once(" /")).map(|(_, path)| path);
    let sockets = paths.map(|path| Path::new("/").join(path));
    let ours = sockets.filter(|path| path.file_name().is_some_and(|name| name == SOCKET));
    // Each connection is listed beside what it came to.
    let dirs: BTreeSet<PathBuf> =
        ours.filter_map(|path| path.parent().map(Path::to_owned)).collect();
    Ok(dirs.into_iter().filter(|dir| StdStream::connect(dir.join(SOCKET)).is_ok()).collect())
}
