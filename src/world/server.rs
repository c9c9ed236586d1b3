//! Starting, changing and ending a world.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::core::{Core, closed};
use super::definition::Definition;
use super::services;

/// How long connections get to end by themselves once their streams have.
const DRAIN: Duration = Duration::from_secs(1);

/// The demo world.
#[derive(Clone, Copy, Debug)]
pub struct World;

impl World {
    /// Serves a world on the listener until the handle is shut down or dropped. Must be called
    /// within a tokio runtime.
    pub fn start(definition: Definition, listener: TcpListener) -> io::Result<Handle> {
        let address = listener.local_addr()?;
        let core = Arc::new(Core::new(definition));
        let clock = tokio::spawn(Arc::clone(&core).run());
        let server = tokio::spawn(listen(Arc::clone(&core), listener));
        tracing::info!(%address, "the demo world is open");
        Ok(Handle { address, core, clock: Some(clock), server: Some(server) })
    }
}

/// A running world. Dropping it ends the world, without waiting for it.
#[must_use = "dropping the handle ends the world"]
pub struct Handle {
    address: SocketAddr,
    core: Arc<Core>,
    clock: Option<JoinHandle<()>>,
    server: Option<JoinHandle<()>>,
}

impl Handle {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes the running world what the definition says.
    ///
    /// Newly listed entities come (their times are counted from now), those no longer listed
    /// leave, and changed ones take over their new type, tags and position. An entity that is in
    /// both definitions keeps its lease, and its position unless that is what changed.
    pub fn apply(&self, definition: Definition) {
        self.core.apply(definition);
    }

    /// Ends the world: open streams end with UNAVAILABLE, and when this returns nothing listens
    /// any more. It takes a second at most; a client that does not answer by then keeps a dead
    /// connection, never a stream.
    pub async fn shutdown(mut self) {
        self.core.close();
        if let Some(clock) = self.clock.take() {
            let _ended = clock.await;
        }
        if let Some(mut server) = self.server.take()
            && tokio::time::timeout(DRAIN, &mut server).await.is_err()
        {
            server.abort();
            let _aborted = server.await;
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Why a world could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: choose a free port, or port 0 for any")]
    Listen {
        /// The address as given.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Serves a world on `listen` (`HOST:PORT`) until `shutdown` completes.
pub async fn serve(
    definition: Definition,
    listen: &str,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let refused = |source| ServeError::Listen { address: listen.to_owned(), source };
    let listener = TcpListener::bind(listen).await.map_err(refused)?;
    let world = World::start(definition, listener).map_err(refused)?;
    shutdown.await;
    world.shutdown().await;
    Ok(())
}

async fn listen(core: Arc<Core>, listener: TcpListener) {
    let mut closing = core.closing();
    // Without it every small message waits for the acknowledgement of the one before.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let served = services::router(Server::builder(), &core)
        .serve_with_incoming_shutdown(incoming, async move { closed(&mut closing).await })
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the demo world ended");
        core.close();
    }
}
