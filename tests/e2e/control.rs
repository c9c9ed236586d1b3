//! The verbs that ask a running instance, as a person or a script uses them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::harness::{Runner, eventually, misbehave};
use super::scripted::{Scripted, controllable};

/// What the verb came to, asked of the runner in this directory.
pub(crate) fn verb(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command.args(args).args(["--state-dir", "state"]).current_dir(dir).output().unwrap()
}

pub(crate) fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Its data, which must be there.
pub(crate) fn data(runner: &Runner, args: &[&str]) -> String {
    let output = verb(runner.dir.path(), args);
    let (code, stdout, stderr) = said(&output);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{args:?}: {stdout}");
    stdout
}

pub(crate) fn json(runner: &Runner, args: &[&str]) -> Value {
    let args: Vec<_> = args.iter().copied().chain(["-o", "json"]).collect();
    serde_json::from_str(&data(runner, &args)).unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

/// Two that run, and one that has crashed as often as it may.
fn config(world: &Scripted) -> String {
    let program = misbehave();
    format!(
        "[runner]\nserver = \"{}\"\ninitial_backoff_ms = 10\nmax_restart_attempts = 2\n\
         [agents.default]\ncommand = [{program:?}]\n\
         [agents.crasher]\ncommand = [{program:?}, \"--exit-after-ms\", \"1\", \"--code\", \"5\"]\n\
         [jit]\nwatch_interval_ms = 100\n[discovery]\nremoval_confirmations = 2\n",
        world.address,
    )
}

fn started(world: &Scripted) -> Runner {
    let runner = Runner::start(&config(world));
    runner.pids(0, &["alice", "bob"]);
    runner.process.event(0, "agent.failed", "crasher");
    runner
}

fn three() -> Scripted {
    Scripted::start(["alice", "bob", "crasher"].map(controllable).to_vec())
}

#[test]
fn what_there_is_as_tables_and_for_programs() {
    let world = three();
    let runner = started(&world);
    let table = data(&runner, &["get", "agents"]);
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "TEMPLATE", "PHASE", "RESTARTS", "AGE", "REASON"]);
    assert_eq!(rows[1][..4], ["alice", "default", "Running", "0"]);
    assert_eq!(rows[3], ["crasher", "crasher", "Failed", "2", "-", "exit", "code", "5"]);
    assert!(!table.contains('\u{1b}'), "colours without a terminal");

    let list = json(&runner, &["get", "agents"]);
    assert_eq!((&list["apiVersion"], &list["kind"]), (&"runner/v1".into(), &"AgentList".into()));
    assert_eq!(names(&list), ["alice", "bob", "crasher"]);
    let crasher = &list["items"][2];
    assert_eq!(crasher["lastExit"]["how"], "exit code 5");
    assert_eq!((&crasher["attempts"], &crasher["ready"]), (&2.into(), &false.into()));
    let measured = json(&runner, &["get", "agents", "alice", "--usage"]);
    let alice = &measured["items"][0];
    assert_eq!(alice["usage"]["processes"], 1);
    assert!(alice["usage"]["memoryBytes"].as_u64().unwrap() > 0);
    assert!(runner.agent_pids().contains(&alice["pid"].as_u64().unwrap()));

    assert_eq!(names(&json(&runner, &["get", "agents", "-l", "phase=failed"])), ["crasher"]);
    assert_eq!(names(&json(&runner, &["get", "agents", "*b*"])), ["bob"]);
    assert_eq!(data(&runner, &["get", "agents", "a*", "-o", "name"]), "alice\n");
    let sorted = json(&runner, &["get", "agents", "--sort-by", "restarts"]);
    assert_eq!(names(&sorted)[0], "crasher");
    assert!(data(&runner, &["get", "agents", "alice", "-o", "yaml"]).contains("\n- name: alice\n"));

    let status = json(&runner, &["status"]);
    assert_eq!((&status["phases"]["Running"], &status["phases"]["Failed"]), (&2.into(), &1.into()));
    assert_eq!(status["world"]["reachable"], true);
    let head = data(&runner, &["status"]);
    assert_eq!(head.lines().next().unwrap(), "runner: 2 running · 1 failed · world ok · config #1");

    assert_eq!(names(&json(&runner, &["get", "templates"])), ["default", "crasher"]);
    assert_eq!(names(&json(&runner, &["get", "entities"])), ["alice", "bob", "crasher"]);
    let described = json(&runner, &["describe", "agent", "alice"]);
    assert_eq!(described["command"][0], misbehave());
    assert_eq!(described["chosenBy"], "default template");
    let kinds: Vec<_> =
        described["events"].as_array().unwrap().iter().map(|it| &it["kind"]).collect();
    assert_eq!(kinds, ["entity.seen", "agent.starting", "agent.started"]);
    runner.stop();
}

#[test]
fn who_is_not_there_is_an_error_and_nothing_is_done() {
    let world = three();
    let runner = started(&world);
    let dir = runner.dir.path();
    let (code, stdout, stderr) = said(&verb(dir, &["get", "agents", "nobody"]));
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("there is no agent \"nobody\""), "{stderr}");
    let (code, _, stderr) = said(&verb(dir, &["restart", "alice", "nobody"]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("no entity \"nobody\""), "{stderr}");
    let (code, _, stderr) = said(&verb(dir, &["restart"]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--all"), "{stderr}");
    assert_eq!(runner.process.all_after(0, "agent.stopping").len(), 0);
    let state = dir.join("state");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&state.join("control.sock"))), (0o700, 0o600));
    let dir = runner.dir.path().to_owned();
    let keep = tempfile::tempdir().unwrap();
    runner.stop();
    let (code, _, stderr) = said(&verb(keep.path(), &["status"]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("no runner has the state directory"), "{stderr}");
    assert!(!dir.join("state/control.sock").exists());
}

#[test]
fn a_restart_is_one_and_a_suspension_outlives_the_runner() {
    let world = three();
    let mut runner = started(&world);
    let mark = runner.process.mark();
    assert_eq!(data(&runner, &["restart", "alice"]), "alice restarting\n");
    let stopping = runner.process.event(mark, "agent.stopping", "alice");
    assert_eq!(stopping["reason"], "a restart was asked for");
    let starting = runner.process.event(mark, "agent.starting", "alice");
    assert_eq!(starting["reason"], "a restart was asked for");
    data(&runner, &["wait", "--for=condition=Ready", "alice"]);
    assert_eq!(json(&runner, &["get", "agents", "alice"])["items"][0]["restarts"], 1);
    // Who has failed is tried again.
    let mark = runner.process.mark();
    data(&runner, &["restart", "-l", "phase=Failed"]);
    runner.process.event(mark, "agent.failed", "crasher");

    let mark = runner.process.mark();
    assert_eq!(data(&runner, &["suspend", "bob"]), "bob suspended\n");
    runner.process.event(mark, "agent.gone", "bob");
    data(&runner, &["wait", "--for=deleted", "bob"]);
    for _ in 0..2 {
        let entity = json(&runner, &["get", "entities", "bob"]);
        assert_eq!(entity["items"][0]["reason"], "it is suspended");
        assert_eq!(entity["items"][0]["suspended"], true);
        runner.process.signal(rustix::process::Signal::TERM);
        runner.process.ended();
        runner.start_again();
        runner.process.event(0, "agent.started", "alice");
        runner.process.event(0, "agent.pending", "bob");
    }
    runner.kill();
    runner.start_again();
    runner.process.event(0, "agent.pending", "bob");
    assert_eq!(data(&runner, &["resume", "bob"]), "bob resumed\n");
    runner.process.event(0, "agent.started", "bob");
    runner.stop();
}

#[test]
fn why_goes_from_the_first_cause_to_what_is_now() {
    let world = three();
    let runner = started(&world);
    let told = data(&runner, &["why", "crasher"]);
    let steps = [
        "entity seen (first)",
        "starting: the entity has no agent (template crasher, named after the entity)",
        "started as process",
        "ended by itself: exit code 5",
        "to be restarted in 10 ms, attempt 1 of 2: exit code 5",
        "failed; a changed template starts it again: it crashed again after restart 2 of 2",
        "its agent is Failed: exit code 5",
    ];
    let mut rest = told.as_str();
    for step in steps {
        let Some(at) = rest.find(step) else { panic!("{step:?} is not in order in\n{told}") };
        rest = &rest[at..];
    }
    let why = |name: &str, reason: &str| {
        eventually(reason, || data(&runner, &["why", name]).contains(reason));
    };
    data(&runner, &["suspend", "bob"]);
    why("bob", "it has no agent: it is suspended");
    why("nobody", "it has no agent: the world has no such entity");
    let with = |rule: &str| format!("{}{rule}", config(&world));
    runner.save(&with("enabled = false\n").replace("[discovery]\n", "[jit2]\n").replace(
        "[jit]\nwatch_interval_ms = 100\n[jit2]\nremoval_confirmations = 2\n",
        "[jit]\nwatch_interval_ms = 100\n",
    ));
    runner.process.event_of_all(0, "config.applied");
    world.set(["alice", "bob", "crasher", "late"].map(controllable).to_vec());
    why("late", "it came after the world's first answer, and jit.enabled is false");
    runner.save(&config(&world).replace("[runner]", "[runner]\nmax_agents = 1"));
    why("late", "max_agents = 1 are there already");
    runner.stop();
}

#[test]
fn what_happened_outlives_the_runner_and_can_be_watched() {
    let world = three();
    let mut runner = started(&world);
    // Who was told of it once is told of it for good.
    assert!(data(&runner, &["events", "crasher"]).contains("failed; a changed template"));
    runner.kill();
    runner.start_again();
    runner.process.event_of_all(0, "runner.resumed");
    let events = json(&runner, &["events"]);
    let kinds: Vec<_> =
        events["items"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    let count = |kind: &str| kinds.iter().filter(|it| **it == kind).count();
    assert_eq!((count("runner.started"), count("runner.resumed")), (2, 1));
    assert_eq!(count("agent.failed"), 1);
    let numbers = events["items"].as_array().unwrap().iter().map(|it| it["sequence"].as_u64());
    assert!(numbers.is_sorted());
    let few = json(&runner, &["events", "alice", "-n", "1"]);
    assert_eq!(few["items"][0]["kind"], "agent.started");

    let mut watch = Command::new(env!("CARGO_BIN_EXE_runner"));
    watch.args(["events", "alice", "-w", "-o", "name", "--state-dir", "state"]);
    let mut watch =
        watch.current_dir(runner.dir.path()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(watch.stdout.take().unwrap()));
    // The past comes first.
    for kind in ["entity.seen", "agent.starting", "agent.started"] {
        assert_eq!(lines.next().unwrap().unwrap(), kind);
    }
    data(&runner, &["restart", "alice"]);
    let kinds = ["agent.restart_asked", "agent.stopping", "agent.gone", "agent.starting"];
    for kind in kinds {
        assert_eq!(lines.next().unwrap().unwrap(), kind);
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
    runner.stop();
}

#[test]
fn a_reload_tells_what_came_of_it_and_a_stop_leaves_whom_it_is_to() {
    let world = three();
    let mut runner = started(&world);
    let before = runner.agent_pids();
    assert!(data(&runner, &["reload"]).contains("nothing changed"));
    runner.save(&config(&world).replace("max_restart_attempts = 2", "max_restart_attempts = 3"));
    assert_eq!(data(&runner, &["reload"]), "configuration #2 is in force\n");
    runner.save("[runner]\nmax_agents = 0\n");
    let (code, _, stderr) = said(&verb(runner.dir.path(), &["reload"]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("`runner.max_agents`") && stderr.contains("#2 stays"), "{stderr}");
    runner.save(&config(&world));
    data(&runner, &["reload"]);
    data(&runner, &["stop", "--leave-agents"]);
    assert_eq!(runner.process.ended(), Some(0));
    assert_eq!(runner.agent_pids(), before);
    runner.start_again();
    runner.process.event_of_all(0, "runner.resumed");
    let (code, _, _) = said(&verb(runner.dir.path(), &["stop"]));
    assert_eq!(code, Some(0));
    assert_eq!(runner.process.ended(), Some(0));
    assert_eq!(runner.agents(), []);
}

/// A process whose lines are read as they come, and that is ended with the test.
struct Reader(std::process::Child, std::io::Lines<std::io::BufReader<std::process::ChildStdout>>);

impl Reader {
    fn start(dir: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command.args(args).current_dir(dir).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = std::io::BufReader::new(child.stdout.take().unwrap());
        Self(child, std::io::BufRead::lines(stdout))
    }

    fn line(&mut self) -> String {
        self.1.next().unwrap().unwrap()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_follower_reads_each_line_once_through_rotations_and_deaths() {
    let world = Scripted::start(vec![controllable("alice")]);
    // What it writes goes on where the one before it ended.
    let script = "while :; do n=$((n+1)); echo \"line $n of $$ xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"; \
                  sleep 0.002; done";
    let config = format!(
        "[runner]\nserver = \"{}\"\ninitial_backoff_ms = 10\n[agents.default]\n\
         command = [\"sh\", \"-c\", {script:?}]\n[logs]\nmax_bytes = \"8KiB\"\nkeep = 1000\n",
        world.address
    );
    let mut runner = Runner::start(&config);
    runner.pids(0, &["alice"]);
    let mut follower =
        Reader::start(runner.dir.path(), &["logs", "-f", "alice", "--state-dir", "state"]);
    let mut last: (String, u64) = (String::new(), 0);
    let mut heads = 0;
    let mut follow = |lines: usize, heads_wanted: u64| {
        let mut read = 0;
        while read < lines || heads < heads_wanted {
            let line = follower.line();
            if line.starts_with("--- runner: ") {
                heads += 1;
                last = (String::new(), 0);
                continue;
            }
            let words: Vec<_> = line.split(' ').collect();
            let (number, pid) = (words[1].parse().unwrap(), words[3].to_owned());
            let expected =
                if last.0.is_empty() { (pid.clone(), 1) } else { (last.0.clone(), last.1 + 1) };
            assert_eq!((pid.clone(), number), expected, "{line}");
            last = (pid, number);
            read += 1;
        }
    };
    follow(300, 1);
    let segments = || {
        let logs = std::fs::read_dir(runner.dir.path().join("logs")).unwrap();
        logs.filter(|file| file.as_ref().unwrap().file_name().to_str().unwrap().contains(".log.0"))
            .count()
    };
    eventually("rotations", || segments() > 1);
    follow(600, 1);
    data(&runner, &["restart", "alice"]);
    follow(200, 2);
    runner.kill();
    follow(200, 2);
    runner.start_again();
    runner.process.event_of_all(0, "runner.resumed");
    follow(600, 2);
    drop(follower);

    let all = data(&runner, &["logs", "alice"]);
    assert_eq!(all.lines().filter(|line| line.starts_with("--- runner: ")).count(), 2);
    let previous = data(&runner, &["logs", "alice", "--previous", "--tail", "1", "--prefix"]);
    assert!(previous.starts_with("alice | line "), "{previous}");
    let dir = runner.dir.path().to_owned();
    let kept = tempfile::tempdir().unwrap();
    let copied = kept.path().join("logs");
    data(&runner, &["suspend", "alice"]);
    runner.process.event(0, "agent.gone", "alice");
    let status = Command::new("cp").arg("-r").arg(dir.join("logs")).arg(&copied).status().unwrap();
    assert!(status.success());
    runner.stop();
    // Without a runner, from the files.
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command.args(["logs", "alice", "--tail", "1", "--log-dir"]).arg(&copied);
    let (code, stdout, _) = said(&command.output().unwrap());
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("line "), "{stdout}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command.args(["logs", "nobody", "--log-dir"]).arg(&copied);
    assert_eq!(said(&command.output().unwrap()).0, Some(1));
}

#[test]
fn a_plan_says_what_an_edited_file_would_change_in_the_running_instance() {
    let world = three();
    let runner = started(&world);
    let dir = runner.dir.path();
    let alice = runner.pids(0, &["alice"])[0];
    let plan = |config: &str, more: &[&str]| {
        std::fs::write(dir.join("edited.toml"), config).unwrap();
        let args: Vec<_> = ["plan", "--config", "edited.toml", "--detailed-exitcode"]
            .iter()
            .chain(more)
            .copied()
            .collect();
        said(&verb(dir, &args))
    };
    let config = config(&world);
    assert_eq!(plan(&config, &[]), (Some(0), "unchanged   3\n".to_owned(), String::new()));

    let edited =
        config.replace("[agents.crasher]", "env = { LEVEL = \"debug\" }\n[agents.crasher]");
    let (code, table, _) = plan(&edited, &[]);
    assert_eq!(code, Some(2));
    let stops = ["alice", "bob"]
        .map(|name| format!("stop        {name}: environment changed; grace 5s\n"))
        .concat();
    assert_eq!(table, format!("{stops}unchanged   1\n"));
    let (_, list, _) = plan(&edited, &["-o", "json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!((&list["apiVersion"], &list["kind"]), (&"runner/v1".into(), &"Plan".into()));
    assert_eq!(names(&serde_json::json!({ "items": list["actions"] })), ["alice", "bob"]);
    assert_eq!(list["actions"][0]["verb"], "stop");

    // A failed one is started again by another command; orders that are in force are heeded.
    data(&runner, &["suspend", "bob"]);
    data(&runner, &["wait", "--for=deleted", "bob"]);
    let (code, table, _) = plan(&config.replace("\"5\"", "\"6\""), &[]);
    assert_eq!(code, Some(2));
    assert!(table.starts_with("start       crasher: command changed; template crasher"), "{table}");
    assert!(table.contains("pending     bob: it is suspended\n"), "{table}");

    let few = edited.replace("[runner]", "[runner]\nrollout = { max_unavailable = 1 }");
    data(&runner, &["resume", "bob"]);
    data(&runner, &["wait", "--for=phase=Running", "bob"]);
    let (_, table, _) = plan(&few, &[]);
    assert!(table.ends_with("note        default: 2 agents are changed, 1 at a time\n"), "{table}");

    let (code, table, _) = plan(&config.replace(&world.address.to_string(), "localhost:1"), &[]);
    assert_eq!(code, Some(2));
    assert!(table.starts_with("world       localhost:1\nunchanged   3\n"), "{table}");

    let (code, stdout, stderr) = plan("[runner]\nmax_agents = 0\n", &[]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("`runner.max_agents`"), "{stderr}");
    assert_eq!(runner.process.all_after(0, "agent.stopping").len(), 1, "bob, who was suspended");
    assert!(runner.agent_pids().contains(&alice));
    runner.stop();
}
