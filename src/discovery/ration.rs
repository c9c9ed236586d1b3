//! What a server may send that costs it nothing and us memory or time: frames without content.
//!
//! HTTP/2 bounds how much DATA may be sent unread, and nothing else. Our stack keeps informational
//! headers (status 1xx) for as long as the call is open, however many there are; it answers each
//! PING and SETTINGS, and counts each reset. So such frames are counted here, before it sees them,
//! and a connection on which there are more than any use of it explains is given up.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::Clock;
use crate::plan::Time;

/// How many frames without content may come at once, and in a second from then on. A call takes
/// three or four, and there are ten calls in a second at most.
const BURST: u64 = 1000;
const PER_SECOND: u64 = 250;

/// The length of what each frame begins with: a length, a kind, flags, a stream.
const HEAD_BYTES: usize = 9;

/// The kind of a frame with content.
const DATA: u8 = 0;

/// A connection, of which what is read is counted.
#[derive(Debug)]
pub(super) struct Rationed<S> {
    inner: S,
    clock: Clock,
    frames: Frames,
    ration: Ration,
}

impl<S> Rationed<S> {
    pub(super) fn new(inner: S, clock: Clock) -> Self {
        Self { inner, clock, frames: Frames::default(), ration: Ration::new(clock.now()) }
    }
}

/// Where in the frames of a connection we are.
#[derive(Debug, Default)]
struct Frames {
    head: Vec<u8>,
    /// How much of the frame after its head is still to come.
    left: usize,
}

impl Frames {
    /// Goes over what came, and says how many frames without content began in it.
    fn pass(&mut self, mut bytes: &[u8]) -> u64 {
        let mut idle = 0;
        while !bytes.is_empty() {
            let content = self.left.min(bytes.len());
            self.left -= content;
            let next = bytes.get(content..).unwrap_or_default();
            let (head, rest) =
                next.split_at_checked(HEAD_BYTES - self.head.len()).unwrap_or((next, &[]));
            self.head.extend_from_slice(head);
            if let &[high, middle, low, kind, ..] = self.head.as_slice()
                && self.head.len() == HEAD_BYTES
            {
                self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                idle += u64::from(kind != DATA || self.left == 0);
                self.head.clear();
            }
            bytes = rest;
        }
        idle
    }
}

/// How many more there may be.
#[derive(Debug)]
struct Ration {
    left: u64,
    since: Time,
}

impl Ration {
    fn new(now: Time) -> Self {
        Self { left: BURST, since: now }
    }

    /// Takes so many, if there are.
    fn take(&mut self, count: u64, now: Time) -> bool {
        let earned = u64::try_from(now.since(self.since).as_millis()).unwrap_or(u64::MAX);
        let earned = earned.saturating_mul(PER_SECOND) / 1000;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(BURST);
            self.since = now;
        }
        let enough = self.left.checked_sub(count);
        self.left = enough.unwrap_or(0);
        enough.is_some()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rationed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let idle = self.frames.pass(buffer.filled().get(before..).unwrap_or_default());
        let now = self.clock.now();
        if idle > 0 && !self.ration.take(idle, now) {
            buffer.set_filled(before);
            return Poll::Ready(Err(io::Error::other(
                "it sends frames without content, on and on",
            )));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rationed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
