//! Who a runner is to its cluster, what it may do there, and who may reach it.

use serde_json::{Value, json};

use super::Deployed;
use crate::executor::kubernetes::{NEEDS, Need};

/// Where API servers listen, seen by a network policy: most look at the port behind the Service.
const API_SERVER: [u16; 2] = [443, 6443];

impl Deployed<'_> {
    pub(super) fn access(&self) -> Vec<Value> {
        let group = "rbac.authorization.k8s.io";
        vec![
            json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": self.metadata(),
            }),
            json!({
                "apiVersion": format!("{group}/v1"),
                "kind": "Role",
                "metadata": self.metadata(),
                "rules": self.rules(),
            }),
            json!({
                "apiVersion": format!("{group}/v1"),
                "kind": "RoleBinding",
                "metadata": self.metadata(),
                "roleRef": { "apiGroup": group, "kind": "Role", "name": self.name() },
                "subjects": [{
                    "kind": "ServiceAccount",
                    "name": self.name(),
                    "namespace": self.namespace,
                }],
            }),
            self.network_policy(),
        ]
    }

    /// What the executor asks of the API server, and no more.
    fn rules(&self) -> Value {
        let rules = NEEDS.iter().map(|Need { group, resource, verbs, of_own, .. }| {
            let (groups, resources) = ([group], [resource]);
            if *of_own {
                let names = [&self.names.owner];
                json!({
                    "apiGroups": groups, "resources": resources, "resourceNames": names,
                    "verbs": verbs,
                })
            } else {
                json!({ "apiGroups": groups, "resources": resources, "verbs": verbs })
            }
        });
        rules.collect()
    }

    fn network_policy(&self) -> Value {
        let tcp = |port: u16| json!({ "port": port, "protocol": "TCP" });
        let metrics: Vec<_> =
            self.metrics_port().map(|port| json!({ "ports": [tcp(port)] })).into_iter().collect();
        let world = self.world_port().filter(|port| !API_SERVER.contains(port));
        let mut outwards = vec![json!({ "port": 53, "protocol": "UDP" }), tcp(53)];
        outwards.extend(API_SERVER.into_iter().chain(world).map(tcp));
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": self.metadata(),
            "spec": {
                "podSelector": { "matchLabels": self.labels() },
                "policyTypes": ["Ingress", "Egress"],
                "ingress": metrics,
                "egress": [{ "ports": outwards }],
            },
        })
    }
}
