//! What the loop is given: where it hears from, what it works with, and what it goes on from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::discovery::{Discovery, View};
use crate::events::Events;
use crate::executor::{Event, Identity, logs};
use crate::plan::{
    Agent, Arrival, CannotSteer, Desired, Entities, EntityId, Intent, Membership, Observed, Orders,
    Pending, Rules, RunId, Site, Steer, Time,
};

/// What the configuration comes to at the moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Counts the configurations that were applied, from 1.
    pub generation: u64,
    /// All that planning depends on.
    pub rules: Arc<Rules>,
    /// Where agents' output goes.
    pub log_dir: PathBuf,
    /// How much of it is kept.
    pub logs: logs::Policy,
    /// Where agents run.
    pub site: Site,
    /// Names this runner in the environment of its agents.
    pub instance: String,
}

/// Where the loop hears from.
#[derive(Debug)]
pub struct Sources {
    /// The configuration.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// What the user wants of the runner itself.
    pub intent: watch::Receiver<Intent>,
    /// What is known of the world.
    pub view: watch::Receiver<Arc<View>>,
    /// The directories of the projects whose environment is ready.
    pub synced: watch::Receiver<BTreeSet<PathBuf>>,
    /// What happened to agents.
    pub events: mpsc::UnboundedReceiver<Event>,
    /// What is asked of it.
    pub requests: mpsc::UnboundedReceiver<Request>,
}

/// Puts a question to the world that is asked after this moment.
pub trait AskWorld {
    /// Asks. Returns at once; the answer comes with the view.
    fn ask(&self);

    /// Says whether nothing hangs on the next answer, so that it may come late where the world tells
    /// of changes by itself.
    fn rest(&self, resting: bool);
}

/// Remembers beyond this process what the loop knows, so that the next one can go on from there:
/// all that it was told before a [`commit`](Self::commit).
pub trait Remember {
    /// An agent, as it is now.
    fn agent(&self, id: &EntityId, agent: &Agent);
    /// An agent is not known any more.
    fn forgotten(&self, id: &EntityId);
    /// No process of a run lives.
    fn over(&self, run: RunId);
    /// When an entity came; none: it has left.
    fn arrival(&self, id: &EntityId, arrival: Option<Arrival>);
    /// What the user asked for, all of it.
    fn orders(&self, orders: &Orders);
    /// Returns once it is written down.
    fn commit(&self);
}

/// What the loop goes on from: what the one before remembered, and what was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Inheritance<I = Identity> {
    /// The agents, those that live as well as those that wait.
    pub observed: Observed,
    /// Who those are that live.
    pub adoptions: BTreeMap<EntityId, Adopted<I>>,
    /// When entities came; none: this is the first time, and they come now.
    pub arrivals: Option<BTreeMap<EntityId, Arrival>>,
    /// What the user asked for.
    pub orders: Orders,
}

impl<I> Default for Inheritance<I> {
    fn default() -> Self {
        Self {
            observed: Observed::default(),
            adoptions: BTreeMap::new(),
            arrivals: None,
            orders: Orders::default(),
        }
    }
}

/// What is asked of the loop while it runs.
#[derive(Debug)]
pub enum Request {
    /// To be shown all that it knows.
    Look(oneshot::Sender<Look>),
    /// To steer the rollout of a template.
    Steer {
        /// Whose.
        template: String,
        /// How.
        steer: Steer,
        /// Told once it is written down, or else why that cannot be.
        done: oneshot::Sender<Result<(), CannotSteer>>,
    },
    /// To be told whether the world was heard and all that followed from it was done, and nobody
    /// has told it to end. That there is an answer says that the loop goes round.
    Ready(oneshot::Sender<bool>),
    /// To do something for some entities.
    Order {
        /// What.
        order: Order,
        /// For whom.
        ids: BTreeSet<EntityId>,
        /// Told once it is written down, or else of the ids that are not known: nothing is done then.
        done: oneshot::Sender<Result<(), Vec<EntityId>>>,
    },
}

/// What can be asked for entities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start its agent anew.
    Restart,
    /// Let it have no agent, until it is resumed.
    Suspend,
    /// Take that back.
    Resume,
}

/// All that the loop knows at one moment.
#[derive(Clone, Debug)]
pub struct Look {
    /// When that was.
    pub now: Time,
    /// What the user wants of the runner itself.
    pub intent: Intent,
    /// What should be.
    pub desired: Arc<Desired>,
    /// What is.
    pub observed: Observed,
    /// Who is in the world; none: it has never answered.
    pub membership: Option<Membership>,
    /// All entities of the world's latest answer; none: it has never answered.
    pub entities: Option<Arc<Entities>>,
    /// Who has no agent for now, and why.
    pub pending: BTreeMap<EntityId, Pending>,
    /// What the configuration comes to.
    pub settings: Arc<Settings>,
    /// What the user asked for.
    pub orders: Orders,
}

/// The process of an agent that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adopted<I = Identity> {
    /// Its run.
    pub run: RunId,
    /// Its process.
    pub identity: I,
    /// Whether it was still a gate when it was found.
    pub gate: bool,
}

impl<M: Remember> Remember for Arc<M> {
    fn agent(&self, id: &EntityId, agent: &Agent) {
        (**self).agent(id, agent);
    }

    fn forgotten(&self, id: &EntityId) {
        (**self).forgotten(id);
    }

    fn over(&self, run: RunId) {
        (**self).over(run);
    }

    fn arrival(&self, id: &EntityId, arrival: Option<Arrival>) {
        (**self).arrival(id, arrival);
    }

    fn orders(&self, orders: &Orders) {
        (**self).orders(orders);
    }

    fn commit(&self) {
        (**self).commit();
    }
}

/// What happened is written down with what follows from it.
impl<M: Remember> Remember for (M, Events) {
    fn agent(&self, id: &EntityId, agent: &Agent) {
        self.0.agent(id, agent);
    }

    fn forgotten(&self, id: &EntityId) {
        self.0.forgotten(id);
    }

    fn over(&self, run: RunId) {
        self.0.over(run);
    }

    fn arrival(&self, id: &EntityId, arrival: Option<Arrival>) {
        self.0.arrival(id, arrival);
    }

    fn orders(&self, orders: &Orders) {
        self.0.orders(orders);
    }

    fn commit(&self) {
        self.1.flush();
        self.0.commit();
    }
}

impl AskWorld for Discovery {
    fn ask(&self) {
        Self::ask(self);
    }

    fn rest(&self, resting: bool) {
        Self::rest(self, resting);
    }
}
