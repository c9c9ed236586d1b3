//! The control API: who asks a running instance what is going on, and tells it what to do.
//!
//! ```text
//! CLI, scripts ──gRPC──► control.sock ──► service ──Request──► the loop, between two passes
//!                                            │ ▲
//!                                            │ └── feed (one look for all watchers)
//!                                            └───► events
//! ```
//!
//! Nothing here is on the way of a pass: the loop is asked for a look when somebody wants one, and
//! turning it into an answer is done here. `client.rs` is the other end, for our own verbs.

pub mod client;
mod conditions;
mod explain;
mod feed;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod names;
pub mod preview;
mod selector;
mod service;
mod socket;
mod status;
#[cfg(test)]
mod tests;
mod usage;
mod watchers;
mod words;

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::bytes::Bytes;
use tokio::net::UnixStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;
use tonic::transport::Server;

use crate::events::Events;
use crate::executor::kubernetes::Inquiry;
use crate::proto::control as pb;
use crate::proto::control::runner_server::RunnerServer;
use crate::reconcile::Request;
use feed::Feed;
pub(crate) use feed::look;
pub(crate) use names::{PHASES, phase};
use preview::Draft;
pub(crate) use selector::selects;
use service::Service;
pub(crate) use service::event;
pub(crate) use status::View;

/// The name of the socket in the state directory.
pub const SOCKET: &str = "control.sock";

/// The largest request: a configuration file of 16 MiB, which is the largest that is read.
const MAX_REQUEST_BYTES: usize = 17 << 20;

/// How long somebody may take to be told that nobody can be asked.
const LONGEST_REFUSAL: Duration = Duration::from_secs(10);

/// What the API can be asked that is not the loop's to do.
#[derive(Debug)]
pub enum Ask {
    /// To read the configuration file now.
    Reload(oneshot::Sender<pb::ReloadResponse>),
    /// What this would come to if it were in the configuration file, or else what is wrong with it.
    Draft {
        /// The bytes.
        config: Vec<u8>,
        /// Told what it comes to.
        done: oneshot::Sender<Result<Draft, String>>,
    },
    /// To end, with the agents or without them.
    Stop {
        /// Whether the agents run on.
        leave_agents: bool,
    },
}

/// What the API is about, and whom it asks.
#[derive(Clone, Debug)]
pub struct Instance {
    /// What it is called.
    pub name: String,
    /// The configuration file.
    pub config: PathBuf,
    /// The state directory.
    pub state_dir: PathBuf,
    /// The loop.
    pub requests: mpsc::UnboundedSender<Request>,
    /// When another look may be different.
    pub changes: watch::Receiver<u64>,
    /// What happened.
    pub events: Events,
    /// What can be asked about agents that are pods.
    pub cluster: Option<Inquiry>,
    /// Who carries out the rest.
    pub asks: mpsc::UnboundedSender<Ask>,
}

impl Instance {
    /// Why no agent can be started or stopped now, if its cluster is the reason.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.cluster.as_ref()?.trouble()
    }
}

/// The socket of an instance, and who has come to it.
#[derive(Debug)]
pub struct Socket(UnboundedReceiver<io::Result<UnixStream>>);

/// Listens in the state directory: whoever comes from now on is answered once the API is served.
///
/// # Errors
/// If there can be no socket.
pub fn listen(state_dir: &Path) -> io::Result<Socket> {
    socket::accept(&state_dir.join(SOCKET)).map(Socket)
}

/// The end of an instance: when its sender is dropped.
pub type Over = watch::Receiver<()>;

/// Returns when the instance is over.
pub async fn over(mut over: Over) {
    while over.changed().await.is_ok() {}
}

/// Serves the API to who comes to the socket, until the instance is over and all that it was asked
/// before is answered.
///
/// # Errors
/// If it cannot be served.
pub async fn serve(
    Socket(mut accepted): Socket,
    instance: Instance,
    until: Over,
) -> io::Result<()> {
    // Nothing is made ready for who does not come.
    let first = tokio::select! {
        first = accepted.recv() => first,
        () = over(until.clone()) => None,
    };
    let Some(first) = first else { return Ok(()) };
    let instance = Arc::new(instance);
    let feed = Feed::start(Arc::clone(&instance));
    let service = Service::new(instance, feed, until.clone());
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<RunnerServer<Service>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(io::Error::other)?;
    let peers = tokio_stream::once(first).chain(UnboundedReceiverStream::new(accepted));
    Server::builder()
        .add_service(health)
        .add_service(reflection)
        .add_service(RunnerServer::new(service).max_decoding_message_size(MAX_REQUEST_BYTES))
        .serve_with_incoming_shutdown(peers, over(until))
        .await
        .map_err(io::Error::other)
}

/// Answers whoever comes to the socket that nobody can be asked here, and why. Never ends.
pub async fn refuse(Socket(accepted): &mut Socket, why: impl Fn() -> String) {
    let mut refusing = JoinSet::new();
    while let Some(peer) = accepted.recv().await {
        // Who has gone away again needs no answer.
        let Ok(peer) = peer else { continue };
        let status = Status::unavailable(why());
        let answer = service_fn(move |_| {
            let answer: http::Response<Empty<Bytes>> = status.clone().into_http();
            async move { Ok::<_, Infallible>(answer) }
        });
        refusing.spawn(timeout(
            LONGEST_REFUSAL,
            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(peer), answer),
        ));
        while refusing.try_join_next().is_some() {}
    }
    std::future::pending::<()>().await;
}

/// What is going on, as far as the loop knows of it; none, if it has ended.
pub(crate) async fn status(instance: &Instance) -> Option<pb::Status> {
    let look = look(instance).await?;
    Some(View::of(&look).status())
}

/// Removes the socket.
pub fn close(state_dir: &Path) {
    // A stale one is replaced by the next runner.
    let _ = std::fs::remove_file(state_dir.join(SOCKET));
}
