//! The methods of the API.

use std::pin::Pin;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::conditions::cluster_condition;
use super::explain::{MOST, explain};
use super::feed::{Feed, look};
use super::names::policy;
use super::preview::preview;
use super::selector::{bounded, concerns, id, meant, select, selects};
use super::status::View;
use super::usage::{Measured, measure};
use super::{Ask, Instance, Over, over, watchers, words};
use crate::clock::wall_time;
use crate::events::{Record, read};
use crate::executor::kubernetes::{Inquiry, Wanted};
use crate::executor::log_name;
use crate::plan::{CannotSteer, Steer};
use crate::proto::control as pb;
use crate::reconcile::{Look, Order, Request as LoopRequest};

/// How many answers a watcher may be behind, before it is given no more until it has read one.
const AHEAD: usize = 4;

/// How much is told of what an agent wrote.
const LAST_BYTES: u64 = 64 << 10;

/// How many events are told of an agent, where nobody says how many.
const FEW_EVENTS: usize = 20;

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers for one instance.
#[derive(Clone, Debug)]
pub(super) struct Service {
    instance: Arc<Instance>,
    feed: Arc<Feed>,
    until: Over,
    started_at_ms: i64,
}

impl Service {
    pub(super) fn new(instance: Arc<Instance>, feed: Arc<Feed>, until: Over) -> Self {
        let now = wall_time().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_at_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        Self { instance, feed, until, started_at_ms }
    }

    async fn look(&self) -> Result<Look, Status> {
        look(&self.instance).await.ok_or_else(ending)
    }

    /// Adds to what the loop knows of itself.
    fn about(&self, status: pb::Status) -> pb::Status {
        let instance = &self.instance;
        let mut conditions = status.conditions;
        conditions.extend(instance.cluster.as_ref().map(cluster_condition));
        pb::Status {
            conditions,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            name: instance.name.clone(),
            config_path: instance.config.display().to_string(),
            state_dir: instance.state_dir.display().to_string(),
            started_at_ms: self.started_at_ms,
            log_dir: if instance.cluster.is_some() { String::new() } else { status.log_dir },
            namespace: instance.cluster.as_ref().map_or("", Inquiry::namespace).to_owned(),
            ..status
        }
    }

    async fn events(
        &self,
        limit: usize,
        wanted: impl Fn(&Record) -> bool + Send + 'static,
    ) -> Result<Vec<Record>, Status> {
        let (events, dir) = (self.instance.events.clone(), self.instance.state_dir.clone());
        let reading = move || {
            events.flush();
            read(&dir, limit, wanted)
        };
        let read = spawn_blocking(reading).await.map_err(|_| ending())?;
        read.map_err(|error| Status::internal(format!("the events cannot be read: {error}")))
    }

    /// An answer in many parts, which is written as it is read, until the instance is over.
    fn streamed<T, F>(
        &self,
        write: impl FnOnce(mpsc::Sender<Result<T, Status>>) -> F,
    ) -> Response<Answers<T>>
    where
        T: Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (parts, receiver) = mpsc::channel(AHEAD);
        let (until, writing) = (self.until.clone(), write(parts.clone()));
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = over(until) => {
                    // Who reads no more need not know.
                    let _ = parts.send(Err(ending())).await;
                }
                () = writing => {}
            }
        });
        Response::new(Box::pin(ReceiverStream::new(receiver)))
    }

    async fn steer(&self, steer: Steer, request: pb::RolloutRequest) -> Answer<pb::Rollout> {
        let template = request.template;
        let (done, result) = oneshot::channel();
        let request = LoopRequest::Steer { template: template.clone(), steer, done };
        self.instance.requests.send(request).map_err(|_| ending())?;
        match result.await.map_err(|_| ending())? {
            Ok(()) => {
                let look = self.look().await?;
                let mut rollouts = View::of(&look).rollouts().into_iter();
                let rollout = rollouts.find(|rollout| rollout.template == template);
                Ok(Response::new(rollout.unwrap_or_default()))
            }
            Err(why @ CannotSteer::Unknown(_)) => Err(Status::not_found(why.to_string())),
            Err(
                why @ (CannotSteer::NothingBefore(_)
                | CannotSteer::AlreadyUndone(_)
                | CannotSteer::NotPaused(_)),
            ) => Err(Status::failed_precondition(why.to_string())),
        }
    }

    async fn order(&self, order: Order, request: pb::OrderRequest) -> Answer<pb::OrderResponse> {
        let selector = request.selector.unwrap_or_default();
        bounded(Some(&selector))?;
        let ids = self.look().await.and_then(|look| meant(&View::of(&look), &selector))?;
        let names = ids.iter().map(ToString::to_string).collect();
        let (done, result) = oneshot::channel();
        let request = LoopRequest::Order { order, ids, done };
        self.instance.requests.send(request).map_err(|_| ending())?;
        match result.await.map_err(|_| ending())? {
            Ok(()) => Ok(Response::new(pb::OrderResponse { names })),
            Err(unknown) => Err(not_found(unknown.iter().map(ToString::to_string))),
        }
    }
}

pub(super) fn ending() -> Status {
    Status::unavailable("the runner is about to end")
}

fn not_found(names: impl IntoIterator<Item = String>) -> Status {
    let names: Vec<_> = names.into_iter().map(|name| format!("{name:?}")).collect();
    Status::not_found(format!("there is no entity {} in this world", names.join(", ")))
}

/// An event, as the API has it.
pub(crate) fn event(record: Record) -> pb::Event {
    let Record { seq, at_ms, level, kind, entity, message, reason, fields } = record;
    pb::Event {
        sequence: seq,
        at_ms,
        level,
        kind,
        name: entity,
        message,
        reason,
        fields: fields.into_iter().collect(),
    }
}

fn limit(asked: u32) -> usize {
    if asked == 0 { usize::MAX } else { asked as usize }
}

#[tonic::async_trait]
impl pb::runner_server::Runner for Service {
    type WatchStatusStream = Answers<pb::Status>;
    type WatchAgentsStream = Answers<pb::AgentsChanged>;
    type WatchEventsStream = Answers<pb::EventHappened>;
    type ReadLogStream = Answers<pb::LogPart>;

    async fn read_log(&self, request: Request<pb::ReadLogRequest>) -> Answer<Self::ReadLogStream> {
        let pb::ReadLogRequest { name, follow, tail, since_ms } = request.into_inner();
        let Some(cluster) = self.instance.cluster.clone() else {
            return Err(Status::failed_precondition(
                "agents of this instance are processes: what they write is in their files",
            ));
        };
        let since = since_ms.map(|since| i64::try_from(since.div_ceil(1000)).unwrap_or(i64::MAX));
        let wanted = Wanted { follow, tail: tail.map(i64::from), since };
        let (about, wanted) = ((Arc::clone(&self.instance), cluster), (id(&name)?, wanted));
        Ok(self.streamed(|reader| words::send(about, wanted, reader)))
    }

    async fn get_status(&self, _: Request<pb::GetStatusRequest>) -> Answer<pb::Status> {
        let look = self.look().await?;
        Ok(Response::new(self.about(View::of(&look).status())))
    }

    async fn watch_status(
        &self,
        _: Request<pb::GetStatusRequest>,
    ) -> Answer<Self::WatchStatusStream> {
        let moments = self.feed.watch(&self.instance).await.ok_or_else(ending)?;
        let service = self.clone();
        let told = move |status| service.about(status);
        Ok(self.streamed(|watcher| watchers::status(moments, told, watcher)))
    }

    async fn list_agents(
        &self,
        request: Request<pb::ListAgentsRequest>,
    ) -> Answer<pb::ListAgentsResponse> {
        let asked = request.into_inner();
        bounded(asked.selector.as_ref())?;
        let look = self.look().await?;
        let view = View::of(&look);
        let agents: Vec<_> = view.agents().filter(|agent| select(&asked, agent)).collect();
        let cluster = self.instance.cluster.as_ref();
        let Measured { agents, unknown: usage_unknown } = if asked.usage {
            measure(cluster, agents).await?
        } else {
            Measured { agents, unknown: String::new() }
        };
        let in_pods = cluster.is_some();
        Ok(Response::new(pb::ListAgentsResponse { agents, usage_unknown, in_pods }))
    }

    async fn watch_agents(
        &self,
        request: Request<pb::ListAgentsRequest>,
    ) -> Answer<Self::WatchAgentsStream> {
        let asked = request.into_inner();
        bounded(asked.selector.as_ref())?;
        let moments = self.feed.watch(&self.instance).await.ok_or_else(ending)?;
        let in_pods = self.instance.cluster.is_some();
        Ok(self.streamed(|watcher| watchers::agents(moments, (asked, in_pods), watcher)))
    }

    async fn describe_agent(
        &self,
        request: Request<pb::DescribeAgentRequest>,
    ) -> Answer<pb::AgentDescription> {
        let pb::DescribeAgentRequest { name, events } = request.into_inner();
        let id = id(&name)?;
        let look = self.look().await?;
        let view = View::of(&look);
        let is_there = look.entities.as_ref().is_some_and(|all| all.get(id.as_str()).is_some());
        let agent = look.observed.agents.get(&id);
        let suspended = look.orders.suspended.contains(&id);
        if agent.is_none() && view.want(&id).is_none() && !is_there && !suspended {
            return Err(not_found([name]));
        }
        let limit = if events == 0 { FEW_EVENTS } else { events as usize };
        let told = self.events(limit, move |record| record.entity == name).await?;
        let want = view.want(&id);
        let spec = agent.map(|agent| &agent.spec).or_else(|| want.map(|want| &want.spec));
        let grace = agent.map(|agent| agent.grace).unwrap_or_default();
        let cluster = self.instance.cluster.as_ref();
        let described: Vec<_> = agent.map(|agent| view.agent(&id, agent)).into_iter().collect();
        let tail = async {
            match (cluster, agent) {
                (Some(it), Some(agent)) => it.tail(&id, agent.incarnation, LAST_BYTES).await,
                (Some(_), None) | (None, _) => String::new(),
            }
        };
        // A cluster that is slow is waited for once.
        let (measured, tail) = tokio::join!(measure(cluster, described), tail);
        let Measured { agents: mut described, unknown } = measured?;
        let path = || look.settings.log_dir.join(log_name(&id)).display().to_string();
        let log_path = if cluster.is_some() { String::new() } else { path() };
        Ok(Response::new(pb::AgentDescription {
            agent: described.pop(),
            entity: Some(view.entity(&id)),
            command: spec.map_or_else(Vec::new, |spec| spec.argv.clone()),
            environment: spec.map_or_else(Vec::new, |spec| spec.env.keys().cloned().collect()),
            cwd: spec.map_or_else(String::new, |spec| spec.cwd.display().to_string()),
            chosen_by: want.map_or_else(String::new, |want| want.chosen_by.to_string()),
            grace_ms: i64::try_from(grace.as_millis()).unwrap_or(i64::MAX),
            restart_policy: want.map_or("", |want| policy(want.template.restart)).to_owned(),
            limits: spec.map_or_else(String::new, |spec| spec.confinement.limits.to_string()),
            conditions: view.conditions(&id),
            events: told.into_iter().map(event).collect(),
            log_path,
            log_tail: tail.into_bytes(),
            usage_unknown: unknown,
        }))
    }

    async fn explain(&self, request: Request<pb::ExplainRequest>) -> Answer<pb::Explanation> {
        let name = request.into_inner().name;
        let id = id(&name)?;
        let told = self.events(MOST, move |record| record.entity == name).await?;
        let look = self.look().await?;
        Ok(Response::new(pb::Explanation { steps: explain(&View::of(&look), &id, &told) }))
    }

    async fn list_entities(
        &self,
        request: Request<pb::ListEntitiesRequest>,
    ) -> Answer<pb::ListEntitiesResponse> {
        let selector = request.into_inner().selector;
        bounded(selector.as_ref())?;
        let look = self.look().await?;
        let selected = |entity: &pb::Entity| {
            let about = (entity.name.as_str(), &*entity.template, &*entity.r#type, &*entity.phase);
            selects(selector.as_ref(), about)
        };
        let entities = View::of(&look).entities().into_iter().filter(selected).collect();
        Ok(Response::new(pb::ListEntitiesResponse { entities }))
    }

    async fn list_templates(
        &self,
        _: Request<pb::ListTemplatesRequest>,
    ) -> Answer<pb::ListTemplatesResponse> {
        let look = self.look().await?;
        Ok(Response::new(pb::ListTemplatesResponse { templates: View::of(&look).templates() }))
    }

    async fn plan(&self, request: Request<pb::PlanRequest>) -> Answer<pb::PlanResponse> {
        let config = request.into_inner().config;
        let draft = if config.is_empty() {
            None
        } else {
            let (done, draft) = oneshot::channel();
            self.instance.asks.send(Ask::Draft { config, done }).map_err(|_| ending())?;
            Some(draft.await.map_err(|_| ending())?.map_err(Status::invalid_argument)?)
        };
        let look = self.look().await?;
        Ok(Response::new(preview(&look, draft)))
    }

    async fn list_rollouts(
        &self,
        _: Request<pb::ListRolloutsRequest>,
    ) -> Answer<pb::ListRolloutsResponse> {
        let look = self.look().await?;
        Ok(Response::new(pb::ListRolloutsResponse { rollouts: View::of(&look).rollouts() }))
    }

    async fn pause_rollout(&self, request: Request<pb::RolloutRequest>) -> Answer<pb::Rollout> {
        self.steer(Steer::Pause, request.into_inner()).await
    }

    async fn resume_rollout(&self, request: Request<pb::RolloutRequest>) -> Answer<pb::Rollout> {
        self.steer(Steer::Resume, request.into_inner()).await
    }

    async fn undo_rollout(&self, request: Request<pb::RolloutRequest>) -> Answer<pb::Rollout> {
        self.steer(Steer::Undo, request.into_inner()).await
    }

    async fn list_events(
        &self,
        request: Request<pb::ListEventsRequest>,
    ) -> Answer<pb::ListEventsResponse> {
        let pb::ListEventsRequest { selector, since_ms, limit: most } = request.into_inner();
        bounded(selector.as_ref())?;
        let wanted = move |record: &Record| concerns(selector.as_ref(), since_ms, record);
        let events = self.events(limit(most), wanted).await?;
        let events = events.into_iter().map(event).collect();
        Ok(Response::new(pb::ListEventsResponse { events }))
    }

    async fn watch_events(
        &self,
        request: Request<pb::ListEventsRequest>,
    ) -> Answer<Self::WatchEventsStream> {
        let pb::ListEventsRequest { selector, since_ms, limit: most } = request.into_inner();
        bounded(selector.as_ref())?;
        // First the watch, then the past: what happens in between is in both, and told once.
        let happening = self.instance.events.watch();
        let wanted = move |record: &Record| concerns(selector.as_ref(), since_ms, record);
        let past = self.events(limit(most), wanted.clone()).await?;
        Ok(self.streamed(|watcher| watchers::events((past, happening), wanted, watcher)))
    }

    async fn restart_agents(
        &self,
        request: Request<pb::OrderRequest>,
    ) -> Answer<pb::OrderResponse> {
        self.order(Order::Restart, request.into_inner()).await
    }

    async fn suspend_entities(
        &self,
        request: Request<pb::OrderRequest>,
    ) -> Answer<pb::OrderResponse> {
        self.order(Order::Suspend, request.into_inner()).await
    }

    async fn resume_entities(
        &self,
        request: Request<pb::OrderRequest>,
    ) -> Answer<pb::OrderResponse> {
        self.order(Order::Resume, request.into_inner()).await
    }

    async fn reload(&self, _: Request<pb::ReloadRequest>) -> Answer<pb::ReloadResponse> {
        let (done, outcome) = oneshot::channel();
        self.instance.asks.send(Ask::Reload(done)).map_err(|_| ending())?;
        Ok(Response::new(outcome.await.map_err(|_| ending())?))
    }

    async fn stop(&self, request: Request<pb::StopRequest>) -> Answer<pb::StopResponse> {
        let leave_agents = request.into_inner().leave_agents;
        self.instance.asks.send(Ask::Stop { leave_agents }).map_err(|_| ending())?;
        Ok(Response::new(pb::StopResponse {}))
    }
}
