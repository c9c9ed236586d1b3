//! The pod that an agent is asked for by.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::api::MANAGER;
use super::seen::{Origin, Uid};
use super::{labels, name};
use crate::executor::{RESOURCE_ATTRIBUTES, SpawnRequest};
use crate::plan::pod::{CONTAINER, MANAGED_BY};
use crate::plan::{Arrival, PodTemplate};

/// Who makes pods: an instance, and the object that all of them belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Maker {
    /// What the instance is called in the cluster.
    pub instance: String,
    /// The object's identity, the latest last: somebody may delete it, and it is made anew.
    pub owners: Vec<Uid>,
}

impl Maker {
    /// All that is made from now on belongs to this object.
    pub(super) fn belong_to(&mut self, uid: Option<String>) {
        let uid = Uid(uid.unwrap_or_default());
        if self.owners.last() != Some(&uid) {
            self.owners.push(uid);
        }
    }
}

/// A pod to be made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Manifest {
    /// Its name.
    pub name: String,
    /// All of it.
    pub pod: Value,
}

/// The pod for this request, or why there is none.
///
/// In this order, and what comes later holds: what the template says of pods, what the runner says
/// of the agent, what the template gives as it is, and who the pod is.
pub(super) fn manifest(request: &SpawnRequest, maker: &Maker) -> Result<Manifest, String> {
    let Some(template) = &request.spec.pod else {
        return Err("its template says nothing of a pod".to_owned());
    };
    let name = name::pod(&maker.instance, &request.entity, request.incarnation);
    let mut pod = template.manifest.clone();
    merge(&mut pod, agent(request, template));
    merge(&mut pod, json!({ "spec": template.overrides }));
    merge(&mut pod, identity(request, maker, &name)?);
    Ok(Manifest { name, pod })
}

/// What the runner says of the agent.
fn agent(request: &SpawnRequest, template: &PodTemplate) -> Value {
    let spec = &request.spec;
    let given = spec.env.get(RESOURCE_ATTRIBUTES).map_or("", String::as_str);
    let mut env: Map<String, Value> =
        spec.env.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    env.insert(RESOURCE_ATTRIBUTES.to_owned(), json!(request.resource.added_to(given)));
    let env: Vec<_> = env
        .into_iter()
        .map(|(name, value)| json!({ "name": name, "value": dollars(&value) }))
        .collect();
    let command: Vec<_> = spec.argv.iter().map(|word| escaped(word)).collect();
    let mut container = json!({
        "name": CONTAINER,
        "image": template.image,
        "command": command,
        "env": env,
    });
    if !spec.cwd.as_os_str().is_empty()
        && let Some(container) = container.as_object_mut()
    {
        container.insert("workingDir".to_owned(), json!(spec.cwd.to_string_lossy()));
    }
    json!({ "spec": {
        "containers": [container],
        "terminationGracePeriodSeconds": seconds(request.grace),
        "enableServiceLinks": false,
    } })
}

/// What no template can change: by these the runner knows what is its own.
fn identity(request: &SpawnRequest, maker: &Maker, name: &str) -> Result<Value, String> {
    let written = |key: &str| request.markers.get(key).map_or("", String::as_str);
    let late = written("RUNNER_ARRIVAL") == Arrival::Late.name();
    let origin = Origin {
        incarnation: request.incarnation,
        template: written("RUNNER_TEMPLATE").to_owned(),
        arrival: if late { Arrival::Late } else { Arrival::First },
        spec: request.spec.clone(),
        attempts: request.attempts,
        restarts: request.restarts,
    };
    let origin = serde_json::to_string(&origin).map_err(|error| error.to_string())?;
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {
                MANAGED_BY: MANAGER,
                labels::INSTANCE: maker.instance,
                labels::RUN: request.run.0.to_string(),
            },
            "annotations": {
                labels::ENTITY: request.entity.as_str(),
                labels::ORIGIN: origin,
                labels::REASON: request.reason,
            },
            "ownerReferences": [{
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "name": name::owner(&maker.instance),
                "uid": maker.owners.last().map_or("", |owner| &owner.0),
            }],
        },
        "spec": {
            "restartPolicy": "Never",
            "containers": [{
                "name": CONTAINER,
                // So no pod of another run is ever taken for this one: a pod's environment cannot
                // be changed.
                "env": [{ "name": "RUNNER_RUN", "value": request.run.0.to_string() }],
            }],
        },
    }))
}

/// Kubernetes counts in whole seconds, and takes 0 for "do not wait until it has ended".
pub(super) fn seconds(grace: Duration) -> u64 {
    let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
    seconds.max(1)
}

/// Kubernetes fills in `$(NAME)` in commands and values of variables; `$$` stands for a dollar.
fn escaped(word: &str) -> String {
    word.replace("$(", "$$(")
}

fn dollars(value: &Value) -> String {
    escaped(value.as_str().unwrap_or_default())
}

/// Lays one manifest over another: tables key by key, lists whose elements have names by those, and
/// all else as it is.
fn merge(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                merge(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(below), Value::Array(above)) if have_names(below) && have_names(&above) => {
            for element in above {
                match below.iter_mut().find(|it| it.get("name") == element.get("name")) {
                    Some(same) => merge(same, element),
                    None => below.push(element),
                }
            }
        }
        (below, above) => *below = above,
    }
}

fn have_names(list: &[Value]) -> bool {
    list.iter().all(|element| element.get("name").is_some())
}

#[cfg(test)]
mod tests;
