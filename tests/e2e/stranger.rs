//! A process that is nobody's agent, and looks as much like one as it can.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{eventually, misbehave};

/// Of the same program as the agents, the leader of a group of its own as they are, with the
/// markers of an agent of another runner. It blocks all signals, so that none gets lost.
#[derive(Debug)]
pub(crate) struct Stranger(Child);

impl Stranger {
    /// One that would be the agent of `entity`, in its first run.
    pub(crate) fn start(entity: &str) -> Self {
        let child = Command::new(misbehave())
            .args(["--block-signals", "--entity", entity])
            .env("RUNNER_INSTANCE", "/elsewhere/state")
            .env("RUNNER_RUN", "1")
            .env("RUNNER_ENTITY_ID", entity)
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Self(child)
    }

    pub(crate) fn pid(&self) -> u64 {
        self.0.id().into()
    }

    /// Waits until it blocks all signals; one that comes before that ends it, as a rule.
    fn has_begun(&self) {
        eventually("a process that blocks signals", || self.status("SigBlk:") != "0".repeat(16));
    }

    /// Whether no signal of any kind was ever sent to it: one that it can block waits, and one
    /// that it cannot block shows in its state.
    pub(crate) fn is_untouched(&self) -> bool {
        let lives = self.status("State:").starts_with(['R', 'S', 'D']);
        lives && ["ShdPnd:", "SigPnd:"].iter().all(|name| self.status(name) == "0".repeat(16))
    }

    /// A field of what the system says of it.
    fn status(&self, name: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let field = status.lines().find_map(|line| line.strip_prefix(name));
        field.unwrap().trim().to_owned()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_stranger_tells_whatever_was_sent_to_it() {
    for signal in [Signal::TERM, Signal::KILL, Signal::STOP, Signal::HUP] {
        let stranger = Stranger::start("alice");
        stranger.has_begun();
        assert!(stranger.is_untouched());
        kill_process(Pid::from_child(&stranger.0), signal).unwrap();
        eventually("a sign of it", || !stranger.is_untouched());
    }
}
