//! What an agent wrote: its node keeps that for as long as its pod is there.

use std::fmt;
use std::pin::Pin;

use futures_util::{AsyncBufRead, AsyncReadExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;

use super::api::innermost;
use super::stamps::Stamps;
use crate::plan::pod::CONTAINER;

/// The most bytes that are read at once.
const PART: usize = 64 << 10;

/// What of it is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Whether to wait for more, until it has ended.
    pub follow: bool,
    /// So many of the last lines, if not all.
    pub tail: Option<i64>,
    /// What was written within so many seconds, if not all.
    pub since: Option<i64>,
}

/// Why it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// There is no such pod, or it has not begun.
    #[error("{0}")]
    Nothing(String),
    /// The cluster does not say.
    #[error("the log of its pod cannot be had: {0}")]
    Failed(String),
}

/// What one agent wrote. Where it is cut off, reading it again goes on behind the last that was read.
pub struct Log {
    pods: Api<Pod>,
    pod: String,
    wanted: Wanted,
    stamps: Stamps,
    stream: Option<Pin<Box<dyn AsyncBufRead + Send>>>,
    buffer: Vec<u8>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("pod", &self.pod).finish_non_exhaustive()
    }
}

impl Log {
    pub(super) fn new(pods: Api<Pod>, pod: String, wanted: Wanted) -> Self {
        Self { pods, pod, wanted, stamps: Stamps::default(), stream: None, buffer: vec![0; PART] }
    }

    /// What follows; nothing at its end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// If there is no log yet, or it was cut off.
    pub async fn more(&mut self) -> Result<Option<Vec<u8>>, Unread> {
        if self.stream.is_none() {
            self.stream = Some(self.open().await?);
        }
        while let Some(stream) = &mut self.stream {
            match stream.read(&mut self.buffer).await {
                Ok(0) => {
                    self.stream = None;
                    return self.stamps.words().map_or(Ok(None), |said| Err(Unread::Failed(said)));
                }
                Ok(count) => {
                    let agents = self.stamps.take(self.buffer.get(..count).unwrap_or_default());
                    if !agents.is_empty() {
                        return Ok(Some(agents));
                    }
                }
                Err(error) => {
                    self.stream = None;
                    return Err(Unread::Failed(error.to_string()));
                }
            }
        }
        Ok(None)
    }

    /// Whether any of it was read.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.stamps.since().is_some()
    }

    async fn open(&mut self) -> Result<Pin<Box<dyn AsyncBufRead + Send>>, Unread> {
        self.stamps.resume();
        let Wanted { follow, tail, since } = self.wanted;
        let since_time = self.stamps.since();
        let anew = since_time.is_none();
        let params = LogParams {
            container: Some(CONTAINER.to_owned()),
            follow,
            tail_lines: tail.filter(|_| anew),
            since_seconds: since.filter(|_| anew),
            since_time,
            timestamps: true,
            ..LogParams::default()
        };
        match self.pods.log_stream(&self.pod, &params).await {
            Ok(stream) => Ok(Box::pin(stream)),
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 404) => {
                Err(Unread::Nothing(status.message.clone()))
            }
            Err(error) => Err(Unread::Failed(innermost(&error))),
        }
    }
}
