//! What it costs to ask a runner of 1,000 agents of which a tenth crash all the time, and what it
//! costs the runner to be watched by many, some of whom never read.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use runner::control::client::connect;
use runner::proto::control::ListAgentsRequest;
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

use super::harness::{Runner, entities, ids, misbehave};
use super::vitals::Memory;
use super::{all_started, cpu};

const AGENTS: usize = 1000;
const CRASHING: usize = 100;
const WATCHERS: usize = 100;
const MUTE: usize = 10;
const QUESTIONS: usize = 300;
const KILLS: usize = 100;
/// How long the watchers watch.
const TIME: Duration = Duration::from_secs(60);

pub(crate) fn asking() {
    let (crashing, steady) = (ids("crash-", CRASHING), ids("steady-", AGENTS - CRASHING));
    let program = misbehave();
    let template = |name: &String| {
        let crash = "\"--exit-after-ms\", \"1000\", \"--code\", \"1\"";
        format!("[agents.{name}]\ncommand = [{program:?}, {crash}]\n")
    };
    let config = format!(
        "[runner]\nserver = \"embedded\"\ninitial_backoff_ms = 0\nmax_restart_attempts = 1000000\n\
         [agents.default]\ncommand = [{program:?}]\n{}{}",
        crashing.iter().map(template).collect::<String>(),
        entities(crashing.iter().chain(&steady)),
    );
    let runner = Runner::start(&config);
    all_started(&runner, 0, &crashing);
    all_started(&runner, 0, &steady);

    let runtime = Runtime::new().unwrap();
    let state = runner.dir.path().join("state");
    tell("the verb `get agents -o json`", (0..QUESTIONS).map(|_| verb(&runner)).collect());
    let called = (0..QUESTIONS).map(|_| {
        runtime.block_on(async {
            let mut client = connect(&state).unwrap();
            let asked = Instant::now();
            let agents = client.list_agents(ListAgentsRequest::default()).await.unwrap();
            assert_eq!(agents.into_inner().agents.len(), AGENTS);
            asked.elapsed()
        })
    });
    tell("the call ListAgents", called.collect());

    let alone = restarts(&runner, &steady);
    let memory = Memory::of(runner.process.id()).unwrap().proportional;
    println!("asking: nobody watches: {} KiB, {}", memory >> 10, used(&runner));
    tell("nobody watches: from SIGKILL to the next start", alone);

    for number in 0..WATCHERS {
        let state = state.clone();
        runtime.spawn(async move {
            let mut client = connect(&state).unwrap();
            let asked = ListAgentsRequest::default();
            let mut changes = client.watch_agents(asked).await.unwrap().into_inner();
            if number < MUTE {
                std::future::pending::<()>().await;
            }
            while let Ok(Some(_)) = changes.message().await {}
        });
    }
    let watched = Instant::now();
    while watched.elapsed() < TIME {
        // The samples are what is wanted.
        sleep(TIME / 6);
        let memory = Memory::of(runner.process.id()).unwrap().proportional;
        println!(
            "asking: {WATCHERS} watch, {MUTE} never read: {} KiB, {}",
            memory >> 10,
            used(&runner)
        );
    }
    tell("watched: from SIGKILL to the next start", restarts(&runner, &steady));
    runtime.shutdown_background();
    runner.stop();
}

/// The time of one verb, its process included.
fn verb(runner: &Runner) -> Duration {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command.args(["get", "agents", "-o", "json", "--state-dir", "state"]);
    let asked = Instant::now();
    let output = command.current_dir(runner.dir.path()).output().unwrap();
    assert!(output.status.success() && output.stdout.len() > 100_000);
    asked.elapsed()
}

/// The times from the kill of an agent to the start of the next one.
fn restarts(runner: &Runner, names: &[String]) -> Vec<Duration> {
    let of = |name: &String| {
        let mark = runner.process.mark();
        let agents = runner.agents();
        let agent = agents.iter().find(|agent| agent.marker("RUNNER_ENTITY_ID") == Some(name));
        let pid = i32::try_from(agent.unwrap().identity.pid).unwrap();
        let killed = Instant::now();
        // A child of the runner's, which has not reaped it.
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        runner.process.event(mark, "agent.started", name);
        killed.elapsed()
    };
    names.iter().step_by(names.len() / KILLS).map(of).collect()
}

/// The processor time that the runner takes, in a second.
fn used(runner: &Runner) -> String {
    let (from, before) = (Instant::now(), cpu(runner.process.id()));
    sleep(Duration::from_secs(3));
    let used = cpu(runner.process.id()).saturating_sub(before);
    format!("{:.1} ms of CPU a second", used.as_secs_f64() * 1000.0 / from.elapsed().as_secs_f64())
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    println!("asking: {what}: median {:.2?}, p99 {:.2?}", at(50), at(99));
}
