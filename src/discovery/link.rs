//! One way to a world: a connection that is made when it is needed, and the two calls.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::bytes::{Buf, Bytes};
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::failure::Failure;
use crate::clock::Clock;
use crate::plan::Time;

/// The longest message that is read, in bytes: a million entities with ids, types and tags of
/// common length. A longer one is a failed call, and costs no more memory than this.
pub(super) const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// The longest deadline that is put on a call.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a connection with an open call may be silent before the server is asked for a sign
/// of life, and then how long that may take. Without an open call it is not asked.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

const LIST: &str = "/world.EntityDiscoveryService/ListControllableEntities";
const WATCH: &str = "/world.EntityDiscoveryService/WatchControllableEntities";

/// Which connections were made to one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Made {
    /// How many; so also the number of the latest.
    pub(super) count: u64,
    /// When the latest was.
    pub(super) last: Time,
}

/// Counts connections, over all links to a server.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Mutex<Made>>);

impl Connections {
    pub(super) fn made(&self) -> Made {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, now: Time) {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *made = Made { count: made.count + 1, last: now };
    }
}

/// A connection to a server, made anew by itself whenever a call finds it broken.
#[derive(Clone, Debug)]
pub(super) struct Link {
    channel: Channel,
}

impl Link {
    /// A link to `HOST:PORT`, or why that cannot be one. Nothing is connected yet.
    pub(super) fn new(
        server: &str,
        clock: Clock,
        connections: Connections,
    ) -> Result<Self, String> {
        let endpoint = Endpoint::from_shared(format!("http://{server}"))
            .map_err(|error| error.to_string())?
            .http2_keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1)
            .keep_alive_while_idle(false);
        let server: Arc<str> = server.into();
        let connector = tower::service_fn(move |_: Uri| {
            connect(Arc::clone(&server), clock, connections.clone())
        });
        Ok(Self { channel: endpoint.connect_with_connector_lazy(connector) })
    }

    /// Asks for all entities. The answer is not decoded.
    pub(super) fn list(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<Bytes, Failure>> + Send + 'static {
        let mut grpc = self.grpc();
        let timeout = timeout.min(MAX_TIMEOUT);
        within(timeout, async move {
            let mut request = Request::new(());
            request.set_timeout(timeout);
            ready(&mut grpc).await?;
            grpc.unary(request, PathAndQuery::from_static(LIST), Undecoded)
                .await
                .map(tonic::Response::into_inner)
                .map_err(|status| Failure::of_call(&status, timeout))
        })
    }

    /// Opens the stream of events, which then stays open for as long as the server likes. Only
    /// the opening has to be done in time.
    pub(super) fn watch(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<Streaming<Bytes>, Failure>> + Send + 'static {
        let mut grpc = self.grpc();
        let timeout = timeout.min(MAX_TIMEOUT);
        within(timeout, async move {
            ready(&mut grpc).await?;
            grpc.server_streaming(Request::new(()), PathAndQuery::from_static(WATCH), Undecoded)
                .await
                .map(tonic::Response::into_inner)
                .map_err(|status| Failure::of_stream(&status))
        })
    }

    fn grpc(&self) -> Grpc<Channel> {
        Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}

async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(timeout, call).await.unwrap_or(Err(Failure::Deadline(timeout)))
}

async fn ready(grpc: &mut Grpc<Channel>) -> Result<(), Failure> {
    grpc.ready().await.map_err(|error| Failure::of_transport(&error))
}

/// Resolves the name each time: a world may have moved.
async fn connect(
    server: Arc<str>,
    clock: Clock,
    connections: Connections,
) -> io::Result<TokioIo<TcpStream>> {
    let stream = TcpStream::connect(&*server).await?;
    stream.set_nodelay(true)?;
    connections.note(clock.now());
    Ok(TokioIo::new(stream))
}

/// Hands out messages as they came, so that a large one can be decoded off the async threads.
/// All requests are empty.
struct Undecoded;

impl Codec for Undecoded {
    type Encode = ();
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Undecoded {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for Undecoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
