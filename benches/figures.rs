//! The figures of `design/performance.md`, from the real binary on this machine: edit, shutdown,
//! idle, outage, trees, storm, adopt, churn, names, asking.
//!
//! ```text
//! cargo build --release --examples && cargo bench --bench figures [-- NAME…]
//! ```

#![expect(
    unused_crate_dependencies,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark that panics has said what is wrong, and prints its figures"
)]

#[path = "../tests/e2e/harness.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod harness;
#[path = "../tests/e2e/scripted.rs"]
mod scripted;
#[path = "../tests/e2e/upheaval.rs"]
mod upheaval;
#[path = "../tests/e2e/vitals.rs"]
mod vitals;

#[path = "figures/asking.rs"]
mod asking;
#[path = "figures/churn.rs"]
mod churn;
#[path = "figures/names.rs"]
mod names;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use harness::{Runner, World, config_with_special, entities, ids, misbehave};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use vitals::processes_in;

const AGENTS: usize = 200;
const REPETITIONS: usize = 5;

fn main() {
    let asked: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let figures: [(&str, fn()); 10] = [
        ("edit", edit),
        ("shutdown", shutdown),
        ("idle", idle),
        ("outage", outage),
        ("trees", trees),
        ("storm", storm),
        ("churn", churn::churn),
        ("names", names::names),
        ("adopt", adopt),
        ("asking", asking::asking),
    ];
    for (name, figure) in figures {
        if asked.is_empty() || asked.iter().any(|asked| asked == name) {
            figure();
        }
    }
}

fn all_started(runner: &Runner, mark: usize, ids: &[String]) {
    for id in ids {
        runner.process.event(mark, "agent.started", id);
    }
}

/// From the save of a file with one template edited to the start of the last of its agents.
fn edit() {
    let (edited, others) = (ids("edited-", 50), ids("other-", AGENTS - 50));
    let config = |version: usize| config_with_special(&edited, &others, version);
    let runner = Runner::start(&config(0));
    all_started(&runner, 0, &edited);
    all_started(&runner, 0, &others);
    for version in 1..=REPETITIONS {
        let mark = runner.process.mark();
        let saved = Instant::now();
        runner.save(&config(version));
        all_started(&runner, mark, &edited);
        let took = saved.elapsed();
        let stopped = runner.process.all_after(mark, "agent.stopping").len();
        println!("edit: {took:.1?} from the save to the last of {stopped} restarts of {AGENTS}");
    }
    runner.stop();
}

/// From SIGTERM to the end of a runner whose agents ignore SIGTERM, beyond their grace.
fn shutdown() {
    let grace = Duration::from_secs(2);
    for _ in 0..REPETITIONS {
        let all = ids("e", AGENTS);
        let config = format!(
            "[runner]\nserver = \"embedded\"\nshutdown_grace_ms = {}\n[agents.default]\n\
             command = [{:?}, \"--ignore-term\"]\n{}",
            grace.as_millis(),
            misbehave(),
            entities(&all)
        );
        let mut runner = Runner::start(&config);
        all_started(&runner, 0, &all);
        let told = Instant::now();
        runner.process.signal(Signal::TERM);
        assert_eq!(runner.process.ended(), Some(0));
        let over = told.elapsed().saturating_sub(grace);
        let left = runner.agents().len();
        println!("shutdown: {AGENTS} killed in the grace of {grace:?} + {over:.1?}, {left} left");
    }
}

/// From SIGTERM to the end of a runner of 1,000 trees that ignore it, each of an agent, its child,
/// and a child that left for a session of its own; beyond their grace.
fn trees() {
    let grace = Duration::from_secs(2);
    let all = ids("e", 1000);
    for containment in ["cgroup", "process-group"] {
        let config = format!(
            "[runner]\nserver = \"embedded\"\nshutdown_grace_ms = {}\ncontainment = \
             {containment:?}\n[agents.default]\ncommand = [{:?}, \"--ignore-term\", \"--fork\", \
             \"1\", \"--setsid-child\", \"--grandchild-ignore-term\", \"--touch\", \"up\"]\n{}",
            grace.as_millis(),
            misbehave(),
            entities(&all)
        );
        let begun = Instant::now();
        let mut runner = Runner::start(&config);
        all_started(&runner, 0, &all);
        let started = begun.elapsed();
        let up = runner.dir.path().join("up");
        while fs::read_to_string(&up).unwrap_or_default().lines().count() < all.len() {
            sleep(Duration::from_millis(50));
        }
        let told = Instant::now();
        runner.process.signal(Signal::TERM);
        assert_eq!(runner.process.ended(), Some(0));
        let over = told.elapsed().saturating_sub(grace);
        let left = processes_in(runner.dir.path());
        println!(
            "trees ({containment}): {} started in {started:.1?}, killed in the grace of {grace:?} + \
             {over:.1?}, {left} processes left",
            all.len()
        );
    }
}

/// Context switches of a runner whose agents run and whose world is quiet.
fn idle() {
    let all = ids("e", AGENTS);
    let world = World::start(&entities(&all));
    let config = format!(
        "[runner]\nserver = {:?}\n[agents.default]\ncommand = [{:?}]\n",
        world.address,
        misbehave()
    );
    let runner = Runner::start(&config);
    all_started(&runner, 0, &all);
    // The threads that started them go to rest after ten seconds.
    sleep(Duration::from_secs(15));
    let time = Duration::from_secs(60);
    let before = usage(runner.process.id());
    sleep(time);
    let after = usage(runner.process.id());
    let seconds = time.as_secs_f64();
    let switches: f64 = difference(&before, &after, |thread| thread.0);
    let cpu: f64 = difference(&before, &after, |thread| thread.1);
    println!(
        "idle: {AGENTS} agents, {:.2} voluntary context switches/s, {:.3} ms of CPU/s, {} kB RSS",
        switches / seconds,
        cpu / seconds,
        rss(runner.process.id()),
    );
    runner.stop();
}

/// Voluntary context switches and milliseconds of CPU of each thread so far.
fn usage(pid: u32) -> BTreeMap<OsString, (f64, f64)> {
    let mut threads = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let thread = thread.unwrap();
        let status = fs::read_to_string(thread.path().join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let switches = line.unwrap().trim().parse().unwrap();
        let schedstat = fs::read_to_string(thread.path().join("schedstat")).unwrap();
        let nanos: f64 = schedstat.split(' ').next().unwrap().parse().unwrap();
        threads.insert(thread.file_name(), (switches, nanos / 1e6));
    }
    threads
}

/// What all threads have done in between, those that are new included.
fn difference(
    before: &BTreeMap<OsString, (f64, f64)>,
    after: &BTreeMap<OsString, (f64, f64)>,
    of: impl Fn(&(f64, f64)) -> f64,
) -> f64 {
    after.iter().map(|(thread, now)| of(now) - before.get(thread).map_or(0.0, &of)).sum()
}

fn rss(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").to_owned()
}

/// From the return of a world to the start of the last of the agents that it took along.
fn outage() {
    let all = ids("e", 20);
    let mut world = World::start(&entities(&all));
    let config = format!(
        "[runner]\nserver = {:?}\n[agents.default]\ncommand = \
         [\"{{runner}}\", \"agent\", \"--server\", \"{{server}}\", \"--entity\", \"{{entity_id}}\"]\n",
        world.address
    );
    let runner = Runner::start(&config);
    all_started(&runner, 0, &all);
    world.kill();
    sleep(Duration::from_secs(60));
    let mark = runner.process.mark();
    world.begin();
    let back = Instant::now();
    all_started(&runner, mark, &all);
    let took = back.elapsed();
    let spent = runner.process.all_after(0, "agent.backoff").len();
    println!("outage: 60 s away, all 20 run {took:.1?} after the return, {spent} attempts spent");
    runner.stop();
}

/// How soon a newcomer starts, and how soon the runner ends, while all others crash and crash.
fn storm() {
    let all = 1000;
    let config = |more: &str| {
        format!(
            "[runner]\nserver = \"embedded\"\ninitial_backoff_ms = 0\n\
             max_restart_attempts = 1000000\nmax_agents = 2000\n\
             [agents.default]\ncommand = [{program:?}, \"--exit-after-ms\", \"0\", \
             \"--code\", \"1\"]\n[agents.newcomer]\ncommand = [{program:?}]\n{}{more}",
            entities(ids("e", all)),
            program = misbehave(),
        )
    };
    let began = Instant::now();
    let mut runner = Runner::start(&config(""));
    runner.process.event_of_all(0, "agents.crash_storm");
    sleep(Duration::from_secs(10));
    let mark = runner.process.mark();
    let saved = Instant::now();
    runner.save(&config(&entities(["newcomer"])));
    let starting = runner.process.event(mark, "agent.starting", "newcomer");
    runner.process.event(mark, "agent.started", "newcomer");
    let took = saved.elapsed();
    // Runs are numbered.
    let starts: f64 = starting["run"].as_str().unwrap().trim_start_matches('#').parse().unwrap();
    let rate = starts / began.elapsed().as_secs_f64();
    let told = Instant::now();
    runner.process.signal(Signal::TERM);
    assert_eq!(runner.process.ended(), Some(0));
    let ended = told.elapsed();
    let (lines, left) = (runner.process.mark(), runner.agents().len());
    println!(
        "storm: {all} agents crash at once, {rate:.0} starts/s told in {lines} lines; a newcomer \
         runs {took:.1?} after the save, all end {ended:.1?} after SIGTERM, {left} left"
    );
}

/// From the exec of a runner to the adoption of all agents that another one left, and from the end
/// of an adopted agent to its line, with its exit.
fn adopt() {
    // Their numbers are what they exit with.
    let all = ids("", 1000);
    let world = World::start(&entities(&all));
    let mut runner = Runner::start(&format!(
        "[runner]\nserver = {:?}\ninitial_backoff_ms = 60000\nmax_backoff_ms = 60000\n\
         [agents.default]\ncommand = [{:?}, \"--on-term-exit\", \"{{entity_id}}\"]\n",
        world.address,
        misbehave(),
    ));
    let pid = |id| runner.process.event(0, "agent.started", id)["pid"].as_i64().unwrap();
    let pids: Vec<_> = all.iter().map(|id| pid(id)).collect();
    for _ in 0..REPETITIONS {
        runner.kill();
        let floor = Instant::now();
        for pid in &pids {
            identify(*pid);
        }
        let floor = floor.elapsed();
        let begun = Instant::now();
        runner.start_again();
        runner.process.event_of_all(0, "runner.started");
        let started = begun.elapsed();
        let adopted = runner.process.event_of_all(0, "runner.resumed")["adopted"].clone();
        let took = begun.elapsed();
        runner.process.event_of_all(0, "world.connected");
        let changed = pids.iter().filter(|pid| !lives(**pid)).count();
        println!(
            "adopt: {adopted} of {} within {took:.1?} of the exec, of which {started:.1?} to begin; \
             floor {floor:.1?}; {changed} changed",
            all.len()
        );
    }
    let mark = runner.process.mark();
    let others =
        [Signal::KILL, Signal::HUP, Signal::INT, Signal::USR1, Signal::USR2, Signal::ALARM];
    let mut delays = Vec::new();
    for (n, (id, pid)) in all.iter().zip(&pids).take(100).enumerate() {
        let (signal, exit) = if n < 50 {
            (Signal::TERM, format!("exit code {n}"))
        } else {
            let signal = others[n % others.len()];
            (signal, format!("signal {}", signal.as_raw()))
        };
        let told = Instant::now();
        kill_process(Pid::from_raw((*pid).try_into().unwrap()).unwrap(), signal).unwrap();
        let line = runner.process.event(mark, "agent.exited", id);
        delays.push(told.elapsed());
        assert!(line["exit"].as_str().unwrap().starts_with(&exit), "{line} is not {exit}");
    }
    delays.sort();
    let (median, p99, worst) = (delays[50], delays[98], delays[99]);
    let started = runner.process.all_after(0, "agent.starting").len();
    println!(
        "adopt: the exits of {} adopted agents told exactly, after {median:.1?} (median), {p99:.1?} \
         (p99), {worst:.1?} (worst); {started} restarted",
        delays.len()
    );
    runner.stop();
}

/// The processor time of the threads that a process has.
fn cpu(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |thread: std::io::Result<fs::DirEntry>| {
        // One that has ended meanwhile is lost, and would not be seen the next time either.
        let schedstat = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(threads.filter_map(of).sum())
}

/// As little as adoption takes.
fn identify(pid: i64) {
    let number = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    let _pidfd = pidfd_open(number, PidfdFlags::empty()).unwrap();
    fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
}

/// Whether it lives. A zombie does not, and here there may be nobody who reaps it.
fn lives(pid: i64) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
