//! A cluster, as one instance uses it: its pods, watched, and what is done about them.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::warn;

use super::api::{Access, ClusterError, MANAGER, ask, clients, in_time, namespace};
use super::contact::Contact;
use super::inquiry::{Inquiry, Silence};
use super::lead::{Fence, Leadership};
use super::lease::Standing;
use super::manifest::{Maker, manifest};
use super::notebook::{Notebook, ORDERS};
use super::pace::{Pace, Rate};
use super::pods::{Answer, Call, Pods};
use super::seen::{Origin, Seen, Uid};
use super::{Order, labels, name};
use crate::executor::{Event, Evidence};
use crate::plan::pod::MANAGED_BY;
use crate::plan::{Exit, Loss};

/// The most calls under way at once; the rate is bounded beside it.
const MOST_CALLS: usize = 32;

/// The first server that sends a list as a stream unless it is told not to.
const STREAMS_LISTS: u32 = 34;

/// A pod that was there at the start.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it shows.
    pub seen: Seen,
    /// What it was made of, if that is written on it.
    pub origin: Option<Origin>,
}

impl Found {
    pub(super) fn of(pod: &Pod, owners: &[Uid]) -> Option<Self> {
        Some(Self { seen: Seen::of(pod, owners)?, origin: Seen::origin(pod) })
    }
}

/// The pods of an instance, as they are told of. It lists them anew when it has lost the thread.
type Watch = Pin<Box<dyn Stream<Item = Result<watcher::Event<Pod>, watcher::Error>> + Send>>;

/// A cluster that this runner may act upon.
pub struct Cluster {
    pods: Api<Pod>,
    owners: Api<ConfigMap>,
    maker: Maker,
    fence: Fence,
    leadership: Leadership,
    /// What the runner before was asked for, as it wrote that down.
    kept: Option<String>,
    /// Changes when the object that all pods belong to was made anew.
    anew: watch::Sender<()>,
    watch: Watch,
    contact: Contact,
    sights: Pods,
    /// What there was at the start.
    found: BTreeMap<Uid, Seen>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("maker", &self.maker).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Reaches the cluster for the instance of this name, waits until this runner leads it, and makes
    /// sure of the object that its pods belong to. It is asked at the rate of the moment. `me` is who
    /// this runner is, and nobody else is; who leads meanwhile is told to `leader`.
    ///
    /// # Errors
    /// If that cannot be: for good where it says [`ClusterError::Config`] or
    /// [`ClusterError::Refused`].
    pub async fn reach(
        (access, rate): (&Access, &watch::Sender<Rate>),
        (instance, me): (&str, &str),
        leader: &watch::Sender<String>,
    ) -> Result<Self, ClusterError> {
        let instance = name::instance(instance);
        let (fence, contact) = (Fence::default(), Contact::default());
        let pace = Pace(rate.subscribe());
        let (direct, client) = clients(access, &pace, fence.clone(), contact.clone()).await?;
        let namespace = namespace(access, &client);
        let info = in_time(client.apiserver_version()).await?;
        let version = info.minor.trim_end_matches('+').parse().unwrap_or_default();
        let lease = name::owner(&instance);
        let lease = (lease.as_str(), me, leader);
        let leadership = Leadership::take(&direct, &namespace, lease, fence.clone()).await?;
        let owners: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
        let made = own(owners.clone(), instance.clone()).await?;
        let kept = made.data.and_then(|mut data| data.remove(ORDERS));
        let mut maker = Maker { instance, owners: Vec::new() };
        maker.belong_to(made.metadata.uid);
        let pods = Api::namespaced(client, &namespace);
        let watch = Box::pin(watched(pods.clone(), &maker, version));
        Ok(Self {
            pods,
            owners,
            maker,
            fence,
            leadership,
            kept,
            anew: watch::Sender::default(),
            watch,
            contact,
            sights: Pods::default(),
            found: BTreeMap::new(),
        })
    }

    /// Whether no other runner led this instance since this one last did: what it remembers holds.
    #[must_use]
    pub fn resumed(&self) -> bool {
        self.leadership.resumed()
    }

    /// What the runner before this one was asked for, as it [wrote it down](Notebook).
    #[must_use]
    pub fn kept(&self) -> Option<&str> {
        self.kept.as_deref()
    }

    /// Returns when another runner leads this instance.
    pub fn ousted(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut standing = self.leadership.standing();
        async move {
            if standing.wait_for(|standing| *standing == Standing::Ousted).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Where is written down what the runner was asked for.
    #[must_use]
    pub fn notebook(&self) -> Notebook {
        let owner = name::owner(&self.maker.instance);
        Notebook::new(self.owners.clone(), owner, self.anew.subscribe())
    }

    /// Where its pods are.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.pods.namespace().unwrap_or_default()
    }

    /// What can be asked about its pods, and whether it answers.
    #[must_use]
    pub fn inquiry(&self) -> Inquiry {
        let silence = Silence { watch: self.contact.trouble(), fence: self.fence.clone() };
        Inquiry::new(self.pods.clone(), self.maker.instance.clone(), silence)
    }

    /// All pods of the instance, as they are now. Nothing may be decided before that is known.
    ///
    /// # Errors
    /// If the server does not say.
    pub async fn find(&mut self) -> Result<Vec<Found>, ClusterError> {
        let mut found = Vec::new();
        loop {
            let event = in_time(async {
                self.watch.try_next().await.map_err(|error| kube::Error::Service(error.into()))
            });
            match event.await? {
                Some(watcher::Event::Init) => found.clear(),
                Some(watcher::Event::InitApply(pod)) => {
                    found.extend(Found::of(&pod, &self.maker.owners));
                }
                Some(watcher::Event::InitDone) | None => break,
                Some(watcher::Event::Apply(_) | watcher::Event::Delete(_)) => {}
            }
        }
        self.found =
            found.iter().map(|found| (found.seen.uid.clone(), found.seen.clone())).collect();
        Ok(found)
    }

    /// Takes charge of the pods that are agents' already. Only then is it known which are nobody's, and
    /// go: before, all would be.
    async fn adopt(&mut self, orders: &mut mpsc::UnboundedReceiver<Order>) {
        while let Some(Order::Adopt(run, uid)) = orders.recv().await {
            if let Some(found) = self.found.get(&uid).cloned() {
                self.sights.adopt(run, found);
            }
        }
        self.sights.listed(std::mem::take(&mut self.found).into_values().collect());
    }

    /// Does what is ordered, and tells what happens. Ends with its orders.
    pub(super) async fn keep(
        mut self,
        mut orders: mpsc::UnboundedReceiver<Order>,
        events: mpsc::UnboundedSender<Event>,
    ) {
        self.adopt(&mut orders).await;
        let mut listing = Vec::new();
        let mut finishing: Vec<oneshot::Sender<()>> = Vec::new();
        let mut owning: JoinSet<Result<ConfigMap, ClusterError>> = JoinSet::new();
        let mut calls: JoinSet<(String, Answer)> = JoinSet::new();
        let mut waiting: VecDeque<Call> = VecDeque::new();
        let mut delays: JoinSet<String> = JoinSet::new();
        loop {
            waiting.extend(self.sights.calls());
            while calls.len() < MOST_CALLS
                && let Some(call) = waiting.pop_front()
            {
                let (pods, owners) = (self.pods.clone(), self.maker.owners.clone());
                calls.spawn(ask(pods, owners, self.fence.clone(), call));
            }
            for event in self.sights.events() {
                // If the object is gone that all belong to, so is what is made next.
                if let Event::Gone { exit: Exit::Lost(Loss::Deleted), .. } = event
                    && owning.is_empty()
                {
                    owning.spawn(own(self.owners.clone(), self.maker.instance.clone()));
                }
                // Who listens ends with us.
                let _ = events.send(event);
            }
            if !finishing.is_empty() && waiting.is_empty() && self.sights.is_at_rest() {
                for done in finishing.drain(..) {
                    // Who asked may have waited long enough.
                    let _ = done.send(());
                }
            }
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Finish(done)) => finishing.push(done),
                    Some(order) => self.heed(order, &events),
                    None => return,
                },
                event = self.watch.next() => match event {
                    Some(Ok(event)) => {
                        self.contact.heard();
                        self.sight(event, &mut listing);
                    }
                    Some(Err(error)) => self.contact.failed(&error),
                    None => return,
                },
                Some(Ok(Ok(owner))) = owning.join_next() => {
                    self.maker.belong_to(owner.metadata.uid);
                    self.anew.send_replace(());
                }
                Some(done) = calls.join_next() => match done {
                    Ok((name, answer)) => {
                        if let Answer::Unknown(why) = &answer {
                            tracing::debug!(event = "cluster.call_failed", pod = %name, error = %why, "a call failed");
                        }
                        if let Some(delay) = self.sights.answered(&name, answer) {
                            delays.spawn(async move {
                                sleep(delay).await;
                                name
                            });
                        }
                    }
                    Err(error) => warn!(%error, "a call to the cluster broke off"),
                },
                Some(Ok(name)) = delays.join_next() => self.sights.again(&name),
            }
        }
    }

    fn heed(&mut self, order: Order, events: &mpsc::UnboundedSender<Event>) {
        match order {
            Order::Spawn(request) => match manifest(&request, &self.maker) {
                Ok(manifest) => {
                    let stem = name::stem(&self.maker.instance, &request.entity);
                    self.sights.forget(&request.entity, &stem);
                    self.sights.spawn(request.run, request.entity, manifest);
                }
                Err(error) => {
                    let _ = events.send(Event::SpawnFailed { run: request.run, error });
                }
            },
            Order::Examine(run) => {
                // Who listens ends with us.
                let _ = events.send(Event::Examined { run, evidence: Evidence::default() });
            }
            Order::Terminate(run) => self.sights.terminate(run),
            Order::Kill(run) => self.sights.kill(run),
            // Each has its place elsewhere.
            Order::Adopt(..) | Order::Adopted | Order::Finish(_) => {}
            Order::Forget(entity) => {
                let stem = name::stem(&self.maker.instance, &entity);
                self.sights.forget(&entity, &stem);
            }
        }
    }

    fn sight(&mut self, event: watcher::Event<Pod>, listing: &mut Vec<Seen>) {
        let owners = &self.maker.owners;
        match event {
            watcher::Event::Init => listing.clear(),
            watcher::Event::InitApply(pod) => listing.extend(Seen::of(&pod, owners)),
            watcher::Event::InitDone => self.sights.listed(std::mem::take(listing)),
            watcher::Event::Apply(pod) => {
                if let Some(seen) = Seen::of(&pod, owners) {
                    self.sights.applied(seen);
                }
            }
            watcher::Event::Delete(pod) => {
                if let Some(seen) = Seen::of(&pod, owners) {
                    self.sights.deleted(seen);
                }
            }
        }
    }
}

fn watched(
    pods: Api<Pod>,
    maker: &Maker,
    version: u32,
) -> impl Stream<Item = Result<watcher::Event<Pod>, watcher::Error>> + Send + use<> {
    let config = watcher::Config::default().labels(&labels::selector(&maker.instance));
    let config = if version >= STREAMS_LISTS { config.streaming_lists() } else { config };
    watcher(pods, config).default_backoff()
}

/// The object that all pods of an instance belong to.
async fn own(owners: Api<ConfigMap>, instance: String) -> Result<ConfigMap, ClusterError> {
    let params = PatchParams::apply(MANAGER);
    let object = owner(&instance);
    in_time(owners.patch(&name::owner(&instance), &params, &Patch::Apply(&object))).await
}

pub(super) fn owner(instance: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name::owner(instance),
            "labels": {
                MANAGED_BY: MANAGER,
                labels::INSTANCE: instance,
            },
            "annotations": { labels::ABOUT:
                "All agents of this instance belong to this object: they are deleted with it." },
        },
    })
}
