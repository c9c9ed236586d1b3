//! What the verbs print, word for word: tables for people, JSON for programs.

use insta::{Settings, assert_snapshot};

use super::control::{data, said, verb};
use super::harness::{Runner, misbehave};
use super::scripted::{Scripted, controllable};

/// What differs from one run to the next, in the words for it.
fn settings(runner: &Runner) -> Settings {
    let mut settings = Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let dir = runner.dir.path().canonicalize().unwrap();
    settings.add_filter(&dir.display().to_string(), "DIR");
    settings.add_filter(&misbehave(), "PROGRAM");
    settings.add_filter(r"127\.0\.0\.1:\d+", "WORLD");
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "TIMESTAMP");
    settings.add_filter(r"\d\d:\d\d:\d\d\.\d{3}Z?", "HH:MM:SS.mmm");
    settings.add_filter(r#"("pid": "?)\d+"#, "${1}PID");
    settings.add_filter(r"(process |pid=|pid +)\d+", "${1}PID");
    settings.add_filter(r#"("cpuSeconds": |"memoryBytes": |"took_ms": ")[\d.]+"#, "${1}NUMBER");
    // Columns: the age, the process, what it uses.
    settings.add_filter(r" \d+(ms|s)(  |\n)", " AGE$2");
    settings.add_filter(r"AGE +\d+ +\d+\.\ds +[\d.]+ [KMG]iB", "AGE  PID  CPU  MEMORY");
    settings.add_filter(r#"("sequence": )\d+"#, "${1}NUMBER");
    settings.add_filter(r"#\d+", "#RUN");
    settings.add_filter(r" +\n", "\n");
    settings.add_filter(r"(\S)   +", "$1  ");
    settings
}

#[test]
fn of_all_verbs() {
    let world = Scripted::start(["alice", "bob", "carol", "crasher"].map(controllable).to_vec());
    let program = misbehave();
    let config = format!(
        "[runner]\nserver = \"{}\"\nname = \"demo\"\ninitial_backoff_ms = 10\n\
         max_restart_attempts = 1\nbackoff_multiplier = 1\n\
         rollout = {{ min_ready_ms = 0 }}\n\
         [agents.default]\ncommand = [{program:?}, \"--print\", \"1\"]\n\
         [agents.crasher]\ncommand = [{program:?}, \"--exit-after-ms\", \"1\", \"--code\", \"5\"]\n\
         limits = {{ nofile = 64 }}\n",
        world.address,
    );
    let runner = Runner::start(&config);
    runner.pids(0, &["alice", "bob", "carol"]);
    runner.process.event(0, "agent.failed", "crasher");
    let settings = settings(&runner);
    let _bound = settings.bind_to_scope();
    assert_snapshot!("suspend", data(&runner, &["suspend", "carol"]));
    data(&runner, &["wait", "--for=deleted", "carol"]);
    let shows: [(&str, &[&str]); 23] = [
        ("get_agents", &["get", "agents"]),
        ("get_agents_wide", &["get", "agents", "-o", "wide"]),
        ("get_agents_json", &["get", "agents", "alice", "crasher", "--usage", "-o", "json"]),
        ("get_agents_yaml", &["get", "agents", "crasher", "-o", "yaml"]),
        ("get_agents_name", &["get", "agents", "-o", "name"]),
        ("get_entities", &["get", "entities"]),
        ("get_entities_wide", &["get", "entities", "-o", "wide"]),
        ("get_entities_json", &["get", "entities", "carol", "-o", "json"]),
        ("get_templates", &["get", "templates"]),
        ("get_templates_json", &["get", "templates", "-o", "json"]),
        ("get_events", &["get", "events", "crasher"]),
        ("events_json", &["events", "bob", "-o", "json"]),
        ("events", &["events", "bob"]),
        ("status", &["status"]),
        ("status_json", &["status", "alice", "-o", "json"]),
        ("describe", &["describe", "agent", "crasher"]),
        ("describe_json", &["describe", "agent", "alice", "-o", "json"]),
        ("why", &["why", "crasher"]),
        ("why_json", &["why", "carol", "-o", "json"]),
        ("rollout_status", &["rollout", "status"]),
        ("rollout_status_json", &["rollout", "status", "default", "-o", "json"]),
        ("plan", &["plan", "--config", "runner.toml"]),
        ("plan_json", &["plan", "--config", "runner.toml", "-o", "json"]),
    ];
    for (name, args) in shows {
        assert_snapshot!(name, data(&runner, args));
    }
    let does: [(&str, &[&str]); 8] = [
        ("logs", &["logs", "alice", "bob", "--tail", "1", "--prefix"]),
        ("restart", &["restart", "alice"]),
        ("resume", &["resume", "carol"]),
        ("wait", &["wait", "--for=condition=Ready", "alice", "carol"]),
        ("rollout_pause", &["rollout", "pause", "default"]),
        ("rollout_resume", &["rollout", "resume", "default"]),
        ("rollout_undo", &["rollout", "undo", "default"]),
        ("reload", &["reload"]),
    ];
    for (name, args) in does {
        let (code, stdout, stderr) = said(&verb(runner.dir.path(), args));
        let code = code.unwrap_or(-1);
        assert_snapshot!(name, format!("{stdout}--- stderr\n{stderr}--- exit code {code}"));
    }
    // Whom it still waits for, and whether at all, is a matter of time.
    let (code, stdout, _) = said(&verb(runner.dir.path(), &["stop"]));
    assert_eq!((code, stdout.as_str()), (Some(0), ""));
}
