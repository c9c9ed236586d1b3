//! What a newcomer sees: the embedded world with the built-in agents.

use std::fs;
use std::path::Path;

use super::harness::{Runner, World, entities, misbehave};

const FORAGER: &str = r#"["{runner}", "agent", "--server", "{server}", "--entity", "{entity_id}"]"#;

#[test]
fn the_demo_starts_its_agents_the_late_one_just_in_time_and_restarts_the_clumsy_one() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/demo.toml");
    let demo = fs::read_to_string(demo).unwrap();
    // The same world, a little faster.
    let demo = demo
        .replace("arrives_after_ms = 10000", "arrives_after_ms = 1500")
        .replace(r#""--crash-after-ms", "6000""#, r#""--crash-after-ms", "1000""#);
    let runner = Runner::start(&demo);
    let process = &runner.process;
    assert_eq!(process.event(0, "agent.starting", "alice")["template"], "default");
    assert_eq!(process.event(0, "agent.starting", "bob")["template"], "bob");
    let carol = process.event(0, "agent.starting", "carol");
    assert!(carol["chosen_by"].as_str().unwrap().contains("jit"), "{carol}");

    let crash = process.event(0, "agent.exited", "bob");
    assert_eq!(crash["exit"], "exit code 1");
    let again = process.wait(0, "restart of bob", |line| {
        line["event"] == "agent.starting" && line["entity"] == "bob" && line["attempt"] == 1
    });
    assert!(again["reason"].as_str().unwrap().contains("restart 1 of"), "{again}");
    assert_eq!(process.event(0, "agent.backoff", "bob")["delay_ms"], 500);
    assert!(runner.log("bob").contains("demo crash"), "{}", runner.log("bob"));
    assert_eq!(
        process.all_after(0, "agent.exited").iter().filter(|e| e["entity"] != "bob").count(),
        0
    );

    // Nothing outside the working directory, and nothing in it but the logs.
    let mut there: Vec<_> =
        fs::read_dir(runner.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    there.sort();
    assert_eq!(there, ["logs", "runner.toml", "state"]);
    runner.stop();
}

#[test]
fn an_entity_that_leaves_has_its_agent_stopped_after_the_confirmations() {
    let config = format!(
        "[runner]\nserver = \"embedded\"\n[agents.default]\ncommand = [{:?}]\n\
         [jit]\nwatch_interval_ms = 100\n{}{}leaves_after_ms = 1000\n",
        misbehave(),
        entities(["stays"]),
        entities(["leaves"]),
    );
    let runner = Runner::start(&config);
    let stop = runner.process.event(0, "agent.stopping", "leaves");
    assert_eq!(stop["reason"], "the entity has left the world");
    runner.process.event(0, "agent.gone", "leaves");
    assert_eq!(runner.agents().len(), 1);
    runner.stop();
}

#[test]
fn entities_edited_into_the_embedded_world_get_agents_at_once() {
    let agent = format!("[agents.default]\ncommand = [{:?}]\n", misbehave());
    let config =
        |ids: &[&str]| format!("[runner]\nserver = \"embedded\"\n{agent}{}", entities(ids));
    let runner = Runner::start(&config(&["alice"]));
    let alice = runner.pids(0, &["alice"]);
    runner.save(&config(&["alice", "bob"]));
    runner.process.event(0, "agent.started", "bob");
    assert_eq!(runner.process.all_after(0, "agent.stopping"), [] as [serde_json::Value; 0]);
    assert_eq!(runner.agents().iter().filter(|a| u64::from(a.identity.pid) == alice[0]).count(), 1);
    runner.stop();
}

#[test]
fn an_entity_leased_by_somebody_else_is_left_alone() {
    let world = World::start(&entities(["alice"]));
    let config = format!(
        "[runner]\nserver = {:?}\n[agents.default]\ncommand = {FORAGER}\n\
         [jit]\nwatch_interval_ms = 100\n",
        world.address
    );
    let first = Runner::start(&config);
    first.process.event(0, "agent.started", "alice");
    // Once its agent holds the lease, another runner keeps away.
    while !first.log("alice").contains("lease") {
        std::thread::yield_now();
    }
    let second = Runner::start(&config);
    let pending = second.process.event(0, "agent.pending", "alice");
    assert_eq!(pending["reason"], "somebody else holds the entity's lease");
    first.stop();
    // The forager gave its lease back.
    second.process.event(0, "agent.started", "alice");
    second.stop();
}
