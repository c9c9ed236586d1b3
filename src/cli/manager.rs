//! What the service manager (systemd) is told, if one waits to be: `sd_notify(3)`.
//!
//! ```text
//! the loop answers ──► READY=1 · WATCHDOG=1        a change, at most once a second ──► STATUS=
//! SIGHUP, an edited file ──► RELOADING=1 … READY=1        told to end ──► STOPPING=1
//! ```

use std::cell::Cell;
use std::env;
use std::ffi::OsStr;
use std::future::pending;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, warn};

use super::head;
use super::output::escaped;
use crate::control::{self, Instance};
use crate::plan::Intent;
use crate::reconcile::Request;

/// The least time from one status to the next.
const REST: Duration = Duration::from_secs(1);

/// Whoever started this process and wants to know how it fares; perhaps nobody.
#[derive(Debug)]
pub(super) struct Manager {
    peer: Option<Peer>,
    /// As it was last told.
    state: Cell<State>,
    /// Within which time it wants to hear from us again and again.
    watchdog: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Ready,
    Reloading,
}

/// A socket, and whom it sends to.
#[derive(Debug)]
struct Peer {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Manager {
    /// As the environment says.
    pub(super) fn from_env() -> Self {
        let path = env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty());
        let peer = path.and_then(|path| match Peer::new(&path) {
            Ok(peer) => Some(peer),
            Err(error) => {
                warn!(event = "manager.unreachable", path = ?path, %error, "the service manager is told nothing");
                None
            }
        });
        Self { peer, state: Cell::new(State::Starting), watchdog: watchdog() }
    }

    /// The file is about to be read anew.
    pub(super) fn reloading(&self) {
        // Before it is ready, a manager would take this for the end of a start.
        if self.state.get() == State::Ready {
            self.state.set(State::Reloading);
            let now = clock_gettime(ClockId::Monotonic);
            let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
            self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
        }
    }

    /// The file was read, whatever came of it.
    pub(super) fn reloaded(&self) {
        if self.state.get() == State::Reloading {
            self.state.set(State::Ready);
            self.tell("READY=1");
        }
    }

    fn tell(&self, message: &str) {
        let Some(Peer { socket, address }) = &self.peer else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            // A manager that does not read is no reason to wait.
            debug!(%error, message, "the service manager was not told");
        }
    }

    /// Tells it how things are, as long as it runs. Never ends.
    pub(super) async fn run(&self, instance: &Instance, mut intent: watch::Receiver<Intent>) {
        if self.peer.is_none() {
            return pending().await;
        }
        // An answer comes between two passes: after the first one at the earliest.
        answer(instance).await;
        self.state.set(State::Ready);
        self.tell("READY=1");
        tokio::join!(
            self.tell_status(instance),
            self.tell_alive(instance),
            self.tell_stopping(&mut intent),
        );
        // The loop has ended.
        pending::<()>().await;
    }

    async fn tell_status(&self, instance: &Instance) {
        let mut changes = instance.changes.clone();
        let mut told = String::new();
        while let Some(status) = control::status(instance).await {
            // A line break would begin another message.
            let now = escaped(&head::line(&status));
            if now != told {
                self.tell(&format!("STATUS={now}"));
                told = now;
            }
            sleep(REST).await;
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Only the loop can say that it goes round.
    async fn tell_alive(&self, instance: &Instance) {
        let Some(within) = self.watchdog else { return };
        let mut beats = interval(within / 2);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            if timeout(within / 2, answer(instance)).await.is_ok() {
                self.tell("WATCHDOG=1");
            }
        }
    }

    async fn tell_stopping(&self, intent: &mut watch::Receiver<Intent>) {
        // It fails once nobody can tell the runner to end any more.
        if intent.wait_for(|intent| *intent != Intent::Run).await.is_ok() {
            self.tell("STOPPING=1");
        }
    }
}

impl Peer {
    fn new(path: &OsStr) -> io::Result<Self> {
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }
}

/// Returns when the loop has answered; never, if it has ended.
async fn answer(instance: &Instance) {
    let (sender, ready) = oneshot::channel();
    let asked = instance.requests.send(Request::Ready(sender));
    if asked.is_err() || ready.await.is_err() {
        pending::<()>().await;
    }
}

fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let micros = number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0)?;
    Some(Duration::from_micros(micros))
}
