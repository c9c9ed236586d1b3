//! What the executor of the stage does of what it was told, and what happens to its processes.

use std::collections::BTreeSet;
use std::mem;

use runner::executor::{Event, Identity};
use runner::plan::{Exit, Place, RunId};

use super::effects::Task;
use super::stage::Stage;
use crate::machine::{Life, Process};

impl Stage {
    /// The executor does the first thing that it was told of one of its runs.
    pub(super) fn do_one(&mut self, index: usize) {
        let Some(at) = self.first_task_of_some_run(index) else { return };
        let Some(task) = self.tasks.remove(at) else { return };
        match task {
            Task::Bear(body) => {
                let run = body.run;
                let identity = self.machine.bear(*body, false);
                self.known.insert(run, identity);
                self.tasks.push_front(Task::Open(run));
                self.tasks.push_front(Task::Record(run));
            }
            Task::Record(run) => {
                if let Some(identity) = self.known.get(&run) {
                    self.journal.identity(run, *identity);
                }
            }
            Task::Open(run) => {
                let opened = self.machine.open(run);
                self.hold(opened);
                self.events.push_back(Event::Started { run, place: Place::Process { pid: 1 } });
            }
            Task::Adopt(adoption) => self.adopt(adoption.run, adoption.identity),
            Task::Terminate(run) => self.signal(run, false),
            Task::Kill(run) => self.signal(run, true),
        }
    }

    pub(super) fn first_task_of_some_run(&self, index: usize) -> Option<usize> {
        let mut runs = BTreeSet::new();
        let mut firsts = Vec::new();
        for (at, task) in self.tasks.iter().enumerate() {
            if runs.insert(task.run()) {
                firsts.push(at);
            }
        }
        if firsts.is_empty() { None } else { Some(firsts[index % firsts.len()]) }
    }

    pub(super) fn fail_to(&mut self, index: usize) {
        let Some(at) = self.first_task_of_some_run(index) else { return };
        if let Some(Task::Bear(body)) = self.tasks.get(at).cloned() {
            self.tasks.retain(|task| task.run() != body.run);
            let error = "no room".to_owned();
            self.events.push_back(Event::SpawnFailed { run: body.run, error });
        }
    }

    pub(super) fn adopt(&mut self, run: RunId, identity: Identity) {
        self.known.insert(run, identity);
        match self.machine.with(identity).map(|process| process.life) {
            Some(Life::Agent) => {}
            Some(Life::Leaderless(_)) => {
                self.events.push_back(Event::LeaderExited { run, exit: Exit::Unknown });
            }
            Some(Life::Gate | Life::Over(_)) | None => {
                self.events.push_back(Event::Gone { run, exit: Exit::Unknown });
            }
        }
    }

    pub(super) fn signal(&mut self, run: RunId, kill: bool) {
        let Some(identity) = self.known.get(&run) else { return };
        let Some(process) = self.machine.with(*identity) else { return };
        process.asked = true;
        if kill && process.life.is_agent() {
            self.end_run(run, Exit::Signal(9));
        }
    }

    /// The loop is told of the next thing that happened, if there is one.
    pub(crate) fn hear(&mut self) -> bool {
        let Some(runner) = &self.runner else { return false };
        let Some(event) = self.events.pop_front() else { return false };
        if let Event::Gone { run, .. } | Event::SpawnFailed { run, .. } = &event {
            self.known.remove(run);
            self.machine.processes.retain(|it| it.body.run != *run || !it.life.is_over());
        }
        runner.events.send(event).is_ok()
    }

    /// One of the agents that live.
    pub(super) fn pick(&self, index: usize) -> Option<usize> {
        let living: Vec<_> = (0..self.machine.processes.len())
            .filter(|at| self.machine.processes[*at].life.is_agent())
            .collect();
        if living.is_empty() { None } else { Some(living[index % living.len()]) }
    }

    pub(super) fn end(&mut self, index: usize, exit: Exit, may: impl Fn(bool) -> bool) {
        let Some(at) = self.pick(index) else { return };
        let process = &self.machine.processes[at];
        if may(process.asked) && process.life == Life::Agent {
            self.end_run(process.body.run, exit);
        }
    }

    /// All that were asked to end do.
    pub(crate) fn obey(&mut self) {
        let asked = |it: &&Process| it.asked && it.life == Life::Agent;
        let runs: Vec<_> =
            self.machine.processes.iter().filter(asked).map(|it| it.body.run).collect();
        for run in runs {
            self.end_run(run, Exit::Signal(15));
        }
    }

    pub(super) fn end_run(&mut self, run: RunId, exit: Exit) {
        let Some(process) = self.machine.of_run(run) else { return };
        let exit = match process.life {
            Life::Leaderless(exit) => exit,
            Life::Gate | Life::Agent | Life::Over(_) => exit,
        };
        process.life = Life::Over(exit);
        if self.known.get(&run) == Some(&process.identity) {
            self.events.push_back(Event::Gone { run, exit });
        }
    }

    pub(super) fn lose_leader(&mut self, index: usize) {
        let Some(at) = self.pick(index).filter(|at| self.is_written(*at)) else { return };
        let process = &mut self.machine.processes[at];
        let (run, exit) = (process.body.run, Exit::Code(1));
        if mem::replace(&mut process.life, Life::Leaderless(exit)) == Life::Agent
            && self.known.get(&run) == Some(&process.identity)
        {
            self.events.push_back(Event::LeaderExited { run, exit });
        }
    }

    pub(super) fn hide(&mut self, index: usize) {
        let Some(at) = self.pick(index).filter(|at| self.is_written(*at)) else { return };
        self.machine.processes[at].hides = true;
    }

    /// Whether it is written down who a process is. Who was not for want of room, and hides or has
    /// lost its leader, is not found by its markers: that is not promised here, but left to the
    /// executor and its cgroups.
    pub(super) fn is_written(&self, at: usize) -> bool {
        let process = &self.machine.processes[at];
        let disk = self.journal.0.borrow();
        disk.written.identities.get(&process.body.run) == Some(&process.identity)
    }
}
