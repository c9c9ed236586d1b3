//! What a pod shows of the agent that it is.

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodStatus,
};
use serde::{Deserialize, Serialize};

use super::labels;
use crate::plan::pod::CONTAINER;
use crate::plan::{AgentSpec, Arrival, EntityId, Exit, Loss, RunId, Waits, WaitsFor};
use crate::quantity::bytes;

/// Names a pod for ever: another one of the same name has another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uid(pub String);

/// A pod, as far as an agent goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Which pod of that name it is.
    pub uid: Uid,
    /// The run that it was made for.
    pub run: RunId,
    /// The entity that it serves.
    pub entity: EntityId,
    /// How the agent fares.
    pub state: State,
    /// Why it is about to be taken away, if it is: by whom is not said.
    pub leaving: Option<Loss>,
}

/// How the agent of a pod fares.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// It does not run yet.
    Waiting(Waits),
    /// It runs, on this node.
    Running {
        /// The node's name.
        node: String,
        /// What is odd about that.
        waits: Option<Waits>,
    },
    /// It has ended, and other containers of the pod have not.
    Leftovers(Exit),
    /// It has ended.
    Ended(Exit),
}

/// What a pod was made of, as it is written on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The spawn tick of its entity.
    pub incarnation: i64,
    /// The name of the template.
    pub template: String,
    /// When its entity came.
    pub arrival: Arrival,
    /// The agent.
    pub spec: AgentSpec,
    /// How many agents of its entity had failed in a row when it was made.
    #[serde(default)]
    pub attempts: u32,
    /// How many its entity had had before.
    #[serde(default)]
    pub restarts: u64,
}

impl Seen {
    /// What this pod shows; none if it is not one that the runner of one of these
    /// owners has made.
    #[must_use]
    pub fn of(pod: &Pod, owners: &[Uid]) -> Option<Self> {
        let meta = &pod.metadata;
        let is_ours = meta
            .owner_references
            .as_ref()?
            .iter()
            .any(|reference| owners.iter().any(|owner| reference.uid == owner.0));
        let run = RunId(meta.labels.as_ref()?.get(labels::RUN)?.parse().ok()?);
        if !is_ours || run > RunId::GREATEST {
            return None;
        }
        let entity = EntityId::new(meta.annotations.as_ref()?.get(labels::ENTITY)?).ok()?;
        Some(Self {
            name: meta.name.clone()?,
            uid: Uid(meta.uid.clone()?),
            run,
            entity,
            state: state(pod),
            leaving: meta.deletion_timestamp.as_ref().map(|_| loss(pod)),
        })
    }

    /// What it was made of; none if that is not written on it, or cannot be read.
    #[must_use]
    pub fn origin(pod: &Pod) -> Option<Origin> {
        serde_json::from_str(pod.metadata.annotations.as_ref()?.get(labels::ORIGIN)?).ok()
    }
}

fn state(pod: &Pod) -> State {
    let Some(status) = &pod.status else { return State::Waiting(waits(WaitsFor::Placement, "")) };
    let statuses = status.container_statuses.as_deref().unwrap_or_default();
    let agent = statuses.iter().find(|it| it.name == CONTAINER);
    let agent_state = agent.and_then(|it| it.state.as_ref());
    let terminated = agent_state.and_then(|it| it.terminated.as_ref());
    let ended = terminated.map(|it| exit(pod, it));
    if let Some("Succeeded" | "Failed") = status.phase.as_deref() {
        return State::Ended(taken_away(status).map(Exit::Lost).or(ended).unwrap_or(Exit::Unknown));
    }
    if let Some(exit) = ended {
        let over = |it: &ContainerStatus| {
            it.state.as_ref().is_some_and(|state| state.terminated.is_some())
        };
        let all = statuses.iter().all(over);
        return if all { State::Ended(exit) } else { State::Leftovers(exit) };
    }
    if agent_state.is_some_and(|it| it.running.is_some()) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        let silent = is_silent(status, statuses);
        let waits = silent.then(|| waits(WaitsFor::Node, &node));
        return State::Running { node, waits };
    }
    State::Waiting(not_running(status, agent_state))
}

/// The node's controller says of the pods of a node that is silent that they are not ready, while
/// the node's last word of their containers was another.
fn is_silent(status: &PodStatus, containers: &[ContainerStatus]) -> bool {
    let not_ready = condition(status, "Ready").is_some_and(|ready| ready.status != "True");
    not_ready && containers.iter().all(|it| it.ready)
}

fn not_running(status: &PodStatus, agent: Option<&ContainerState>) -> Waits {
    if let Some(waiting) = agent.and_then(|it| it.waiting.as_ref()) {
        let message = waiting.message.as_deref().or(waiting.reason.as_deref()).unwrap_or_default();
        match waiting.reason.as_deref().unwrap_or_default() {
            "ErrImagePull"
            | "ImagePullBackOff"
            | "ErrImageNeverPull"
            | "InvalidImageName"
            | "ImageInspectError"
            | "RegistryUnavailable" => return waits(WaitsFor::Image, message),
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                return waits(WaitsFor::Container, message);
            }
            _ => {}
        }
    }
    match condition(status, "PodScheduled") {
        Some(PodCondition { reason: Some(reason), message, .. }) if reason == "Unschedulable" => {
            waits(WaitsFor::Room, message.as_deref().unwrap_or_default())
        }
        _ => waits(WaitsFor::Placement, ""),
    }
}

/// How its container ended. One that a signal ended returns 128 more than its number, as shells
/// have it.
fn exit(pod: &Pod, terminated: &ContainerStateTerminated) -> Exit {
    match terminated.reason.as_deref() {
        Some("OOMKilled") => return Exit::OutOfMemory { limit: memory_limit(pod) },
        Some("ContainerStatusUnknown") => return Exit::Lost(Loss::Node),
        _ => {}
    }
    match (terminated.signal, terminated.exit_code) {
        (Some(signal), _) if signal > 0 => Exit::Signal(signal),
        (_, code @ 129..=192) => Exit::Signal(code - 128),
        (_, code) => Exit::Code(code),
    }
}

/// In bytes; 0 where it is not said, or not in a way that is known here.
fn memory_limit(pod: &Pod) -> u64 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let agent = containers.into_iter().find(|it| it.name == CONTAINER);
    let resources = agent.and_then(|it| it.resources.as_ref());
    let limit = resources.and_then(|it| it.limits.as_ref()?.get("memory"));
    limit.and_then(|limit| bytes(&limit.0)).unwrap_or_default()
}

/// By what the cluster took a pod away that has failed, if it did.
fn taken_away(status: &PodStatus) -> Option<Loss> {
    match status.reason.as_deref()? {
        "Evicted" | "UnexpectedAdmissionError" => Some(Loss::Evicted),
        "Preempting" => Some(Loss::Preempted),
        "NodeLost" | "NodeShutdown" | "Shutdown" | "Terminated" | "NodeAffinity" => {
            Some(Loss::Node)
        }
        // The node had less than the scheduler thought.
        reason if reason.starts_with("OutOf") => Some(Loss::Evicted),
        _ => None,
    }
}

/// For whose sake a pod is deleted, where it says so; servers before 1.26 do not.
fn loss(pod: &Pod) -> Loss {
    let disruption = pod.status.as_ref().and_then(|status| condition(status, "DisruptionTarget"));
    match disruption.and_then(|it| it.reason.as_deref()) {
        Some("PreemptionByScheduler") => Loss::Preempted,
        Some("EvictionByEvictionAPI" | "TerminationByKubelet") => Loss::Evicted,
        Some("DeletionByTaintManager" | "DeletionByPodGC") => Loss::Node,
        _ => pod.status.as_ref().and_then(taken_away).unwrap_or(Loss::Deleted),
    }
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a PodCondition> {
    status.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

fn waits(on: WaitsFor, message: &str) -> Waits {
    Waits { on, message: message.to_owned() }
}

#[cfg(test)]
mod tests;
