//! What pods take of their nodes, as their cluster measures it for everybody: `metrics.k8s.io`, which
//! metrics-server serves. It is asked when somebody wants to know.
//!
//! The kubelets know it as well. But who may ask them through the API server (`nodes/proxy`) may run
//! whatever they like on them, which no runner is to be allowed.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::api::innermost;
use super::labels;
use crate::quantity::{bytes, nanos};

/// For how long an answer about all pods serves whoever asks: metrics-server looks every 15 s.
const FRESH: Duration = Duration::from_secs(5);

/// How long an answer may take. Whoever looks at a screen does not wait longer.
const SOON: Duration = Duration::from_secs(3);

/// What a pod takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodUsage {
    /// Thousandths of a processor: a mean over the last seconds, as many as the cluster takes.
    pub millicores: u32,
    /// In bytes.
    pub memory: u64,
}

/// Why it is not known what pods take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmeasured {
    /// There is nothing that does it.
    #[error(
        "this cluster does not measure pods: it has no metrics.k8s.io, which metrics-server serves"
    )]
    Nowhere,
    /// It is too young.
    #[error("the cluster has not measured its pod yet")]
    NotYet,
    /// There is no answer, or no good one.
    #[error("the cluster does not say what pods take: {0}")]
    Failed(String),
}

type All = Result<Arc<HashMap<String, PodUsage>>, Unmeasured>;

/// Asks what the pods of an instance take.
#[derive(Clone)]
pub(super) struct Meter {
    measured: Api<DynamicObject>,
    of_instance: ListParams,
    /// What was said last of all, and when.
    last: Arc<Mutex<Option<(Instant, All)>>>,
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("of_instance", &self.of_instance).finish_non_exhaustive()
    }
}

impl Meter {
    pub(super) fn new(pods: &Api<Pod>, instance: &str) -> Self {
        let resource = ApiResource {
            group: "metrics.k8s.io".to_owned(),
            version: "v1beta1".to_owned(),
            api_version: "metrics.k8s.io/v1beta1".to_owned(),
            kind: "PodMetrics".to_owned(),
            plural: "pods".to_owned(),
        };
        let namespace = pods.namespace().unwrap_or_default();
        let client = pods.clone().into_client();
        Self {
            measured: Api::namespaced_with(client, namespace, &resource),
            of_instance: ListParams::default().labels(&labels::selector(instance)),
            last: Arc::default(),
        }
    }

    /// What the pod of this name takes.
    pub(super) async fn one(&self, pod: &str) -> Result<PodUsage, Unmeasured> {
        let measured = soon(self.measured.get(pod), Some(pod)).await?;
        taken(&measured).ok_or(Unmeasured::NotYet)
    }

    /// What each pod takes, by its name.
    pub(super) async fn all(&self) -> All {
        // Who asks meanwhile waits for the same answer.
        let mut last = self.last.lock().await;
        if let Some((at, said)) = &*last
            && at.elapsed() < FRESH
        {
            return said.clone();
        }
        let said = soon(self.measured.list(&self.of_instance), None).await.map(|listed| {
            let named = |it: DynamicObject| taken(&it).zip(it.metadata.name);
            Arc::new(
                listed.into_iter().filter_map(named).map(|(usage, name)| (name, usage)).collect(),
            )
        });
        *last = Some((Instant::now(), said.clone()));
        said
    }
}

async fn soon<T>(
    call: impl Future<Output = kube::Result<T>>,
    pod: Option<&str>,
) -> Result<T, Unmeasured> {
    match timeout(SOON, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
            // By this it is told that the pod is not there, and not all of it.
            let is_young = pod.is_some_and(|pod| status.message.contains(pod));
            Err(if is_young { Unmeasured::NotYet } else { Unmeasured::Nowhere })
        }
        Ok(Err(error)) => Err(Unmeasured::Failed(innermost(&error))),
        Err(_) => Err(Unmeasured::Failed("no answer in time".to_owned())),
    }
}

/// What all containers of a pod take together; none if one of them was not measured.
fn taken(measured: &DynamicObject) -> Option<PodUsage> {
    #[derive(Deserialize)]
    struct Container {
        usage: Amounts,
    }
    #[derive(Deserialize)]
    struct Amounts {
        cpu: String,
        memory: String,
    }
    let containers = measured.data.get("containers")?;
    let containers = Vec::<Container>::deserialize(containers).ok()?;
    if containers.is_empty() {
        return None;
    }
    let (mut cpu, mut memory) = (0_u64, 0_u64);
    for Container { usage } in &containers {
        cpu = cpu.saturating_add(nanos(&usage.cpu)?);
        memory = memory.saturating_add(bytes(&usage.memory)?);
    }
    let millicores = u32::try_from(cpu.saturating_add(500_000) / 1_000_000).unwrap_or(u32::MAX);
    Some(PodUsage { millicores, memory })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn measured(containers: &Value) -> Option<PodUsage> {
        let object = json!({ "metadata": { "name": "a" }, "containers": containers });
        taken(&serde_json::from_value(object).unwrap())
    }

    fn container(cpu: &str, memory: &str) -> Value {
        json!({ "name": "any", "usage": { "cpu": cpu, "memory": memory } })
    }

    #[test]
    fn a_pod_takes_what_all_its_containers_take() {
        let both = json!([container("2500000n", "12Mi"), container("0", "1024Ki")]);
        let expected = PodUsage { millicores: 3, memory: 13 << 20 };
        assert_eq!(measured(&both), Some(expected));
        let busy = measured(&json!([container("3", "1e3")])).unwrap();
        assert_eq!(busy, PodUsage { millicores: 3000, memory: 1000 });
    }

    #[test]
    fn what_was_not_measured_takes_nobody_knows_how_much() {
        for containers in [
            json!(null),
            json!([]),
            json!([{ "name": "any" }]),
            json!([container("1", "1Mi"), container("much", "1Mi")]),
            json!([{ "name": "any", "usage": { "cpu": "1" } }]),
        ] {
            assert_eq!(measured(&containers), None, "{containers}");
        }
    }

    #[test]
    fn an_amount_beyond_all_is_the_largest() {
        let usage = measured(&json!([container("9E", "100000Ei")])).unwrap();
        assert_eq!(usage, PodUsage { millicores: u32::MAX, memory: u64::MAX });
    }
}
