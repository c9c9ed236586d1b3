//! What the agents of an instance wrote: their nodes keep it for as long as their pods are there. And
//! whether the cluster answers.

use std::fmt;
use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{AsyncBufRead, AsyncReadExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::sync::watch;
use tokio::time::sleep;

use super::api::innermost;
use super::lead::Fence;
use super::name;
use super::stamps::Stamps;
use crate::plan::EntityId;
use crate::plan::pod::CONTAINER;

/// How often the fence is looked at by who waits for it to close.
const FENCE: Duration = Duration::from_secs(1);

/// The most bytes that are read at once.
const PART: usize = 64 << 10;

/// Reads what agents wrote.
#[derive(Clone)]
pub struct Words {
    pods: Api<Pod>,
    instance: String,
    silence: Silence,
}

/// By what is known whether the cluster answers.
#[derive(Clone, Debug)]
pub(super) struct Silence {
    /// Why the watch of the pods has ended, if it has.
    pub(super) watch: watch::Receiver<Option<String>>,
    pub(super) fence: Fence,
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").field("instance", &self.instance).finish_non_exhaustive()
    }
}

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

impl Words {
    pub(super) fn new(pods: Api<Pod>, instance: String, silence: Silence) -> Self {
        Self { pods, instance, silence }
    }

    /// Why nothing can be started or stopped now, if so.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let expired = || "the lease of the instance could not be renewed".to_owned();
        let silent = self.silence.watch.borrow().clone();
        silent.or_else(|| (!self.silence.fence.is_open()).then(expired))
    }

    /// Returns why, once nothing can be started or stopped.
    pub async fn troubled(&self) -> String {
        let mut watch = self.silence.watch.clone();
        loop {
            if let Some(trouble) = self.trouble() {
                return trouble;
            }
            // The fence closes by the clock, and without a word.
            tokio::select! {
                changed = watch.changed() => if changed.is_err() { return pending().await },
                () = sleep(FENCE) => {}
            }
        }
    }

    /// The namespace of the pods.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.pods.namespace().unwrap_or_default()
    }

    /// The log of the agent of this incarnation of an entity. Nothing is asked yet.
    #[must_use]
    pub fn of(&self, entity: &EntityId, incarnation: i64, wanted: Wanted) -> Log {
        let pod = name::pod(&self.instance, entity, incarnation);
        Log {
            pods: self.pods.clone(),
            pod,
            wanted,
            stamps: Stamps::default(),
            stream: None,
            buffer: vec![0; PART],
        }
    }
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
