//! What a runner of the model has in mind, and what it hears.

use std::collections::{BTreeMap, VecDeque};

use runner::executor::Identity;
use runner::plan::{
    Agent, Arrival, Contact, EntityId, Exit, Membership, Observed, Orders, Outcome, Place, RunId,
    Start, Time,
};

/// What a runner has in its head, and loses when it dies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runner {
    pub(crate) observed: Observed,
    pub(crate) membership: Option<Membership>,
    pub(crate) orders: Orders,
    pub(crate) arrivals: BTreeMap<EntityId, Arrival>,
    pub(crate) resumed: bool,
    /// What was decided and is not done yet.
    pub(crate) effects: Vec<Effect>,
    /// What happened to processes and was not heard of yet.
    pub(crate) events: VecDeque<Event>,
    /// Who the processes of runs are.
    pub(crate) known: BTreeMap<RunId, Identity>,
    /// When to look again if nothing happens.
    pub(crate) wake_at: Option<Time>,
    /// How many actions the last step came to.
    pub(crate) acted: usize,
}

/// One thing that the executor is to do. A runner can die between any two.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// A gate is to be born.
    Bear(Box<Start>, EntityId),
    /// It is to be written down who it is.
    Record(RunId),
    /// It is to become the agent.
    Open(RunId),
    Terminate(RunId),
    Kill(RunId),
}

impl Effect {
    pub(crate) fn run(&self) -> RunId {
        match self {
            Self::Bear(start, _) => start.run,
            Self::Record(run) | Self::Open(run) | Self::Terminate(run) | Self::Kill(run) => *run,
        }
    }
}

/// What happened to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    Started(RunId),
    NotStarted(RunId),
    LeaderExited(RunId, Exit),
    Gone(RunId, Exit),
}

impl Event {
    pub(super) fn run(self) -> RunId {
        match self {
            Self::Started(run)
            | Self::NotStarted(run)
            | Self::LeaderExited(run, _)
            | Self::Gone(run, _) => run,
        }
    }
}

impl Runner {
    pub(super) fn remember_arrivals(&mut self) {
        let Some(membership) = &self.membership else { return };
        for (id, member) in membership.iter() {
            self.arrivals.insert(id.clone(), member.arrival);
        }
        self.orders.restarts.retain(|id, _| membership.knows(id));
        self.arrivals.retain(|id, _| membership.knows(id));
    }

    /// What is known of contact with the world.
    pub(crate) const fn contact(&self) -> &Contact {
        &self.observed.contact
    }
}

/// What the user can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    Suspend,
    Resume,
    Restart,
}

/// An agent's part in what happened.
pub(super) fn take_in(agent: &mut Agent, event: Event, now: Time) {
    match event {
        Event::Started(_) => agent.started(Place::Process { pid: 1 }, now),
        Event::NotStarted(_) => agent.gone(Outcome::NotStarted("no room".to_owned()), now),
        Event::LeaderExited(_, exit) => agent.leader_exited(exit, now),
        Event::Gone(_, exit) => agent.gone(Outcome::Exit(exit), now),
    }
}
