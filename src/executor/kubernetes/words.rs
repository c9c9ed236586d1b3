//! What the agents of an instance wrote: their nodes keep it for as long as their pods are there. And
//! whether the cluster answers.

use futures_util::AsyncBufRead;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::sync::watch;

use super::api::innermost;
use super::lead::Fence;
use super::name;
use crate::plan::EntityId;
use crate::plan::pod::CONTAINER;

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

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

    /// The namespace of the pods.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.pods.namespace().unwrap_or_default()
    }

    /// What the agent of this incarnation of an entity wrote.
    ///
    /// # Errors
    /// If there is none yet, or it cannot be had.
    pub async fn read(
        &self,
        entity: &EntityId,
        incarnation: i64,
        wanted: Wanted,
    ) -> Result<impl AsyncBufRead + Send + use<>, Unread> {
        let name = name::pod(&self.instance, entity, incarnation);
        let params = LogParams {
            container: Some(CONTAINER.to_owned()),
            follow: wanted.follow,
            tail_lines: wanted.tail,
            since_seconds: wanted.since,
            ..LogParams::default()
        };
        self.pods.log_stream(&name, &params).await.map_err(|error| {
            if let kube::Error::Api(status) = &error
                && matches!(status.code, 400 | 404)
            {
                return Unread::Nothing(status.message.clone());
            }
            Unread::Failed(innermost(&error))
        })
    }
}
