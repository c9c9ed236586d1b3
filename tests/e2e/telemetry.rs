//! What agents are given for their telemetry, and what the runner tells of its own.

use std::fs;

use super::harness::{Runner, misbehave};
use super::scripted::{Scripted, controllable};

const OWN: &str = "runner.entity=a%2Cb,runner.entity.type=forager,runner.template=";

#[test]
fn an_agents_telemetry_says_which_entity_it_serves_beside_what_the_user_says() {
    let world = Scripted::start(["a,b", "bob"].map(controllable).to_vec());
    let config = format!(
        "[runner]\nserver = \"{}\"\nenv_inherit = [\"PATH\", \"OTEL_*\"]\n\
         [agents.default]\ncommand = [{program:?}]\n\
         [agents.bob]\ncommand = [{program:?}]\n\
         env.OTEL_RESOURCE_ATTRIBUTES = \"team=b,service.instance.id=1\"\n\
         [jit]\nwatch_interval_ms = 200\n",
        world.address,
        program = misbehave(),
    );
    let inherited = [("OTEL_RESOURCE_ATTRIBUTES", "region=eu")];
    let mut runner = Runner::start_under(&inherited, &config);
    let before = runner.pids(0, &["a,b", "bob"]);
    let attributes = |runner: &Runner, entity| {
        let agents = runner.agents();
        let agent = agents.iter().find(|it| it.marker("RUNNER_ENTITY_ID") == Some(entity));
        agent.unwrap().marker("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default().to_owned()
    };
    assert_eq!(
        attributes(&runner, "a,b"),
        format!("region=eu,{OWN}default,service.instance.id=a%2Cb")
    );
    assert_eq!(
        attributes(&runner, "bob"),
        "team=b,service.instance.id=1,runner.entity=bob,runner.entity.type=forager,\
         runner.template=bob"
    );

    // A runner that knows its agents only by what they carry finds them as they should be, also
    // where it has other attributes by now.
    runner.kill();
    fs::remove_file(runner.dir.path().join("state/journal")).unwrap();
    runner.start_again();
    assert_eq!(runner.process.event_of_all(0, "runner.resumed")["adopted"], 2);
    world.set(["a,b", "bob", "carol"].map(controllable).to_vec());
    runner.process.event(0, "agent.started", "carol");
    assert_eq!(runner.process.all_after(0, "agent.stopping").len(), 0);
    assert!(before.iter().all(|pid| runner.agent_pids().contains(pid)));
    assert!(attributes(&runner, "carol").starts_with("runner.entity=carol,"));
    runner.stop();
}
