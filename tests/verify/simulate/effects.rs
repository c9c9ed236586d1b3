//! What the loop is given to act with: an executor that is told and does nothing by itself, a
//! world that is asked when chance has it, and a memory that can fail.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use runner::executor::{Adoption, Executor, Identity, SpawnRequest};
use runner::plan::{Agent, Arrival, EntityId, Orders, RunId};
use runner::reconcile::{AskWorld, Remember};
use runner::state::Memory;

use crate::machine::Body;

/// One thing that the executor was told and has not done.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    Bear(Box<Body>),
    Record(RunId),
    Open(RunId),
    Adopt(Adoption),
    Terminate(RunId),
    Kill(RunId),
}

impl Task {
    pub(crate) fn run(&self) -> RunId {
        match self {
            Self::Bear(body) => body.run,
            Self::Adopt(adoption) => adoption.run,
            Self::Record(run) | Self::Open(run) | Self::Terminate(run) | Self::Kill(run) => *run,
        }
    }
}

/// What was told to the executor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Rc<RefCell<VecDeque<Task>>>);

impl Told {
    fn push(&self, task: Task) {
        self.0.borrow_mut().push_back(task);
    }

    /// All that was told since.
    pub(crate) fn take(&self) -> VecDeque<Task> {
        self.0.take()
    }
}

impl Executor for Told {
    type Identity = Identity;

    fn spawn(&self, request: SpawnRequest) {
        let marker = |name: &str| request.markers[name].as_str();
        let late = marker("RUNNER_ARRIVAL") == Arrival::Late.name();
        self.push(Task::Bear(Box::new(Body {
            run: request.run,
            entity: request.entity.clone(),
            incarnation: request.incarnation,
            arrival: if late { Arrival::Late } else { Arrival::First },
            template: marker("RUNNER_TEMPLATE").to_owned(),
            spec: Arc::new(request.spec.clone()),
        })));
    }

    fn adopt(&self, adoption: Adoption) {
        self.push(Task::Adopt(adoption));
    }

    fn examine(&self, _: RunId, _: bool) {}

    fn terminate(&self, run: RunId) {
        self.push(Task::Terminate(run));
    }

    fn kill(&self, run: RunId) {
        self.push(Task::Kill(run));
    }

    fn give_up(&self) {}
}

/// A world client that is asked when chance has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked;

impl AskWorld for Asked {
    fn ask(&self) {}

    fn rest(&self, _: bool) {}
}

/// What is written down, and what would be if it could.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    current: Memory,
    pub(crate) written: Memory,
    pub(crate) full: bool,
}

impl Disk {
    /// What the next runner reads.
    pub(crate) fn begin(&mut self) -> Memory {
        self.current = self.written.clone();
        self.written.clone()
    }

    /// Writes all that can be.
    pub(crate) fn write(&mut self) {
        if !self.full {
            self.written.clone_from(&self.current);
        }
    }
}

/// A memory on such a disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal(pub(crate) Rc<RefCell<Disk>>);

impl Journal {
    /// It is written down who the process of a run is.
    pub(crate) fn identity(&self, run: RunId, identity: Identity) {
        self.0.borrow_mut().current.identities.insert(run, identity);
        self.commit();
    }
}

impl Remember for Journal {
    fn agent(&self, id: &EntityId, agent: &Agent) {
        let memory = &mut self.0.borrow_mut().current;
        if let Some(run) = agent.run() {
            memory.next_run = memory.next_run.max(run.0 + 1);
        }
        memory.agents.insert(id.clone(), agent.clone());
    }

    fn forgotten(&self, id: &EntityId) {
        self.0.borrow_mut().current.agents.remove(id);
    }

    fn over(&self, run: RunId) {
        self.0.borrow_mut().current.identities.remove(&run);
    }

    fn arrival(&self, id: &EntityId, arrival: Option<Arrival>) {
        let arrivals = &mut self.0.borrow_mut().current.arrivals;
        match arrival {
            Some(arrival) => _ = arrivals.insert(id.clone(), arrival),
            None => _ = arrivals.remove(id),
        }
    }

    fn orders(&self, orders: &Orders) {
        self.0.borrow_mut().current.orders = orders.clone();
    }

    fn commit(&self) {
        self.0.borrow_mut().write();
    }
}
