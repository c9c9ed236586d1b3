//! What a Prometheus is told, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::harness::{Runner, entities, eventually, ids, misbehave};
use super::scripted::{Scripted, controllable};

/// What is at that path: the status, and the page.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let (status, page) = ask(address, &format!("GET {path} HTTP/1.1\r\nHost: runner\r\n\r\n"));
    let (_, body) = page.split_once("\r\n\r\n").unwrap_or_default();
    (status, body.to_owned())
}

/// The status, and all that was answered.
fn ask(address: SocketAddr, request: &str) -> (u16, String) {
    let mut peer = TcpStream::connect(address).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    peer.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    (status, answer)
}

pub(crate) fn metrics(address: SocketAddr) -> BTreeMap<String, f64> {
    let (status, page) = get(address, "/metrics");
    assert_eq!(status, 200, "{page}");
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

pub(crate) fn listening(runner: &Runner, mark: usize) -> SocketAddr {
    let line = runner.process.event_of_all(mark, "metrics.listening");
    line["address"].as_str().unwrap().parse().unwrap()
}

/// A port that was free a moment ago.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// One that runs, ten that have crashed as often as they may, one that does not end when it is
/// told to, and one that cannot be started.
fn config(world: &Scripted) -> String {
    let program = misbehave();
    format!(
        "[metrics]\nlisten = \"127.0.0.1:0\"\n\
         [runner]\nserver = \"{}\"\ninitial_backoff_ms = 10\nmax_restart_attempts = 1\n\
         shutdown_grace_ms = 50\n\
         [agents.default]\ncommand = [{program:?}]\n\
         [agents.stubborn]\ncommand = [{program:?}, \"--ignore-term\"]\n\
         [agents.absent]\ncommand = [\"/no/such/program\"]\nrestart = \"never\"\n\
         [agents.crasher]\nmatch = {{ types = [\"crasher\"] }}\n\
         command = [{program:?}, \"--exit-after-ms\", \"1\", \"--code\", \"5\"]\n\
         [jit]\nwatch_interval_ms = 100\n",
        world.address,
    )
}

fn world() -> Scripted {
    let mut all = ["alice", "stubborn", "absent"].map(controllable).to_vec();
    all.extend(ids("crasher-", 10).iter().map(|id| {
        let mut entity = controllable(id);
        "crasher".clone_into(&mut entity.entity_type);
        entity
    }));
    Scripted::start(all)
}

/// Waits until all have come to where they stay.
fn settled(world: &Scripted) -> (Runner, SocketAddr) {
    let runner = Runner::start(&config(world));
    let address = listening(&runner, 0);
    eventually("every agent in its place", || {
        let metrics = metrics(address);
        let is = |name: &str, value: f64| metrics.get(name) == Some(&value);
        is(r#"runner_agents{phase="Failed",template="crasher"}"#, 10.0)
            && is(r#"runner_agents{phase="Running",template="default"}"#, 1.0)
            && is(r#"runner_agents{phase="Running",template="stubborn"}"#, 1.0)
    });
    (runner, address)
}

#[test]
fn what_is_and_what_happened_is_told() {
    let world = world();
    let (runner, address) = settled(&world);
    let now = metrics(address);
    for (name, value) in [
        (r#"runner_agents{phase="Failed",template="crasher"}"#, 10.0),
        (r#"runner_agents{phase="BackingOff",template="crasher"}"#, 0.0),
        (r#"runner_agents_desired{template="crasher"}"#, 10.0),
        (r#"runner_agents_ready{template="crasher"}"#, 0.0),
        (r#"runner_agents_ready{template="default"}"#, 1.0),
        (r#"runner_agents_outdated{template="default"}"#, 0.0),
        (r#"runner_rollout_paused{template="default"}"#, 0.0),
        (r#"runner_agents_pending{reason="suspended"}"#, 0.0),
        ("runner_entities", 13.0),
        ("runner_world_up", 1.0),
        ("runner_removal_held", 0.0),
        ("runner_config_generation", 1.0),
        ("runner_config_last_reload_successful", 1.0),
        (r#"runner_agent_starts_total{reason="no_agent",template="crasher"}"#, 10.0),
        (r#"runner_agent_starts_total{reason="crashed",template="crasher"}"#, 10.0),
        (r#"runner_agent_exits_total{reason="error",template="crasher"}"#, 20.0),
        (r#"runner_agent_failures_total{template="crasher"}"#, 10.0),
        (r#"runner_agent_spawn_failures_total{template="absent"}"#, 1.0),
        (r#"runner_crash_storms_total{template="crasher"}"#, 1.0),
        ("runner_agent_spawn_duration_seconds_count", 22.0),
    ] {
        assert_eq!(now.get(name), Some(&value), "{name} in {now:#?}");
    }
    assert!(now["runner_pass_duration_seconds_count"] >= 3.0);
    assert!(now["runner_pass_duration_seconds_sum"] > 0.0);
    assert!(now[r#"runner_world_calls_total{result="answered"}"#] >= 1.0);
    assert!(now["process_resident_memory_bytes"] > 1e6);
    assert!(!now.keys().any(|name| name.contains("alice")), "no entity is named");

    // An order, a rejected file, and a world that is not there any more.
    let mark = runner.process.mark();
    let verb = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_runner"));
        command.args(args).args(["--state-dir", "state"]).current_dir(runner.dir.path());
        assert!(command.output().unwrap().status.success(), "{args:?}");
    };
    verb(&["suspend", "alice"]);
    verb(&["restart", "stubborn"]);
    runner.process.event(mark, "agent.killing", "stubborn");
    runner.process.event(mark, "agent.started", "stubborn");
    runner.save("[runner");
    runner.process.event_of_all(mark, "config.rejected");
    drop(world);
    runner.process.event_of_all(mark, "world.lost");
    let now = metrics(address);
    for (name, value) in [
        (r#"runner_agents_desired{template="default"}"#, 0.0),
        (r#"runner_agents_pending{reason="suspended"}"#, 1.0),
        ("runner_suspended_entities", 1.0),
        (r#"runner_agent_exits_total{reason="suspended",template="default"}"#, 1.0),
        (r#"runner_agent_kills_total{reason="asked",template="stubborn"}"#, 1.0),
        (r#"runner_agent_starts_total{reason="asked",template="stubborn"}"#, 1.0),
        ("runner_config_last_reload_successful", 0.0),
        (r#"runner_config_reloads_total{result="rejected"}"#, 1.0),
        ("runner_world_up", 0.0),
        ("runner_world_losses_total", 1.0),
    ] {
        assert_eq!(now.get(name), Some(&value), "{name} in {now:#?}");
    }

    let page = get(address, "/metrics").1;
    let families: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    for file in ["configs/grafana/runner.json", "configs/prometheus/alerts.yml"] {
        let used = names(file);
        assert!(used.len() > 5, "{used:?}");
        for name in used {
            let whole = ["_bucket", "_count"].iter().find_map(|part| name.strip_suffix(part));
            let is_told = families.contains(whole.unwrap_or(&name));
            assert!(is_told, "{file} uses {name}, which is not told");
        }
    }
    assert_eq!(names("design/metrics.md"), families, "what is told, and what is said to be");
    runner.stop();
}

/// The metrics that a file speaks of.
fn names(file: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = |word: &&str| word.starts_with("runner_") || word.starts_with("process_");
    words.filter(ours).map(str::to_owned).collect()
}

#[test]
fn it_is_ready_when_the_world_was_heard_and_lives_before() {
    let mut world = super::harness::World::absent(&entities(["alice"]));
    let runner = Runner::start(&format!(
        "[metrics]\nlisten = \"127.0.0.1:0\"\n[runner]\nserver = \"{}\"\n\
         [agents.default]\ncommand = [{:?}]\n[discovery]\ntimeout_ms = 500\n",
        world.address,
        misbehave(),
    ));
    let address = listening(&runner, 0);
    assert_eq!(get(address, "/livez"), (200, "ok\n".to_owned()));
    let (status, why) = get(address, "/readyz");
    assert_eq!(status, 503);
    assert!(why.contains("the world was not heard yet"), "{why}");
    assert_eq!(metrics(address)["runner_world_up"].to_bits(), 0.0_f64.to_bits());
    world.begin();
    eventually("readiness", || get(address, "/readyz").0 == 200);
    // All that follows from the world's first answer was done.
    assert_eq!(runner.process.all_after(0, "agent.starting").len(), 1);
    assert_eq!(get(address, "/").0, 404);
    assert_eq!(ask(address, "POST /metrics HTTP/1.1\r\nHost: r\r\n\r\n").0, 405);
    runner.stop();
}

#[test]
fn the_address_changes_with_the_file() {
    let config = |listen: &str| {
        format!(
            "{listen}[runner]\nserver = \"embedded\"\n[agents.default]\ncommand = [{:?}]\n{}",
            misbehave(),
            entities(["alice"]),
        )
    };
    let at = |address: SocketAddr| format!("[metrics]\nlisten = \"{address}\"\n");
    let (one, other) = (free(), free());
    let runner = Runner::start(&config(""));
    runner.pids(0, &["alice"]);
    assert!(TcpStream::connect(one).is_err());

    let mark = runner.process.mark();
    runner.save(&config(&at(one)));
    assert_eq!(listening(&runner, mark), one);
    assert_eq!(get(one, "/livez").0, 200);
    assert_eq!(metrics(one)["runner_config_generation"].to_bits(), 2.0_f64.to_bits());

    // Somebody else has it: the last good state stays, until it is free.
    let taken = TcpListener::bind(other).unwrap();
    let mark = runner.process.mark();
    runner.save(&config(&at(other)));
    let failed = runner.process.event_of_all(mark, "metrics.failed");
    assert!(failed["message"].as_str().unwrap().contains(&one.to_string()), "{failed}");
    assert_eq!(get(one, "/readyz").0, 200);
    drop(taken);
    assert_eq!(listening(&runner, mark), other);
    assert!(TcpStream::connect(one).is_err());
    assert_eq!(get(other, "/livez").0, 200);

    // The same port, at every address.
    let everywhere = SocketAddr::from(([0, 0, 0, 0], other.port()));
    let mark = runner.process.mark();
    runner.save(&config(&at(everywhere)));
    assert_eq!(listening(&runner, mark), everywhere);
    assert_eq!(get(other, "/livez").0, 200);

    let mark = runner.process.mark();
    runner.save(&config(""));
    runner.process.event_of_all(mark, "metrics.closed");
    assert!(TcpStream::connect(other).is_err());
    assert_eq!(runner.process.all_after(0, "agent.started").len(), 1, "nobody was touched");
    runner.stop();
}

#[test]
fn who_says_nothing_or_too_much_costs_nobody_anything() {
    let runner = Runner::start(&format!(
        "[metrics]\nlisten = \"127.0.0.1:0\"\n[runner]\nserver = \"embedded\"\n\
         [agents.default]\ncommand = [{:?}]\n{}",
        misbehave(),
        entities(["alice"]),
    ));
    let address = listening(&runner, 0);
    let (status, _) = ask(address, &format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000)));
    assert!((400..500).contains(&status), "{status}");
    // As many as are served at one time, and more: they are shown out in time.
    let silent: Vec<_> = (0..17).map(|_| TcpStream::connect(address).unwrap()).collect();
    let began = Instant::now();
    let mark = runner.process.mark();
    runner.process.signal(Signal::HUP);
    runner.process.event_of_all(mark, "config.unchanged");
    assert!(began.elapsed() < Duration::from_secs(5), "the loop goes on");
    assert_eq!(get(address, "/livez").0, 200);
    drop(silent);
    runner.stop();
}
