//! One way to a world: a connection that is made when it is needed, and the two calls.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::bytes::{Buf, Bytes};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::failure::Failure;
use super::ration::Rationed;
use crate::clock::Clock;
use crate::credentials::{self, Credentials, Refusal, Tls};
use crate::plan::Time;

/// The longest message that is read, in bytes: a million entities with ids, types and tags of
/// common length. A longer one is a failed call, and costs no more memory than this.
pub(super) const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// The longest deadline that is put on a call.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a connection with an open call may be silent before the server is asked for a sign
/// of life, and then how long that may take. Without an open call it is not asked.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// After how long a silence the server's kernel is asked for a sign of life, how long it has for
/// that, and how often it is asked. It is no call and no ping of HTTP/2, which servers take ill if
/// they come often: a machine that vanished, or that came back and knows nothing of us, is found
/// out in this time, and the keepalive above finds a server that hangs. Nor is it asked while it
/// owes an acknowledgment: what is sent to it has as long for that as all the probes take.
const PROBES: (Duration, Duration, u32) = (Duration::from_secs(5), Duration::from_secs(2), 3);

const AUTHORIZATION: &str = "authorization";

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
    /// Of the latest connection.
    refusal: Arc<Mutex<Refusal>>,
    token_file: Option<Arc<Path>>,
}

impl Link {
    /// A link to `HOST:PORT`, or why that cannot be one. Nothing is connected yet, and no file read.
    pub(super) fn new(
        server: &str,
        credentials: &Credentials,
        clock: Clock,
        connections: Connections,
    ) -> Result<Self, String> {
        let scheme = if credentials.tls.is_some() { "https" } else { "http" };
        let origin = format!("{scheme}://{server}").parse().map_err(|error| format!("{error}"))?;
        let endpoint = Endpoint::from_shared(format!("http://{server}"))
            .map_err(|error| error.to_string())?
            .origin(origin)
            .http2_keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1)
            .keep_alive_while_idle(false);
        let to: Arc<Place> =
            Place { server: server.to_owned(), tls: credentials.tls.clone() }.into();
        let refusal: Arc<Mutex<Refusal>> = Arc::default();
        let latest = Arc::clone(&refusal);
        let connector = tower::service_fn(move |_: Uri| {
            let refusal = Refusal::default();
            *latest.lock().unwrap_or_else(PoisonError::into_inner) = refusal.clone();
            connect(Arc::clone(&to), refusal, clock, connections.clone())
        });
        let token_file = credentials.token_file.as_deref().map(Into::into);
        let channel = endpoint.connect_with_connector_lazy(connector);
        Ok(Self { channel, refusal, token_file })
    }

    /// Asks for all entities. The answer is not decoded.
    pub(super) fn list(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<Bytes, Failure>> + Send + 'static {
        let (mut grpc, token_file) = (self.grpc(), self.token_file.clone());
        let refusal = Arc::clone(&self.refusal);
        let timeout = timeout.min(MAX_TIMEOUT);
        within((timeout, refusal), async move {
            let mut request = Request::new(());
            request.set_timeout(timeout);
            let bearer = bear(&mut request, token_file).await?;
            ready(&mut grpc).await?;
            // As a stream, as tonic would leave all but the first message unread: what is not
            // exactly one message and a good end is no answer.
            let list = PathAndQuery::from_static(LIST);
            let of_call = |status| Failure::of_call(&silent(status, bearer.as_ref()), timeout);
            let answers = grpc.server_streaming(request, list, Undecoded).await.map_err(of_call)?;
            let mut answers = answers.into_inner();
            let answer = answers.message().await.map_err(of_call)?;
            let more = answers.message().await.map_err(of_call)?;
            answer.filter(|_| more.is_none()).ok_or(Failure::NotOne)
        })
    }

    /// Opens the stream of events, which then stays open for as long as the server likes. Only
    /// the opening has to be done in time.
    pub(super) fn watch(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<Streaming<Bytes>, Failure>> + Send + 'static {
        let (mut grpc, token_file) = (self.grpc(), self.token_file.clone());
        let refusal = Arc::clone(&self.refusal);
        let timeout = timeout.min(MAX_TIMEOUT);
        within((timeout, refusal), async move {
            let mut request = Request::new(());
            let bearer = bear(&mut request, token_file).await?;
            ready(&mut grpc).await?;
            grpc.server_streaming(request, PathAndQuery::from_static(WATCH), Undecoded)
                .await
                .map(tonic::Response::into_inner)
                .map_err(|status| Failure::of_stream(&silent(status, bearer.as_ref())))
        })
    }

    fn grpc(&self) -> Grpc<Channel> {
        Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}

/// Has a call bear the token that the file holds now: a server may judge each call by it, and it
/// may live shorter than a connection.
async fn bear(
    request: &mut Request<()>,
    token_file: Option<Arc<Path>>,
) -> Result<Option<MetadataValue<Ascii>>, Failure> {
    let Some(file) = token_file else { return Ok(None) };
    let read = spawn_blocking(move || credentials::bearer(&file)).await;
    let bearer = read.map_err(|error| Failure::Connection(error.to_string()))??;
    request.metadata_mut().insert(AUTHORIZATION, bearer.clone());
    Ok(Some(bearer))
}

/// What a server answers is told to people: not the token, though, that it may repeat.
fn silent(status: Status, bearer: Option<&MetadataValue<Ascii>>) -> Status {
    let token = bearer.and_then(|bearer| bearer.to_str().ok()?.strip_prefix("Bearer "));
    match token.filter(|token| status.message().contains(token)) {
        Some(token) => Status::new(status.code(), status.message().replace(token, "[token]")),
        None => status,
    }
}

async fn within<T>(
    (timeout, refusal): (Duration, Arc<Mutex<Refusal>>),
    call: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let done = tokio::time::timeout(timeout, call).await.unwrap_or(Err(Failure::Deadline(timeout)));
    let refusal = refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match (done, refusal.told()) {
        (Err(Failure::Connection(_)), Some(told)) => Err(Failure::Connection(told.to_owned())),
        (done, _) => done,
    }
}

async fn ready(grpc: &mut Grpc<Channel>) -> Result<(), Failure> {
    grpc.ready().await.map_err(|error| Failure::of_transport(&error))
}

/// What is connected to.
struct Place {
    server: String,
    tls: Option<Tls>,
}

/// A connection, private or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Resolves the name each time, and reads the files: a world may have moved, and certificates are
/// replaced.
async fn connect(
    to: Arc<Place>,
    refusal: Refusal,
    clock: Clock,
    connections: Connections,
) -> io::Result<TokioIo<Rationed<Box<dyn Stream>>>> {
    let stream = TcpStream::connect(&to.server).await?;
    stream.set_nodelay(true)?;
    let (idle, interval, count) = PROBES;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, idle)?;
    sockopt::set_tcp_keepintvl(&stream, interval)?;
    sockopt::set_tcp_keepcnt(&stream, count)?;
    let patience = (idle + interval * count).as_millis();
    sockopt::set_tcp_user_timeout(&stream, u32::try_from(patience).unwrap_or(u32::MAX))?;
    let stream: Box<dyn Stream> = match &to.tls {
        None => Box::new(stream),
        Some(tls) => Box::new(credentials::connect(tls, &to.server, (stream, refusal)).await?),
    };
    connections.note(clock.now());
    Ok(TokioIo::new(Rationed::new(stream, clock)))
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
