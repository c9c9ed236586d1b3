//! The file, the pods of the runner, and what keeps them there.

use serde_json::{Value, json};

use super::Deployed;

/// Where the file is in a pod. A whole directory: a single file would stay as it was at the start.
const CONFIG_DIR: &str = "/etc/runner";
/// Where a runner writes: the only place, as in containers/Containerfile.
const WORK_DIR: &str = "/work";
/// The user of that image.
const USER: u32 = 65_532;
/// The name of the port of metrics.
const METRICS: &str = "metrics";

impl Deployed<'_> {
    pub(super) fn workload(&self) -> Vec<Value> {
        let selector = json!({ "matchLabels": self.labels() });
        let mut documents = vec![
            self.config_map(),
            json!({
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": self.metadata(),
                "spec": {
                    "replicas": self.replicas,
                    "selector": selector,
                    "template": { "metadata": { "labels": self.labels() }, "spec": self.pod() },
                },
            }),
            json!({
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": self.metadata(),
                "spec": { "maxUnavailable": 1, "selector": selector },
            }),
        ];
        // Without an address of its own: its name leads to each of the pods.
        documents.extend(self.metrics_port().map(|port| {
            json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": self.metadata(),
                "spec": {
                    "clusterIP": "None",
                    "selector": self.labels(),
                    "ports": [{ "name": METRICS, "port": port, "targetPort": METRICS }],
                },
            })
        }));
        documents
    }

    /// No instance's own object can have this name, as none has a dot.
    fn config_map_name(&self) -> String {
        format!("{}.config", self.name())
    }

    fn config_map(&self) -> Value {
        let (name, text) = self.file;
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": self.metadata_of(&self.config_map_name()),
            "data": { name: text },
        })
    }

    fn pod(&self) -> Value {
        let same = json!({
            "labelSelector": { "matchLabels": self.labels() },
            "topologyKey": "kubernetes.io/hostname",
        });
        json!({
            "serviceAccountName": self.name(),
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 30,
            "affinity": { "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution":
                    [{ "weight": 100, "podAffinityTerm": same }],
            } },
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": USER,
                "runAsGroup": USER,
                // Secrets that are mounted are its to read, and need not be everybody's.
                "fsGroup": USER,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [self.container()],
            "volumes": [
                { "name": "config", "configMap": { "name": self.config_map_name() } },
                { "name": "work", "emptyDir": {} },
            ],
        })
    }

    fn container(&self) -> Value {
        let (file, _) = self.file;
        let mut container = json!({
            "name": "runner",
            "image": self.image,
            "args": [
                "reconcile",
                format!("--config={CONFIG_DIR}/{file}"),
                format!("--state-dir={WORK_DIR}/state"),
                // A node that is drained takes the runner, and not the agents.
                "--on-exit=leave",
            ],
            "workingDir": WORK_DIR,
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            },
            "resources": { "requests": { "cpu": "50m", "memory": "64Mi" } },
            "volumeMounts": [
                { "name": "config", "mountPath": CONFIG_DIR, "readOnly": true },
                { "name": "work", "mountPath": WORK_DIR },
            ],
        });
        let probes = self.metrics_port().map(probes);
        if let (Some(Value::Object(probes)), Some(container)) = (probes, container.as_object_mut())
        {
            container.extend(probes);
        }
        container
    }
}

/// By what a kubelet asks a runner whether it is well, at this port.
fn probes(port: u16) -> Value {
    let get = |path: &str| json!({ "path": path, "port": METRICS });
    json!({
        "ports": [{ "name": METRICS, "containerPort": port }],
        "readinessProbe": { "httpGet": get("/readyz"), "periodSeconds": 5, "timeoutSeconds": 5 },
        // A minute: at its start a runner may have to wait for the API server.
        "livenessProbe": {
            "httpGet": get("/livez"),
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
    })
}
