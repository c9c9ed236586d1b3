use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::executor::{Resource, logs};
use crate::plan::{AgentSpec, Confinement, EntityId, RunId};

fn request(manifest: Value, overrides: Value) -> SpawnRequest {
    SpawnRequest {
        run: RunId(7),
        entity: EntityId::new("a b").unwrap(),
        spec: AgentSpec {
            argv: vec!["python".to_owned(), "$(HOME)".to_owned()],
            env: [("COST".to_owned(), "$5 $(X)".to_owned())].into_iter().collect(),
            cwd: "/app".into(),
            confinement: Confinement::default(),
            pod: Some(Arc::new(PodTemplate { image: "i:1".to_owned(), manifest, overrides })),
        },
        grace: Duration::from_millis(1500),
        markers: BTreeMap::from([("RUNNER_TEMPLATE".to_owned(), "ants".to_owned())]),
        resource: Resource::default(),
        log_dir: "logs".into(),
        logs: logs::Policy { max_bytes: None, keep: 1, max_total_bytes: None },
        incarnation: 3,
        attempts: 0,
        restarts: 0,
        reason: "the entity has no agent".to_owned(),
    }
}

fn maker() -> Maker {
    Maker { instance: "x".to_owned(), owners: vec![Uid("o1".to_owned())] }
}

fn made(manifest_below: Value, overrides: Value) -> Value {
    manifest(&request(manifest_below, overrides), &maker()).unwrap().pod
}

#[test]
fn a_pod_says_what_the_agent_is_and_whose() {
    let pod = made(json!({}), json!({}));
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["name"], "agent");
    assert_eq!(container["image"], "i:1");
    assert_eq!(container["workingDir"], "/app");
    // Nothing is filled in that the template did not ask the runner for.
    assert_eq!(container["command"], json!(["python", "$$(HOME)"]));
    let env = container["env"].as_array().unwrap();
    assert!(env.contains(&json!({ "name": "COST", "value": "$5 $$(X)" })), "{env:?}");
    assert!(env.contains(&json!({ "name": "RUNNER_RUN", "value": "7" })), "{env:?}");
    assert_eq!(pod["spec"]["restartPolicy"], "Never");
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 2);
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], "o1");
    assert_eq!(pod["metadata"]["annotations"]["runner.dev/entity"], "a b");
    let origin = pod["metadata"]["annotations"]["runner.dev/origin"].as_str().unwrap();
    let origin: Origin = serde_json::from_str(origin).unwrap();
    assert_eq!((origin.incarnation, origin.template.as_str()), (3, "ants"));
    assert_eq!(origin.spec, request(json!({}), json!({})).spec);
}

#[test]
fn the_template_is_below_and_its_overrides_above_but_not_above_who_the_pod_is() {
    let below = json!({ "metadata": { "labels": { "team": "a", "runner.dev/run": "1" } },
        "spec": { "nodeSelector": { "gpu": "yes" }, "containers": [
            { "name": "agent", "imagePullPolicy": "Never", "image": "other" }] } });
    let above = json!({ "restartPolicy": "Always", "hostNetwork": true, "containers": [
        { "name": "agent", "volumeMounts": [{ "name": "v", "mountPath": "/v" }] },
        { "name": "sidecar", "image": "s" }], "volumes": [{ "name": "v", "emptyDir": {} }] });
    let pod = made(below, above);
    assert_eq!(pod["metadata"]["labels"]["team"], "a");
    assert_eq!(pod["metadata"]["labels"]["runner.dev/run"], "7");
    assert_eq!(pod["spec"]["restartPolicy"], "Never");
    assert_eq!(pod["spec"]["hostNetwork"], true);
    assert_eq!(pod["spec"]["nodeSelector"]["gpu"], "yes");
    let containers = pod["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 2);
    assert_eq!(containers[0]["imagePullPolicy"], "Never");
    assert_eq!(containers[0]["image"], "i:1");
    assert_eq!(containers[0]["volumeMounts"][0]["mountPath"], "/v");
    assert_eq!(containers[1]["name"], "sidecar");
}

#[test]
fn no_override_makes_another_run_look_like_this_one() {
    let above = json!({ "containers": [
        { "name": "agent", "env": [{ "name": "RUNNER_RUN", "value": "1" }] }] });
    let pod = made(json!({}), above);
    let env = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    let runs: Vec<_> = env.iter().filter(|it| it["name"] == "RUNNER_RUN").collect();
    assert_eq!(runs, [&json!({ "name": "RUNNER_RUN", "value": "7" })]);
}

#[test]
fn a_time_of_less_than_a_second_is_no_order_to_forget_the_pod() {
    assert_eq!(seconds(Duration::ZERO), 1);
    assert_eq!(seconds(Duration::from_millis(999)), 1);
    assert_eq!(seconds(Duration::from_secs(5)), 5);
}
