//! The process id of an agent that has ended is given to a stranger on purpose, who is never
//! signalled for it.
//!
//! Only root of a PID namespace can choose the next process id. So each test runs itself again as
//! a process of a new one.

#![expect(clippy::print_stderr, reason = "what is not tested is to be seen")]

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Runner, eventually, misbehave};
use crate::scripted::{Scripted, controllable};
use crate::stranger::Stranger;

/// Too few to count as many that crash alike, so that there is a line about each.
const AGENTS: [&str; 5] = ["e0", "e1", "e2", "e3", "e4"];

const CONTAINMENTS: [&str; 2] = ["auto", "process-group"];

/// Where the process id is chosen that is given out next.
const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// Set for a test that runs in a PID namespace of its own.
const INSIDE: &str = "RUNNER_TEST_INSIDE";

/// A runner whose agents survive a SIGTERM, and so have to be killed.
struct Scene {
    world: Scripted,
    runner: Runner,
    containment: &'static str,
}

impl Scene {
    fn begin(containment: &'static str) -> Self {
        Self::begin_under(&[], containment)
    }

    fn begin_under(env: &[(&str, &str)], containment: &'static str) -> Self {
        let world = Scripted::start(AGENTS.map(controllable).to_vec());
        let runner = Runner::start_under(env, &config(&world, containment, 1));
        Self { world, runner, containment }
    }

    fn pids(&self) -> Vec<u64> {
        self.runner.pids(0, &AGENTS)
    }

    /// Has each template changed, so that whoever is taken for an agent would be stopped for it,
    /// and killed at the end of the grace; and ends the runner, which would do the same.
    fn end(self, strangers: &[Stranger]) {
        let mark = self.runner.process.mark();
        self.runner.save(&config(&self.world, self.containment, 2));
        let new = self.runner.pids(mark, &AGENTS);
        assert!(strangers.iter().all(|stranger| !new.contains(&stranger.pid())));
        self.runner.stop();
        let untouched = strangers.iter().filter(|stranger| stranger.is_untouched()).count();
        assert_eq!(untouched, AGENTS.len());
    }
}

fn config(world: &Scripted, containment: &str, version: u32) -> String {
    format!(
        "[runner]\nserver = \"{}\"\ncontainment = \"{containment}\"\nshutdown_grace_ms = 200\n\
         initial_backoff_ms = 60000\nmax_backoff_ms = 60000\n[agents.default]\n\
         command = [{:?}, \"--ignore-term\", \"--version\", \"{version}\"]\n",
        world.address,
        misbehave(),
    )
}

fn end(pids: &[u64]) {
    for pid in pids {
        kill_process(Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    }
}

/// Strangers that have these process ids, as soon as these are free.
fn take(pids: &[u64]) -> Vec<Stranger> {
    let taken = pids.iter().zip(AGENTS).map(|(pid, entity)| {
        let mut stranger = None;
        eventually("a free process id", || {
            // A zombie has its id still.
            if !Path::new(&format!("/proc/{pid}")).exists() {
                fs::write(LAST_PID, (pid - 1).to_string()).unwrap();
                stranger = Some(Stranger::start(entity));
            }
            stranger.as_ref().is_some_and(|stranger| stranger.pid() == *pid)
        });
        stranger.unwrap()
    });
    taken.collect()
}

/// Runs `case` in a PID namespace of its own, in the test of this name: `RUNNER_TEST_REUSES`
/// times for each kind of containment.
fn in_namespace(test: &str, case: fn(&'static str)) {
    if env::var_os(INSIDE).is_some() {
        let asked = env::var("RUNNER_TEST_REUSES").ok();
        let times = asked.and_then(|text| text.parse().ok()).unwrap_or(1);
        for _ in 0..times {
            CONTAINMENTS.into_iter().for_each(case);
        }
        return eprintln!(
            "{} strangers, none signalled",
            times * CONTAINMENTS.len() * AGENTS.len()
        );
    }
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        let namespace = ["--pid", "--fork", "--kill-child", "--mount-proc"];
        // Whoever loses its parent becomes a child of the shell, which reaps it.
        command.args(namespace).args(["sh", "-c", script, "sh"]);
        command
    };
    let chosen = unshare(&format!("echo 1000 > {LAST_PID}")).output();
    if !chosen.is_ok_and(|chosen| chosen.status.success()) {
        return eprintln!("NOT TESTED: process ids cannot be chosen here (it takes root)");
    }
    let inside = unshare("\"$@\"; exit $?")
        .arg(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("pid_reuse::{test}")])
        .env(INSIDE, "yes")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&inside.stderr);
    assert!(inside.status.success(), "{said}");
    eprint!("{said}");
}

#[test]
fn an_agent_ended_while_no_runner_was_there_and_its_number_is_a_strangers() {
    let name = "an_agent_ended_while_no_runner_was_there_and_its_number_is_a_strangers";
    in_namespace(name, |containment| {
        let mut scene = Scene::begin(containment);
        let pids = scene.pids();
        scene.runner.kill();
        end(&pids);
        let strangers = take(&pids);
        scene.runner.start_again();
        assert_eq!(scene.runner.process.event_of_all(0, "runner.resumed")["adopted"], 5);
        for id in AGENTS {
            scene.runner.process.event(0, "agent.waiting_for_world", id);
        }
        scene.end(&strangers);
    });
}

#[test]
fn a_runner_died_half_way_through_a_stop_and_the_number_is_a_strangers() {
    let name = "a_runner_died_half_way_through_a_stop_and_the_number_is_a_strangers";
    in_namespace(name, |containment| {
        let mut scene = Scene::begin_under(&[("RUNNER_FAULT", "stop-noted:5")], containment);
        let pids = scene.pids();
        scene.runner.save(&config(&scene.world, scene.containment, 3));
        scene.runner.process.ended();
        end(&pids);
        let strangers = take(&pids);
        scene.runner.start_again();
        let _replaced = scene.pids();
        scene.end(&strangers);
    });
}

#[test]
fn an_adopted_agent_ended_unseen_and_its_number_is_a_strangers() {
    let name = "an_adopted_agent_ended_unseen_and_its_number_is_a_strangers";
    in_namespace(name, |containment| {
        let mut scene = Scene::begin(containment);
        let pids = scene.pids();
        scene.runner.kill();
        scene.runner.start_again();
        scene.runner.process.event_of_all(0, "world.connected");
        // So that it hears of their end and of the edit at the same time, and too late.
        scene.runner.process.signal(Signal::STOP);
        end(&pids);
        let strangers = take(&pids);
        scene.runner.save(&config(&scene.world, scene.containment, 3));
        scene.runner.process.signal(Signal::CONT);
        let _replaced = scene.pids();
        scene.end(&strangers);
    });
}

#[test]
fn a_child_ended_and_its_number_is_a_strangers() {
    in_namespace("a_child_ended_and_its_number_is_a_strangers", |containment| {
        let scene = Scene::begin(containment);
        let pids = scene.pids();
        let mark = scene.runner.process.mark();
        end(&pids);
        for id in AGENTS {
            scene.runner.process.event(mark, "agent.exited", id);
        }
        let strangers = take(&pids);
        scene.end(&strangers);
    });
}
