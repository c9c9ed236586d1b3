//! Holding the Lease of an instance, and what follows from that for writes.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::api::{ClusterError, MANAGER, innermost};
use super::labels;
use super::lease::{Answer, Call, DURATION, Elector, Lease, Standing};
use crate::clock::since_boot;
use crate::plan::Time;
use crate::plan::pod::MANAGED_BY;

/// How long one call about the lease may take: two fit into the time for which it may be acted upon.
const CALL: Duration = Duration::from_millis(2_500);

/// Lets writes through for as long as the lease may be acted upon.
///
/// By a clock that goes on while the machine sleeps, and read for each write: a process that was
/// stopped, and is let go on when somebody else leads, writes nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Fence(Arc<AtomicU64>);

impl Fence {
    pub(super) fn is_open(&self) -> bool {
        !self.left().is_zero()
    }

    /// How long it is open yet.
    pub(super) fn left(&self) -> Duration {
        let until = Time::from_millis(self.0.load(Ordering::Acquire));
        until.since(since_boot())
    }

    fn set(&self, until: Time) {
        let millis = until.since(Time::default()).as_millis();
        self.0.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Release);
    }
}

/// The lease is held, until it is dropped or somebody else has it.
#[derive(Debug)]
pub(super) struct Leadership {
    standing: watch::Receiver<Standing>,
    resumed: bool,
    task: AbortHandle,
}

impl Leadership {
    /// Waits until the lease is ours, and keeps it from then on; `me` is who we are, and nobody else
    /// is.
    ///
    /// # Errors
    /// If the server does not let us.
    pub(super) async fn take(
        client: &Client,
        namespace: &str,
        (name, me, leader): (&str, &str, &watch::Sender<String>),
        fence: Fence,
    ) -> Result<Self, ClusterError> {
        let candidate = Candidate {
            leases: Api::namespaced(client.clone(), namespace),
            name: name.to_owned(),
            me: me.to_owned(),
            elector: Elector::new(me.to_owned()),
            fence,
            acquired: Timestamp::now(),
        };
        let candidate = candidate.wait(leader).await?;
        let resumed = candidate.elector.resumed();
        let (told, standing) = watch::channel(Standing::Leads);
        let task = tokio::spawn(candidate.hold(told)).abort_handle();
        Ok(Self { standing, resumed, task })
    }

    /// Whether nobody else led since we last did.
    pub(super) fn resumed(&self) -> bool {
        self.resumed
    }

    /// Tells when somebody else leads.
    pub(super) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One of those who want the lease.
struct Candidate {
    leases: Api<Object>,
    name: String,
    me: String,
    elector: Elector,
    fence: Fence,
    /// When it took the lease last; for people.
    acquired: Timestamp,
}

impl Candidate {
    async fn wait(mut self, leader: &watch::Sender<String>) -> Result<Self, ClusterError> {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let mut watch = pin!(watcher(self.leases.clone(), config).default_backoff());
        loop {
            if let Some(call) = self.elector.call(since_boot()) {
                let answer = self.ask(&call).await?;
                self.elector.answered(answer, since_boot());
            }
            if self.elector.standing() == Standing::Leads {
                self.fence.set(self.elector.acts_until());
                self.say_that_it_leads();
                return Ok(self);
            }
            if let Some(holder) = self.elector.holder().filter(|holder| *holder != self.me)
                && *leader.borrow() != holder
            {
                info!(
                    event = "lease.waiting", lease = %self.name, %holder,
                    "another runner leads this instance; this one stands by"
                );
                leader.send_replace(holder.to_owned());
            }
            let due = self.elector.due().map_or(DURATION, |due| due.since(since_boot()));
            tokio::select! {
                event = watch.next() => match event {
                    Some(Ok(watcher::Event::Apply(it) | watcher::Event::InitApply(it))) => {
                        self.elector.shown(Some(lease(&it)), since_boot());
                    }
                    Some(Ok(watcher::Event::Delete(_))) => self.elector.shown(None, since_boot()),
                    Some(Ok(watcher::Event::Init | watcher::Event::InitDone) | Err(_)) => {}
                    None => sleep(due).await,
                },
                () = sleep(due) => {}
            }
        }
    }

    fn say_that_it_leads(&self) {
        info!(event = "lease.held", lease = %self.name, holder = %self.me, "this runner leads");
    }

    /// Renews it until somebody else has it.
    async fn hold(mut self, told: watch::Sender<Standing>) {
        loop {
            let due = self.elector.due().map_or(DURATION, |due| due.since(since_boot()));
            sleep(due).await;
            let Some(call) = self.elector.call(since_boot()) else { continue };
            let was_open = self.fence.is_open();
            let answer = self.ask(&call).await.unwrap_or(Answer::Unknown);
            self.elector.answered(answer, since_boot());
            self.fence.set(self.elector.acts_until());
            match self.elector.standing() {
                Standing::Ousted => {
                    let holder = self.elector.holder().unwrap_or_default();
                    warn!(event = "lease.lost", lease = %self.name, %holder, "another runner leads");
                    told.send_replace(Standing::Ousted);
                    return;
                }
                Standing::Leads | Standing::Waits if was_open && !self.fence.is_open() => {
                    warn!(
                        event = "lease.expired", lease = %self.name,
                        "the lease could not be renewed: nothing is started or stopped until it is"
                    );
                }
                Standing::Leads | Standing::Waits if !was_open && self.fence.is_open() => {
                    self.say_that_it_leads();
                }
                Standing::Leads | Standing::Waits => {}
            }
        }
    }

    async fn ask(&mut self, call: &Call) -> Result<Answer, ClusterError> {
        if let Call::Write { taken: true, .. } = call {
            self.acquired = Timestamp::now();
        }
        let asked = async {
            match call {
                Call::Look => self.leases.get(&self.name).await,
                Call::Write { over: None, .. } => {
                    self.leases.create(&PostParams::default(), &self.object(call)).await
                }
                Call::Write { over: Some(_), .. } => {
                    let (params, object) = (PostParams::default(), self.object(call));
                    self.leases.replace(&self.name, &params, &object).await
                }
            }
        };
        let error = match timeout(CALL, asked).await {
            Ok(Ok(object)) => return Ok(Answer::Lease(lease(&object))),
            Ok(Err(error)) => error,
            Err(_) => return Ok(Answer::Unknown),
        };
        let kube::Error::Api(status) = &error else {
            tracing::debug!(event = "lease.call_failed", error = %innermost(&error), "a call failed");
            return Ok(Answer::Unknown);
        };
        match status.code {
            404 if matches!(call, Call::Look) => Ok(Answer::None),
            404 | 409 => Ok(Answer::Conflict),
            400 | 403 | 405 | 415 | 422 => Err(ClusterError::Refused(status.message.clone())),
            _ => Ok(Answer::Unknown),
        }
    }

    fn object(&self, call: &Call) -> Object {
        let (over, transitions) = match call {
            Call::Look => (None, 0),
            Call::Write { over, transitions, .. } => (over.clone(), *transitions),
        };
        let labels = [(MANAGED_BY.to_owned(), MANAGER.to_owned())];
        let annotations =
            [(labels::ABOUT.to_owned(), "Who holds this leads the instance.".to_owned())];
        Object {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: over,
                labels: Some(labels.into()),
                annotations: Some(annotations.into()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.me.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                lease_transitions: Some(transitions),
                acquire_time: Some(MicroTime(self.acquired)),
                renew_time: Some(MicroTime(Timestamp::now())),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// What an object says. One that says nothing of a time is somebody's, for as long as ours are.
fn lease(object: &Object) -> Lease {
    let spec = object.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|it| u64::try_from(it).ok());
    Lease {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: seconds.map_or(DURATION, Duration::from_secs),
        transitions: spec.lease_transitions.unwrap_or_default(),
        version: object.metadata.resource_version.clone().unwrap_or_default(),
    }
}
