//! Many starts, and many crashes: the runner stays quiet and at hand.

use super::harness::{Runner, entities, ids, misbehave};

/// Agents that crash as soon as they run, and are restarted at once, for ever.
fn crashing(count: usize, more: &str) -> String {
    let calm = format!("[agents.newcomer]\ncommand = [{:?}]\n", misbehave());
    format!(
        "[runner]\nserver = \"embedded\"\ninitial_backoff_ms = 0\n\
         max_restart_attempts = 1000000\n\
         [agents.default]\ncommand = [{:?}, \"--print\", \"2\", \"--exit-after-ms\", \"0\", \
         \"--code\", \"7\"]\n{calm}{}{more}",
        misbehave(),
        entities(ids("e", count)),
    )
}

#[test]
fn a_crash_storm_is_told_once_with_its_last_lines_and_keeps_nobody_waiting() {
    let runner = Runner::start(&crashing(100, ""));
    let storm = runner.process.event_of_all(0, "agents.crash_storm");
    assert_eq!(storm["template"], "default");
    assert_eq!(storm["exit"], "exit code 7");
    assert!(storm["count"].as_u64().unwrap() >= 10, "{storm}");
    assert_eq!(storm["last_lines"], "line 0 | line 1");

    let mark = runner.process.mark();
    runner.save(&crashing(100, &entities(["newcomer"])));
    let started = runner.process.event(mark, "agent.started", "newcomer");
    // While hundreds of others crashed and were restarted, of which no line tells.
    for event in ["agent.exited", "agent.backoff", "agents.crash_storm"] {
        assert_eq!(runner.process.all_after(mark, event), [] as [serde_json::Value; 0]);
    }
    assert!(runner.agent_pids().contains(&started["pid"].as_u64().unwrap()));
    runner.stop();
}

#[test]
fn another_rate_holds_from_the_save_on_and_restarts_nobody() {
    let config = |per_second: usize| {
        let all = entities(ids("e", 60));
        format!(
            "[runner]\nserver = \"embedded\"\n[spawn]\nper_second = {per_second}\n\
             [agents.default]\ncommand = [{:?}]\n{all}",
            misbehave(),
        )
    };
    let runner = Runner::start(&config(1));
    runner.process.event(0, "agent.started", "e0");
    // The last one would be due in a minute.
    let mark = runner.process.mark();
    runner.save(&config(1000));
    runner.process.event(mark, "agent.started", "e59");
    assert_eq!(runner.process.all_after(0, "agent.stopping"), [] as [serde_json::Value; 0]);
    runner.stop();
}
