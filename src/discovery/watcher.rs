//! The stream of events that a world may offer: opened, read, closed, opened again.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use prost::bytes::Bytes;
use tokio_stream::Stream;
use tonic::codec::Streaming;

use super::failure::Failure;
use super::retry::Retry;
use crate::plan::Time;

/// How many events are handed out together at most, so that a torrent of them is published
/// piece by piece.
const MAX_BATCH_EVENTS: usize = 4096;

/// From how many bytes on a batch is handed out although there are more events.
const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// How long after a watch that failed at once the next one is opened: the first time, and at most.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A watch that stayed open for this long did not fail at once.
const LASTING: Duration = Duration::from_secs(10);

/// An attempt to open the stream.
pub(super) type Opening = Pin<Box<dyn Future<Output = Result<Streaming<Bytes>, Failure>> + Send>>;

/// Keeps a watch open on the connections where the world offers one.
pub(super) struct Watcher {
    state: State,
    /// The number of the connection on which it shall not be tried again.
    refused_on: Option<u64>,
    /// The number of the connection on which the user was told that there is one.
    announced_on: Option<u64>,
    retry: Retry,
    rest_until: Time,
}

enum State {
    Closed,
    Opening(Opening),
    Open { events: Box<Events>, since: Time },
}

/// What happened to the watch.
pub(super) enum News {
    /// It is open.
    Opened(Streaming<Bytes>),
    /// Events came, in this order: undecoded `ControllableEntitiesEvent`s.
    Told(Vec<Bytes>),
    /// It ended by itself or could not be opened.
    Ended(Failure),
}

impl Watcher {
    pub(super) fn new() -> Self {
        Self {
            state: State::Closed,
            refused_on: None,
            announced_on: None,
            retry: Retry::new(REST.0, REST.1),
            rest_until: Time::default(),
        }
    }

    /// When it is to be opened on this connection, which works. None: not now.
    pub(super) fn open_at(&self, connection: u64) -> Option<Time> {
        match self.state {
            State::Closed if self.refused_on != Some(connection) => Some(self.rest_until),
            State::Closed | State::Opening(_) | State::Open { .. } => None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    pub(super) fn open(&mut self, opening: Opening) {
        self.state = State::Opening(opening);
    }

    /// Whether it is the first one on this connection.
    pub(super) fn opened(&mut self, events: Streaming<Bytes>, connection: u64, now: Time) -> bool {
        self.state =
            State::Open { events: Box::new(Events { stream: events, ended: None }), since: now };
        self.announced_on.replace(connection) != Some(connection)
    }

    /// It is not to be tried again on this connection.
    pub(super) fn refused(&mut self, connection: u64) {
        self.state = State::Closed;
        self.refused_on = Some(connection);
    }

    /// It ended, or cannot be used any more: it is to be opened again, after a rest if it did
    /// not last.
    pub(super) fn ended(&mut self, now: Time) {
        let lasted = match std::mem::replace(&mut self.state, State::Closed) {
            State::Open { since, .. } => now.since(since) >= LASTING,
            State::Closed | State::Opening(_) => false,
        };
        if lasted {
            self.retry.reset();
        } else {
            self.rest_until = now + self.retry.next_wait();
        }
    }

    /// Lets go of the stream, as its connection is given up.
    pub(super) fn close(&mut self) {
        self.state = State::Closed;
    }

    /// The next thing that happens; never, where nothing is open. Nothing is lost if it is not
    /// awaited to its end.
    pub(super) async fn next(&mut self) -> News {
        match &mut self.state {
            State::Closed => pending().await,
            State::Opening(opening) => match opening.await {
                Ok(events) => News::Opened(events),
                Err(failure) => News::Ended(failure),
            },
            State::Open { events, .. } => match poll_fn(|cx| events.poll_batch(cx)).await {
                Ok(batch) => News::Told(batch),
                Err(failure) => News::Ended(failure),
            },
        }
    }
}

/// A stream of events, read in batches.
struct Events {
    stream: Streaming<Bytes>,
    /// Why there will be no more, if that was found while there were events to hand out.
    ended: Option<Failure>,
}

impl Events {
    /// All events that are there, in reason.
    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<Bytes>, Failure>> {
        if let Some(failure) = self.ended.take() {
            return Poll::Ready(Err(failure));
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < MAX_BATCH_EVENTS && bytes < MAX_BATCH_BYTES {
            let failure = match Pin::new(&mut self.stream).poll_next(cx) {
                Poll::Ready(Some(Ok(event))) => {
                    bytes += event.len();
                    batch.push(event);
                    continue;
                }
                Poll::Ready(Some(Err(status))) => Failure::of_stream(&status),
                Poll::Ready(None) => Failure::Connection("the stream was closed".to_owned()),
                Poll::Pending if batch.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            };
            if batch.is_empty() {
                return Poll::Ready(Err(failure));
            }
            self.ended = Some(failure);
            break;
        }
        Poll::Ready(Ok(batch))
    }
}
