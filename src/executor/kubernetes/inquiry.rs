//! What can be asked about the pods of an instance: what they wrote, what they take, and whether their
//! cluster answers.

use std::collections::HashMap;
use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::lead::Fence;
use super::meter::{Meter, PodUsage, Unmeasured};
use super::name;
use super::words::{Log, Wanted};
use crate::plan::EntityId;

/// How often the fence is looked at by who waits for it to close.
const FENCE: Duration = Duration::from_secs(1);

/// How many lines the end of a log has.
const LAST_LINES: i64 = 100;

/// How long the end of a log may take.
const SOON: Duration = Duration::from_secs(2);

/// Asks about the pods of an instance.
#[derive(Clone)]
pub struct Inquiry {
    pods: Api<Pod>,
    instance: String,
    meter: Meter,
    silence: Silence,
}

/// By what is known whether the cluster answers.
#[derive(Clone, Debug)]
pub(super) struct Silence {
    /// Why the watch of the pods has ended, if it has.
    pub(super) watch: watch::Receiver<Option<String>>,
    pub(super) fence: Fence,
}

impl fmt::Debug for Inquiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inquiry").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl Inquiry {
    pub(super) fn new(pods: Api<Pod>, instance: String, silence: Silence) -> Self {
        let meter = Meter::new(&pods, &instance);
        Self { pods, instance, meter, silence }
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
    pub fn log(&self, entity: &EntityId, incarnation: i64, wanted: Wanted) -> Log {
        Log::new(self.pods.clone(), name::pod(&self.instance, entity, incarnation), wanted)
    }

    /// The last lines of the same, so many bytes of them at the most, as far as they can be had soon.
    pub async fn tail(&self, entity: &EntityId, incarnation: i64, most: u64) -> String {
        let lines = Wanted { follow: false, tail: Some(LAST_LINES), since: None };
        let mut log = self.log(entity, incarnation, lines);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        let read = async {
            while let Ok(Some(more)) = log.more().await {
                bytes.extend(more);
                bytes.drain(..bytes.len().saturating_sub(most));
            }
        };
        // What there is by then is better than nothing.
        let _ = timeout(SOON, read).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What the pod of this name takes.
    ///
    /// # Errors
    /// If that is not known.
    pub async fn usage(&self, pod: &str) -> Result<PodUsage, Unmeasured> {
        self.meter.one(pod).await
    }

    /// What each pod takes, by its name, as it was a few seconds ago at the most; without those that
    /// the cluster has not measured yet.
    ///
    /// # Errors
    /// If that is not known.
    pub async fn usages(&self) -> Result<Arc<HashMap<String, PodUsage>>, Unmeasured> {
        self.meter.all().await
    }
}
