//! The socket: in a directory of mode 0700, of mode 0600, and the peer's user is asked of the kernel
//! all the same.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tracing::{debug, warn};

/// Listens at this path, and passes on who may come in. A socket that is there is a stale one: who
/// calls this has the lock of the directory.
pub(super) fn accept(path: &Path) -> io::Result<UnboundedReceiver<io::Result<UnixStream>>> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = super::client::reachable(path, |path| UnixListener::bind(path))?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    let (peers, accepted) = unbounded_channel();
    tokio::spawn(async move {
        loop {
            let peer = tokio::select! {
                peer = listener.accept() => peer,
                () = peers.closed() => return,
            };
            match peer.and_then(|(peer, _)| Ok((peer.peer_cred()?.uid(), peer))) {
                Ok((uid, peer)) if may_enter(uid) => {
                    if peers.send(Ok(peer)).is_err() {
                        return;
                    }
                }
                Ok((uid, _)) => {
                    warn!(event = "control.refused", uid, "another user was refused");
                }
                // Descriptors may be short for a moment: nobody is helped by a loop without rest.
                Err(error) => {
                    debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(accepted)
}

fn may_enter(uid: u32) -> bool {
    uid == geteuid().as_raw() || uid == 0
}
