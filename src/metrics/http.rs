//! The listener: three pages, one request a connection, and never more of them than a few.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prometheus::{TEXT_FORMAT, TextEncoder};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, error, info};

use super::{Meter, gauges, process};
use crate::reconcile;

/// As many connections are served at one time; others wait in the kernel.
const MOST_CONNECTIONS: usize = 16;

/// How much of a request's head is read, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;

/// How long a connection may last, with all of its request and all of the answer to it.
const LONGEST_CONNECTION: Duration = Duration::from_secs(10);

/// How long the loop may take to answer, before it counts as stuck.
const DEADLINE: Duration = Duration::from_secs(2);

/// How long until an address is tried again that could not be listened at.
const RETRY: Duration = Duration::from_secs(5);

/// Serves metrics where the configuration says, as long as it runs.
#[derive(Debug)]
pub struct Exporter {
    wanted: watch::Receiver<Option<SocketAddr>>,
    sources: Sources,
    listener: Option<Listener>,
    /// Where it should listen and cannot, and when that is tried again.
    failed: Option<(SocketAddr, Instant)>,
}

#[derive(Debug)]
struct Listener {
    /// As it was asked for; the real one may have another port, if 0 was asked for.
    address: SocketAddr,
    socket: TcpListener,
}

/// What a request is answered from.
#[derive(Clone, Debug)]
struct Sources {
    meter: Meter,
    requests: mpsc::UnboundedSender<reconcile::Request>,
}

type Answer = Response<Full<Bytes>>;

impl Exporter {
    /// One that has not begun, for the loop that answers these requests.
    #[must_use]
    pub fn new(
        wanted: watch::Receiver<Option<SocketAddr>>,
        meter: Meter,
        requests: mpsc::UnboundedSender<reconcile::Request>,
    ) -> Self {
        Self { wanted, sources: Sources { meter, requests }, listener: None, failed: None }
    }

    /// Listens where it is wanted at the moment, and begins to count. To be called before anything
    /// happens that is worth counting.
    pub async fn settle(&mut self) {
        let wanted = *self.wanted.borrow_and_update();
        let Some(address) = wanted else {
            self.failed = None;
            if self.listener.take().is_some() {
                self.sources.meter.off();
                info!(event = "metrics.closed", "metrics are not served any more");
            }
            return;
        };
        if self.listener.as_ref().is_some_and(|listener| listener.address == address) {
            self.failed = None;
            return;
        }
        let Err(error) = self.listen(address).await else {
            self.failed = None;
            return;
        };
        let before = self.failed.replace((address, Instant::now() + RETRY));
        if before.is_none_or(|(before, _)| before != address) {
            let now = match &self.listener {
                Some(listener) => format!("they are still served at {}", listener.address),
                None => "they are not served".to_owned(),
            };
            error!(
                event = "metrics.failed", %address, %error,
                "cannot serve metrics at metrics.listen; {now}, and it is tried again"
            );
        }
    }

    async fn listen(&mut self, address: SocketAddr) -> io::Result<()> {
        // The port may be our own, at another address.
        let before = self.listener.take_if(|before| before.address.port() == address.port());
        let before = before.map(|listener| listener.address);
        match TcpListener::bind(address).await {
            Ok(socket) => {
                self.sources.meter.on().map_err(io::Error::other)?;
                let local = socket.local_addr().unwrap_or(address);
                self.listener = Some(Listener { address, socket });
                info!(event = "metrics.listening", address = %local, "metrics are served");
                Ok(())
            }
            Err(error) => {
                if let Some(address) = before {
                    let socket = TcpListener::bind(address).await;
                    self.listener = socket.ok().map(|socket| Listener { address, socket });
                }
                Err(error)
            }
        }
    }

    /// Never ends.
    pub async fn run(&mut self) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Ok(()) = self.wanted.changed() => self.settle().await,
                () = until(self.failed.map(|(_, retry)| retry)) => self.settle().await,
                Some(_) = connections.join_next() => {}
                accepted = accept(self.listener.as_ref()), if connections.len() < MOST_CONNECTIONS => {
                    match accepted {
                        Ok(peer) => {
                            connections.spawn(serve(peer, self.sources.clone()));
                        }
                        // Descriptors may be short for a moment: nobody is helped by a loop
                        // without rest.
                        Err(error) => {
                            debug!(%error, "a connection was not accepted");
                            sleep(Duration::from_millis(100)).await;
                        }
                    }
                }
            }
        }
    }
}

async fn accept(listener: Option<&Listener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.socket.accept().await.map(|(peer, _)| peer),
        None => pending().await,
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

/// One request, and the answer to it.
async fn serve(peer: TcpStream, sources: Sources) {
    let answer = service_fn(move |request| {
        let sources = sources.clone();
        async move { Ok::<_, Infallible>(sources.answer(&request).await) }
    });
    let mut protocol = http1::Builder::new();
    protocol.keep_alive(false).max_buf_size(LONGEST_HEAD);
    let serving = protocol.serve_connection(TokioIo::new(peer), answer);
    if let Ok(Err(error)) = timeout(LONGEST_CONNECTION, serving).await {
        debug!(%error, "a request for metrics was not answered");
    }
}

impl Sources {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            refusal.headers_mut().insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        match request.uri().path() {
            "/metrics" => self.metrics().await,
            "/livez" => match self.ready().await {
                Some(_) => text(StatusCode::OK, "ok\n"),
                None => text(StatusCode::SERVICE_UNAVAILABLE, "the loop does not answer\n"),
            },
            "/readyz" => match self.ready().await {
                Some(true) => text(StatusCode::OK, "ok\n"),
                Some(false) => text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the world was not heard yet, or the runner is about to end\n",
                ),
                None => text(StatusCode::SERVICE_UNAVAILABLE, "the loop does not answer\n"),
            },
            _ => text(StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz\n"),
        }
    }

    /// What the loop answers in time.
    async fn ask<T>(&self, request: fn(oneshot::Sender<T>) -> reconcile::Request) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        self.requests.send(request(sender)).ok()?;
        timeout(DEADLINE, answer).await.ok()?.ok()
    }

    async fn ready(&self) -> Option<bool> {
        self.ask(reconcile::Request::Ready).await
    }

    async fn metrics(&self) -> Answer {
        let Some(look) = self.ask(reconcile::Request::Look).await else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "the loop does not answer\n");
        };
        let meter = self.meter.clone();
        let writing = move || {
            let counted = meter.counters().map(|it| it.families()).unwrap_or_default();
            let families = [counted, gauges::families(&look)?, process::families()?].concat();
            TextEncoder::new().encode_to_string(&families)
        };
        match spawn_blocking(writing).await {
            Ok(Ok(metrics)) => page(StatusCode::OK, TEXT_FORMAT, metrics),
            Ok(Err(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    page(status, "text/plain; charset=utf-8", text)
}

fn page(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Answer {
    let mut page = Response::new(Full::new(text.into()));
    *page.status_mut() = status;
    page.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    page
}
