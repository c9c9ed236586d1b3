use serde_json::{Value, json};

use super::*;

fn pod(status: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": "ants-a-1", "uid": "u1",
            "labels": { "runner.dev/run": "7" },
            "annotations": { "runner.dev/entity": "a b" },
            "ownerReferences": [{ "apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "o1" }],
        },
        "spec": { "nodeName": "n1", "containers": [
            { "name": "agent", "resources": { "limits": { "memory": "64Mi" } } },
        ] },
        "status": status,
    }))
    .unwrap()
}

fn seen(status: &Value) -> State {
    Seen::of(&pod(status), &[Uid("o1".to_owned())]).unwrap().state
}

fn container(state: &Value) -> Value {
    json!([{ "name": "agent", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state }])
}

fn ended(phase: &str, terminated: &Value) -> State {
    seen(
        &json!({ "phase": phase, "containerStatuses": container(&json!({ "terminated": terminated })) }),
    )
}

#[test]
fn a_pod_is_ours_if_it_belongs_to_our_object() {
    let pod = pod(&json!({ "phase": "Pending" }));
    assert_eq!(Seen::of(&pod, &[Uid("another".to_owned())]), None);
    let seen = Seen::of(&pod, &[Uid("o1".to_owned())]).unwrap();
    assert_eq!((seen.run, seen.entity.as_str(), seen.leaving), (RunId(7), "a b", None));
}

#[test]
fn what_a_pod_waits_for_is_told() {
    let unschedulable = json!({ "phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available" }] });
    let State::Waiting(waits) = seen(&unschedulable) else { panic!() };
    assert_eq!(waits.to_string(), "no node can take it: 0/1 nodes are available");
    let image = json!({ "waiting": { "reason": "ImagePullBackOff", "message": "Back-off" } });
    let image = json!({ "phase": "Pending", "containerStatuses": container(&image) });
    let State::Waiting(waits) = seen(&image) else { panic!() };
    assert_eq!(waits.on, WaitsFor::Image);
    let State::Waiting(waits) = seen(&json!({ "phase": "Pending" })) else { panic!() };
    assert_eq!(waits.on, WaitsFor::Placement);
}

#[test]
fn a_node_that_is_silent_is_told_while_the_agent_may_run() {
    let running = container(&json!({ "running": {} }));
    let ready = |status: &str| {
        seen(&json!({ "phase": "Running", "containerStatuses": running,
            "conditions": [{ "type": "Ready", "status": status }] }))
    };
    let node = "n1".to_owned();
    assert_eq!(ready("True"), State::Running { node: node.clone(), waits: None });
    let State::Running { waits: Some(waits), .. } = ready("False") else { panic!() };
    assert_eq!(waits.on, WaitsFor::Node);
}

#[test]
fn how_it_ended_is_what_the_container_says_unless_the_cluster_took_it() {
    let code = |code: i32| ended("Failed", &json!({ "exitCode": code }));
    assert_eq!(ended("Succeeded", &json!({ "exitCode": 0 })), State::Ended(Exit::Code(0)));
    assert_eq!(code(3), State::Ended(Exit::Code(3)));
    assert_eq!(code(137), State::Ended(Exit::Signal(9)));
    assert_eq!(code(255), State::Ended(Exit::Code(255)));
    let oom = ended("Failed", &json!({ "exitCode": 137, "reason": "OOMKilled" }));
    assert_eq!(oom, State::Ended(Exit::OutOfMemory { limit: 64 << 20 }));
    let evicted = seen(&json!({ "phase": "Failed", "reason": "Evicted" }));
    assert_eq!(evicted, State::Ended(Exit::Lost(Loss::Evicted)));
    assert_eq!(seen(&json!({ "phase": "Failed" })), State::Ended(Exit::Unknown));
}

#[test]
fn an_agent_that_ended_before_others_of_its_pod_leaves_them_behind() {
    let mut two = container(&json!({ "terminated": { "exitCode": 1 } }));
    two.as_array_mut().unwrap().push(json!({ "name": "other", "image": "i", "imageID": "",
        "ready": true, "restartCount": 0, "state": { "running": {} } }));
    let state = seen(&json!({ "phase": "Running", "containerStatuses": two }));
    assert_eq!(state, State::Leftovers(Exit::Code(1)));
}

#[test]
fn for_whose_sake_a_pod_goes_is_told_where_the_server_says_it() {
    let going = |status: &Value| {
        let mut pod = pod(status);
        let at = "2026-01-01T00:00:00Z";
        pod.metadata.deletion_timestamp = serde_json::from_value(json!(at)).unwrap();
        Seen::of(&pod, &[Uid("o1".to_owned())]).unwrap().leaving
    };
    assert_eq!(going(&json!({ "phase": "Running" })), Some(Loss::Deleted));
    let for_reason = |reason: &str| {
        going(&json!({ "phase": "Running", "conditions": [
            { "type": "DisruptionTarget", "status": "True", "reason": reason }] }))
    };
    assert_eq!(for_reason("PreemptionByScheduler"), Some(Loss::Preempted));
    assert_eq!(for_reason("EvictionByEvictionAPI"), Some(Loss::Evicted));
    assert_eq!(for_reason("DeletionByTaintManager"), Some(Loss::Node));
}
