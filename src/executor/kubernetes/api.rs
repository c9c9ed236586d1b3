//! The API server: how it is reached, what is asked of it, and what its pods show.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Config, Resource as _};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tower::limit::RateLimitLayer;
use tracing::{info, warn};

use super::manifest::{Maker, manifest};
use super::pods::{Answer, Call, Pods};
use super::seen::{Origin, Seen, Uid};
use super::{Order, labels, name};
use crate::executor::Event;

/// How long one call may take.
const CALL: Duration = Duration::from_secs(10);

/// The most calls under way at once; the rate is bounded beside it.
const MOST_CALLS: usize = 32;

/// By this name the server knows what of an object is the runner's.
const MANAGER: &str = "runner";

/// The first server that sends a list as a stream unless it is told not to.
const STREAMS_LISTS: u32 = 34;

/// How a cluster is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// The context of the kubeconfig; none: the current one, or the service account of the pod that
    /// this is.
    pub context: Option<String>,
    /// The namespace of the pods; none: the context's.
    pub namespace: Option<String>,
    /// The most requests in a second, in the long run. Above 0.
    pub qps: f64,
    /// The most requests at once. At least 1.
    pub burst: u32,
}

/// Why a cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// It is not known where it is, or who we are.
    #[error("cannot use the kubeconfig: {0}")]
    Config(String),
    /// It does not answer, or not with what was asked for.
    #[error("the Kubernetes API server does not answer: {0}")]
    Silent(String),
    /// It does not let us.
    #[error("the Kubernetes API server refuses: {0}")]
    Refused(String),
}

/// A pod that was there at the start.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it shows.
    pub seen: Seen,
    /// What it was made of, if that is written on it.
    pub origin: Option<Origin>,
}

/// A cluster, as one instance uses it.
pub struct Cluster {
    pods: Api<Pod>,
    maker: Maker,
    namespace: String,
    version: u32,
    sights: Pods,
    found: Vec<Seen>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("maker", &self.maker).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Reaches the cluster for the instance of this name, and makes sure of the object that its pods
    /// belong to.
    ///
    /// # Errors
    /// If that cannot be: for good where it says [`ClusterError::Config`] or
    /// [`ClusterError::Refused`].
    pub async fn reach(access: &Access, instance: &str) -> Result<Self, ClusterError> {
        let instance = name::instance(instance);
        let client = client(access).await?;
        let namespace =
            access.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        let info = in_time(client.apiserver_version()).await?;
        let version = info.minor.trim_end_matches('+').parse().unwrap_or_default();
        let owners: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
        let owner = name::owner(&instance);
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": owner,
                "labels": {
                    "app.kubernetes.io/managed-by": "runner",
                    labels::INSTANCE: instance,
                },
                "annotations": { "runner.dev/about":
                    "All agents of this instance belong to this object: they are deleted with it." },
            },
        });
        let params = PatchParams::apply(MANAGER);
        let made = in_time(owners.patch(&owner, &params, &Patch::Apply(&object))).await?;
        let uid = made.meta().uid.clone().unwrap_or_default();
        let maker = Maker { instance, owner: Uid(uid) };
        let pods = Api::namespaced(client, &namespace);
        let (sights, found) = (Pods::default(), Vec::new());
        Ok(Self { pods, maker, namespace, version, sights, found })
    }

    /// The namespace of the pods.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// All pods of the instance, as they are now. Nothing may be decided before that is known.
    ///
    /// # Errors
    /// If the server does not say.
    pub async fn find(&mut self) -> Result<Vec<Found>, ClusterError> {
        let mut found = Vec::new();
        let mut stream = pin!(watcher(self.pods.clone(), self.watch_config()));
        loop {
            let event = in_time(async {
                stream.try_next().await.map_err(|error| kube::Error::Service(error.into()))
            });
            match event.await? {
                Some(watcher::Event::InitApply(pod)) => {
                    if let Some(seen) = Seen::of(&pod, &self.maker.owner) {
                        found.push(Found { origin: Seen::origin(&pod), seen });
                    }
                }
                Some(watcher::Event::InitDone) | None => break,
                Some(
                    watcher::Event::Init | watcher::Event::Apply(_) | watcher::Event::Delete(_),
                ) => {}
            }
        }
        self.found = found.iter().map(|found| found.seen.clone()).collect();
        Ok(found)
    }

    fn watch_config(&self) -> watcher::Config {
        let selector = format!("{}={}", labels::INSTANCE, self.maker.instance);
        let config = watcher::Config::default().labels(&selector);
        if self.version >= STREAMS_LISTS { config.streaming_lists() } else { config }
    }

    /// Does what is ordered, and tells what happens. Ends with its orders.
    pub(super) async fn keep(
        mut self,
        mut orders: mpsc::UnboundedReceiver<Order>,
        events: mpsc::UnboundedSender<Event>,
    ) {
        let config = self.watch_config();
        let mut watch = pin!(watcher(self.pods.clone(), config).default_backoff());
        let mut listing = Vec::new();
        let mut contact = Contact::default();
        let mut calls: JoinSet<(String, Answer)> = JoinSet::new();
        let mut waiting: VecDeque<Call> = VecDeque::new();
        let mut delays: VecDeque<(Instant, String)> = VecDeque::new();
        loop {
            waiting.extend(self.sights.calls());
            while calls.len() < MOST_CALLS
                && let Some(call) = waiting.pop_front()
            {
                calls.spawn(ask(self.pods.clone(), self.maker.owner.clone(), call));
            }
            for event in self.sights.events() {
                // Who listens ends with us.
                let _ = events.send(event);
            }
            let due = delays.iter().min_by_key(|(at, _)| *at).map(|(at, _)| *at);
            let timer = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.heed(order, &events),
                    None => return,
                },
                event = watch.next() => match event {
                    Some(Ok(event)) => {
                        contact.heard();
                        self.sight(event, &mut listing);
                    }
                    Some(Err(error)) => contact.lost(&error),
                    None => return,
                },
                Some(done) = calls.join_next() => match done {
                    Ok((name, answer)) => {
                        if let Answer::Unknown(why) = &answer {
                            tracing::debug!(event = "cluster.call_failed", pod = %name, error = %why, "a call failed");
                        }
                        if let Some(delay) = self.sights.answered(&name, answer) {
                            delays.push_back((Instant::now() + delay, name));
                        }
                    }
                    Err(error) => warn!(%error, "a call to the cluster broke off"),
                },
                () = timer => {
                    let now = Instant::now();
                    delays.retain(|(at, name)| {
                        let over = *at <= now;
                        if over {
                            self.sights.again(name);
                        }
                        !over
                    });
                }
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
            Order::Adopt(run, uid) => {
                let found = self.found.iter().find(|found| found.uid == uid).cloned();
                if let Some(found) = found {
                    self.sights.adopt(run, found);
                }
            }
            Order::Terminate(run) => self.sights.terminate(run),
            Order::Kill(run) => self.sights.kill(run),
            Order::Forget(entity) => {
                let stem = name::stem(&self.maker.instance, &entity);
                self.sights.forget(&entity, &stem);
            }
        }
    }

    fn sight(&mut self, event: watcher::Event<Pod>, listing: &mut Vec<Seen>) {
        let owner = &self.maker.owner;
        match event {
            watcher::Event::Init => listing.clear(),
            watcher::Event::InitApply(pod) => listing.extend(Seen::of(&pod, owner)),
            watcher::Event::InitDone => self.sights.listed(std::mem::take(listing)),
            watcher::Event::Apply(pod) => {
                if let Some(seen) = Seen::of(&pod, owner) {
                    self.sights.applied(seen);
                }
            }
            watcher::Event::Delete(pod) => {
                if let Some(seen) = Seen::of(&pod, owner) {
                    self.sights.deleted(seen);
                }
            }
        }
    }
}

/// Whether the server was last heard.
#[derive(Debug, Default)]
struct Contact {
    lost: bool,
}

impl Contact {
    fn heard(&mut self) {
        if std::mem::take(&mut self.lost) {
            info!(event = "cluster.back", "the Kubernetes API server answers again");
        }
    }

    fn lost(&mut self, error: &watcher::Error) {
        if !std::mem::replace(&mut self.lost, true) {
            let error = innermost(error);
            warn!(
                event = "cluster.lost",
                %error,
                "the Kubernetes API server does not answer; the agents run on, and none is started or stopped"
            );
        }
    }
}

async fn client(access: &Access) -> Result<Client, ClusterError> {
    let wrong = |error: &dyn std::error::Error| ClusterError::Config(innermost(error));
    let options = KubeConfigOptions { context: access.context.clone(), ..Default::default() };
    let mut config = match Kubeconfig::read() {
        Ok(file) => {
            Config::from_custom_kubeconfig(file, &options).await.map_err(|it| wrong(&it))?
        }
        Err(error) if access.context.is_some() => return Err(wrong(&error)),
        Err(_) => Config::infer().await.map_err(|it| wrong(&it))?,
    };
    config.connect_timeout = Some(CALL);
    let window = f64::from(access.burst.max(1)) / access.qps;
    let window = Duration::try_from_secs_f64(window).unwrap_or(Duration::from_secs(1));
    let layer = RateLimitLayer::new(u64::from(access.burst.max(1)), window);
    let builder = ClientBuilder::try_from(config).map_err(|it| wrong(&it))?;
    Ok(builder.with_layer(&layer).build())
}

/// What a call about one pod comes to.
async fn ask(pods: Api<Pod>, owner: Uid, call: Call) -> (String, Answer) {
    match call {
        Call::Create(manifest) => {
            let params = PatchParams::apply(MANAGER);
            let patch = Patch::Apply(&manifest.pod);
            let made = timeout(CALL, pods.patch(&manifest.name, &params, &patch)).await;
            let answer = answer(made, |pod| {
                let other =
                    || Answer::Refused("what was made is not what was asked for".to_owned());
                Seen::of(&pod, &owner).map_or_else(other, Answer::Pod)
            });
            (manifest.name, answer)
        }
        Call::Delete { name, uid, grace } => {
            let params = DeleteParams {
                grace_period_seconds: grace,
                preconditions: Some(Preconditions { uid: Some(uid.0), resource_version: None }),
                ..DeleteParams::default()
            };
            let deleted = timeout(CALL, pods.delete(&name, &params)).await;
            let conflict =
                matches!(&deleted, Ok(Err(kube::Error::Api(status))) if status.code == 409);
            let answer = answer(deleted, |_| Answer::Done);
            (name, if conflict { answer } else { in_doubt(answer) })
        }
        Call::Look { name } => {
            let looked = timeout(CALL, pods.get(&name)).await;
            let shown = |pod| Seen::of(&pod, &owner).map_or(Answer::Foreign, Answer::Pod);
            (name, in_doubt(answer(looked, shown)))
        }
    }
}

/// A refusal that says nothing of the pod.
fn in_doubt(answer: Answer) -> Answer {
    if let Answer::Refused(why) = answer { Answer::Unknown(why) } else { answer }
}

fn answer<T>(
    result: Result<kube::Result<T>, tokio::time::error::Elapsed>,
    good: impl FnOnce(T) -> Answer,
) -> Answer {
    let error = match result {
        Ok(Ok(value)) => return good(value),
        Ok(Err(error)) => error,
        Err(_) => return Answer::Unknown("no answer in time".to_owned()),
    };
    let kube::Error::Api(status) = &error else { return Answer::Unknown(innermost(&error)) };
    let message = status.message.clone();
    match status.code {
        404 if status.reason == "NotFound" && message.contains("namespaces") => {
            Answer::Refused(message)
        }
        404 => Answer::None,
        403 if message.contains("exceeded quota") => Answer::Full(message),
        // A field that an old server does not know.
        500 if message.contains("field not declared in schema") => Answer::Refused(message),
        400 | 403 | 405 | 409 | 413 | 415 | 422 => Answer::Refused(message),
        _ => Answer::Unknown(message),
    }
}

async fn in_time<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, ClusterError> {
    match timeout(CALL, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status)))
            if (400..500).contains(&status.code) && status.code != 429 =>
        {
            Err(ClusterError::Refused(status.message.clone()))
        }
        Ok(Err(error)) => Err(ClusterError::Silent(innermost(&error))),
        Err(_) => Err(ClusterError::Silent("no answer in time".to_owned())),
    }
}

/// The root of an error, in words.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    crate::text::printable(&root.to_string())
}
