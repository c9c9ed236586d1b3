//! What it costs to ask a runner of 1,000 agents of which a tenth crash all the time, and what it
//! costs the runner to be watched by many, some of whom never read.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use runner::control::client::connect;
use runner::proto::control::{ListAgentsRequest, ListEventsRequest, Selector};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};
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
        "[metrics]\nlisten = \"127.0.0.1:0\"\n\
         [runner]\nserver = \"embedded\"\ninitial_backoff_ms = 0\nmax_restart_attempts = 1000000\n\
         [agents.default]\ncommand = [{program:?}]\n{}{}",
        crashing.iter().map(template).collect::<String>(),
        entities(crashing.iter().chain(&steady)),
    );
    let runner = Runner::start(&config);
    all_started(&runner, 0, &crashing);
    all_started(&runner, 0, &steady);

    // What clients cost is theirs: they get one processor, so that the runner has another.
    let mut one = CpuSet::new();
    one.set(0);
    sched_setaffinity(None, &one).unwrap();
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

    let passes = Passes::of(&runner);
    sleep(TIME);
    println!("asking: nobody watches: {}", passes.since(&runner));
    let alone = restarts(&runtime, &runner, &steady);
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
    let passes = Passes::of(&runner);
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
    println!("asking: {WATCHERS} watch, {MUTE} never read: {}", passes.since(&runner));
    tell("watched: from SIGKILL to the next start", restarts(&runtime, &runner, &steady));
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

/// The times from the kill of an agent to the start of the next one, as events tell of it: where
/// many crash, the log has one line for all.
fn restarts(runtime: &Runtime, runner: &Runner, names: &[String]) -> Vec<Duration> {
    let state = runner.dir.path().join("state");
    let agents: BTreeMap<_, _> = runner
        .agents()
        .iter()
        .filter_map(|agent| {
            Some((agent.marker("RUNNER_ENTITY_ID")?.to_owned(), agent.identity.pid))
        })
        .collect();
    let of = |name: &String| {
        runtime.block_on(async {
            let selector = Some(Selector { names: vec![name.clone()], ..Selector::default() });
            let mut client = connect(&state).unwrap();
            // Not what has happened before, but for its start.
            let asked = ListEventsRequest { selector, since_ms: 0, limit: 1 };
            let mut events = client.watch_events(asked).await.unwrap().into_inner();
            let pid = Pid::from_raw(i32::try_from(agents[name]).unwrap()).unwrap();
            let killed = Instant::now();
            // A child of the runner's, which has not reaped it.
            kill_process(pid, Signal::KILL).unwrap();
            let mut ended = false;
            loop {
                let kind = events.message().await.unwrap().unwrap().event.unwrap_or_default().kind;
                ended |= kind == "agent.exited";
                if ended && kind == "agent.started" {
                    return killed.elapsed();
                }
            }
        })
    };
    names.iter().step_by(names.len() / KILLS).map(of).collect()
}

/// How many passes there were, and how many seconds they took, as the runner tells a Prometheus.
struct Passes {
    at: Instant,
    count: f64,
    seconds: f64,
}

impl Passes {
    fn of(runner: &Runner) -> Self {
        let listening = runner.process.event_of_all(0, "metrics.listening");
        let mut peer = TcpStream::connect(listening["address"].as_str().unwrap()).unwrap();
        peer.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut page = String::new();
        peer.read_to_string(&mut page).unwrap();
        let value = |name: &str| {
            let line = page.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().parse().unwrap()
        };
        Self {
            at: Instant::now(),
            count: value("runner_pass_duration_seconds_count"),
            seconds: value("runner_pass_duration_seconds_sum"),
        }
    }

    fn since(&self, runner: &Runner) -> String {
        let now = Self::of(runner);
        let time = (now.at - self.at).as_secs_f64();
        let (count, seconds) = (now.count - self.count, now.seconds - self.seconds);
        let (each, share) = (seconds / count * 1e6, seconds / time * 1e3);
        format!("{:.0} passes a second, {each:.0} µs each, {share:.1} ms in all", count / time)
    }
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
