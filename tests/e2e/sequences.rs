//! Random sequences of what may happen to a runner: its file is edited, entities come and go,
//! agents and the runner itself are killed, the world is away, users give orders. When all that is
//! over, what runs is what a runner started now would run, process by process. (The manner is that
//! of Acto, SOSP'23.)
//!
//! All of a sequence follows from its seed, but for the moments at which things meet.
//!
//! | variable | what it does |
//! |---|---|
//! | `RUNNER_TEST_SEQUENCES` | how many sequences are run |
//! | `RUNNER_TEST_FIRST_SEQUENCE` | the seed of the first of them; the others follow |
//! | `RUNNER_TEST_SEQUENCE` | the seed of the only one that is run |

mod model;
mod processes;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::control::verb;
use super::harness::{PATIENCE, Runner, World, eventually};
use super::upheaval::Random;
use model::{File, Op, Population, sequence};
use processes::{difference, processes, strays};

/// Sequences that run side by side: most of a sequence is waiting.
const AT_ONCE: usize = 4;

/// How long it is tried to find a shorter sequence that fails.
const SHRINKING: Duration = Duration::from_secs(120);

#[test]
fn the_end_is_that_of_a_fresh_start() {
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let one = number("RUNNER_TEST_SEQUENCE");
    let first = one.or_else(|| number("RUNNER_TEST_FIRST_SEQUENCE")).unwrap_or(1);
    let count = one.map(|_| 1).or_else(|| number("RUNNER_TEST_SEQUENCES")).unwrap_or(10);
    let seeds = first..first + count;
    let next = AtomicU64::new(seeds.start);
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) || !failed.lock().unwrap().is_empty() {
                        return;
                    }
                    let ops = sequence(&mut Random::new(mixed(seed)));
                    if let Err(why) = play(seed, &ops, PATIENCE) {
                        failed.lock().unwrap().push((seed, ops, why));
                    }
                }
            });
        }
    });
    if let Some((seed, ops, why)) = failed.into_inner().unwrap().pop() {
        let short = shrink(seed, ops.clone());
        panic!(
            "the end is another one after {ops:#?}\n\nand after these alone: {short:#?}\n\n{why}\n\n\
             again: RUNNER_TEST_SEQUENCE={seed} cargo test --test e2e sequences"
        );
    }
}

/// Seeds that follow one another begin alike.
fn mixed(seed: u64) -> u64 {
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Leaves out what can be left out.
fn shrink(seed: u64, mut ops: Vec<(Op, usize)>) -> Vec<(Op, usize)> {
    let until = Instant::now() + SHRINKING;
    let mut at = ops.len();
    while at > 0 && Instant::now() < until {
        at -= 1;
        let mut fewer = ops.clone();
        fewer.remove(at);
        if play(seed, &fewer, Duration::from_secs(10)).is_err() {
            ops = fewer;
        }
    }
    ops
}

/// Plays a sequence to its end; says what went wrong.
fn play(seed: u64, ops: &[(Op, usize)], patience: Duration) -> Result<(), String> {
    let played = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut play = Play::begin(seed);
        for (op, rest_ms) in ops {
            play.happens(*op);
            rest(*rest_ms);
        }
        play.end(patience);
    }));
    played.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
    })
}

struct Play {
    runner: Runner,
    world: World,
    population: Population,
    file: File,
    suspended: BTreeSet<String>,
}

impl Play {
    fn begin(seed: u64) -> Self {
        let population = Population::new(&mut Random::new(mixed(seed) >> 1));
        let mut world = World::absent_at(&free_address(seed), &population.text());
        world.begin();
        let file = File::new();
        let runner = start(&file.text(&world.address));
        Self { runner, world, population, file, suspended: BTreeSet::new() }
    }

    fn happens(&mut self, op: Op) {
        match op {
            Op::Edit { edit, which, look } => {
                self.file.edit(edit, which);
                self.save(look);
            }
            Op::World { change, which, away_ms } => {
                self.population.change(change, which);
                self.world.define(&self.population.text());
                self.world.end();
                if let Some(away_ms) = away_ms {
                    rest(away_ms);
                    self.world.begin();
                }
            }
            Op::Signal { which, kill } => {
                let agents = self.runner.agents();
                if let Some(agent) = agents.get(which % agents.len().max(1)) {
                    let pid = Pid::from_raw(i32::try_from(agent.identity.pid).unwrap()).unwrap();
                    // It may have ended by now.
                    let _ = kill_process(pid, if kill { Signal::KILL } else { Signal::TERM });
                }
            }
            Op::Order { verb, which } => self.order(verb, which),
            Op::Undo { which } => {
                let template = self.file.template(which);
                if self.says_yes(&["rollout", "undo", &template]) {
                    self.file.undone(&template);
                }
            }
            Op::EndRunner { leave, again } => self.end_runner(leave, again),
            Op::Replace => self.replace(),
        }
    }

    /// Writes the file, whole or in place; with `look`, waits until the runner has looked at it.
    fn save(&self, look: bool) {
        let mark = self.runner.process.mark();
        self.runner.save(&self.file.text(&self.world.address));
        if look {
            self.runner.process.signal(Signal::HUP);
            let looked: &[&str] = if self.file.mistaken {
                &["config.rejected"]
            } else {
                &["config.applied", "config.unchanged"]
            };
            self.runner.process.wait(mark, "a look at the file", |line| {
                line["event"].as_str().is_some_and(|event| looked.contains(&event))
            });
        }
    }

    fn says_yes(&self, args: &[&str]) -> bool {
        verb(self.runner.dir.path(), args).status.success()
    }

    /// Whom the runner does not know, as it has not heard of the world yet, it is not told about.
    fn order(&mut self, verb: &str, which: usize) {
        let id = model::ENTITIES[which % model::ENTITIES.len()];
        if !self.says_yes(&[verb, id]) {
            return;
        }
        match verb {
            "suspend" => drop(self.suspended.insert(id.to_owned())),
            "resume" => drop(self.suspended.remove(id)),
            _ => {}
        }
    }

    /// One that starts takes no file with a mistake in it, so that is put right before.
    fn end_runner(&mut self, leave: bool, again: usize) {
        if leave {
            let told = verb(self.runner.dir.path(), &["stop", "--leave-agents"]);
            let said = || self.runner.process.transcript();
            assert!(told.status.success(), "{told:?}; it said\n{}", said());
            assert_eq!(self.runner.process.ended(), Some(0));
        } else {
            self.runner.kill();
        }
        if self.file.mistaken {
            self.file.mistaken = false;
            self.runner.save(&self.file.text(&self.world.address));
        }
        for moment in 0..again {
            self.runner.start_again();
            rest(10 + 40 * moment);
            self.runner.kill();
        }
        self.runner.start_again();
        await_start(&self.runner);
    }

    fn replace(&self) {
        let mark = self.runner.process.mark();
        self.runner.process.signal(Signal::USR2);
        self.runner.process.wait(mark, "successor, or why there is none", |line| {
            line["event"] == "runner.started" || line["event"] == "runner.kept"
        });
        await_start(&self.runner);
    }

    /// Nothing happens any more. Waits until what runs is what a fresh start gives, and checks
    /// that it stays so.
    fn end(mut self, patience: Duration) {
        if !self.world.is_there() {
            self.world.begin();
        }
        self.file.settle();
        self.save(true);
        for template in self.file.templates() {
            // Most are not paused.
            self.says_yes(&["rollout", "resume", template]);
        }
        let fresh = self.fresh();
        let wanted = processes(&fresh);
        let until = Instant::now() + patience;
        let mut left = String::new();
        while processes(&self.runner) != wanted || !self.is_at_rest(&mut left) {
            assert!(
                Instant::now() < until,
                "{}\nthere is left to do: {left}\nthe file is\n{}\nit said\n{}",
                difference(&processes(&self.runner), &wanted),
                self.file.text(&self.world.address),
                self.runner.process.transcript(),
            );
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(strays(&self.runner), BTreeSet::new(), "processes beside the agents");
        for runner in [&self.runner, &fresh] {
            let locks = fs::read_dir(runner.dir.path().join("locks")).unwrap();
            let names = locks.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let doubled: Vec<_> = names.filter(|name| name.ends_with(".violations")).collect();
            assert_eq!(doubled, [""; 0], "two agents for one entity");
        }
        fresh.stop();
        self.runner.stop();
    }

    /// Whether there is nothing left to do, by the runner's own word, and nothing is done while it
    /// is asked.
    fn is_at_rest(&self, left: &mut String) -> bool {
        let before = self.runner.agent_pids();
        let args = ["plan", "--detailed-exitcode", "--config", "runner.toml"];
        let plan = verb(self.runner.dir.path(), &args);
        *left = String::from_utf8_lossy(&plan.stdout).into_owned();
        plan.status.success() && self.runner.agent_pids() == before
    }

    /// One that knows nothing, on the same file and the same world, that is given the same orders.
    /// Who is to have an agent of which template is known besides.
    fn fresh(&self) -> Runner {
        let fresh = start(&self.file.text(&self.world.address));
        let ids = || self.population.0.keys().map(|id| (*id).to_owned());
        let served: BTreeMap<String, &str> =
            ids().filter_map(|id| Some((id.clone(), self.file.serves(&id)?))).collect();
        for id in served.keys() {
            fresh.process.event(0, "agent.started", id);
        }
        let orders: Vec<_> = served.keys().filter(|id| self.suspended.contains(*id)).collect();
        if !orders.is_empty() {
            let names = orders.iter().map(|id| id.as_str());
            let args: Vec<_> = std::iter::once("suspend").chain(names).collect();
            let told = verb(fresh.dir.path(), &args);
            assert!(told.status.success(), "{told:?}");
        }
        let wanted: BTreeMap<_, _> =
            served.into_iter().filter(|(id, _)| !self.suspended.contains(id)).collect();
        let until = Instant::now() + PATIENCE;
        loop {
            let has = processes(&fresh);
            let of_templates: BTreeMap<_, _> = has
                .iter()
                .map(|(id, all)| {
                    (id.clone(), all[0].env.get("RUNNER_TEMPLATE").map_or("", |it| it))
                })
                .collect();
            if of_templates == wanted && has.values().all(|all| all.len() == 1) {
                return fresh;
            }
            assert!(
                Instant::now() < until,
                "a fresh start has {has:#?} in place of {wanted:?}; it said\n{}",
                fresh.process.transcript()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What happens next is to meet something else each time, not to wait for anything.
fn rest(millis: usize) {
    thread::sleep(Duration::from_millis(u64::try_from(millis).unwrap()));
}

fn start(config: &str) -> Runner {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("locks")).unwrap();
    let runner = Runner::start_at(dir, config);
    await_start(&runner);
    runner
}

/// Waits until it takes orders.
fn await_start(runner: &Runner) {
    runner.process.event_of_all(0, "runner.started");
    let socket = runner.dir.path().join("state/control.sock");
    eventually("the control API", || UnixStream::connect(&socket).is_ok());
}

/// An address for a world that goes and comes back. Not of the ports that connections are given:
/// one of those could have it while the world is away, even one to the very same port.
fn free_address(seed: u64) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + (u64::from(std::process::id()) * 31 + seed * 7 + count) % 20_000;
        let address = format!("127.0.0.1:{port}");
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}
