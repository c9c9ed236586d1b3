//! The loop: wait for a reason, take in what is, plan, apply, and again until nothing is left.
//!
//! Events only wake it. What is done follows from what is, as the pure room sees it; this room
//! carries the plan's words to the executor and tells what was done.

mod apply;
mod asked;
mod crashes;
mod last_words;
mod observe;
mod parts;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{debug, error};

use crate::clock::Clock;
use crate::executor::local::survey::INSTANCE;
use crate::executor::{Adoption, Executor};
use crate::plan::{
    Action, Arrival, Desired, EntityId, Intent, Membership, Observed, Orders, Pending, Phase, Plan,
    RunId, Time, Verb, plan, plan_for,
};
use last_words::Logs;
pub use parts::{
    Adopted, AskWorld, Inheritance, Look, Order, Remember, Request, Settings, Sources,
};
use report::Report;

/// Passes after one wake-up before the loop waits for the next one, come what may. Two or three
/// are usual: one that acts, one that draws conclusions, one that finds nothing left.
const MOST_PASSES: usize = 16;

/// Why the loop woke, or looks without having slept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    /// It has just begun.
    Beginning,
    Settings,
    Intent,
    World,
    Project,
    Agent,
    Request,
    Timer,
}

impl Wake {
    /// The word for it, for programs.
    const fn word(self) -> &'static str {
        match self {
            Self::Beginning => "beginning",
            Self::Settings => "config",
            Self::Intent => "intent",
            Self::World => "world",
            Self::Project => "project",
            Self::Agent => "agent",
            Self::Request => "request",
            Self::Timer => "timer",
        }
    }
}

/// What has happened since the last plan.
#[derive(Debug, Default)]
enum News {
    #[default]
    None,
    /// Something that is about these agents only.
    Of(BTreeSet<EntityId>),
    Any,
}

impl News {
    /// Something happened that is about this agent only.
    fn add(&mut self, id: &EntityId) {
        match self {
            Self::None => *self = Self::Of(BTreeSet::from([id.clone()])),
            Self::Of(agents) => {
                agents.insert(id.clone());
            }
            Self::Any => {}
        }
    }
}

/// Keeps what is as it should be.
#[derive(Debug)]
pub struct Reconciler<E, W, M> {
    executor: E,
    world: W,
    memory: M,
    sources: Sources,
    clock: Clock,
    settings: Arc<Settings>,
    intent: Intent,
    orders: Orders,
    membership: Option<Membership>,
    answers_seen: u64,
    observed: Observed,
    runs: HashMap<RunId, EntityId>,
    /// When entities came, as it is remembered.
    arrivals: BTreeMap<EntityId, Arrival>,
    /// Whether that is to be believed more than the first answer.
    resumed: bool,
    /// The agents that are not remembered as they are.
    unwritten: BTreeSet<EntityId>,
    /// Kept as long as nothing that it depends on has changed.
    desired: Option<Arc<Desired>>,
    wake_at: Option<Time>,
    woke: Wake,
    /// What has happened that the last plan did not know of.
    news: News,
    /// Whether the last plan for all agents left nobody waiting.
    settled: bool,
    /// Whether an answer of the world that says nothing new is news.
    hangs_on_answer: bool,
    /// Of the last plan.
    pending: BTreeMap<EntityId, Pending>,
    /// Counts whatever may be worth another look.
    changes: watch::Sender<u64>,
    report: Report,
}

impl<E: Executor, W: AskWorld, M: Remember> Reconciler<E, W, M> {
    /// A loop that has not begun.
    pub fn new(effects: (E, W, M), mut sources: Sources, clock: Clock) -> Self {
        let (executor, world, memory) = effects;
        let settings = Arc::clone(&sources.settings.borrow_and_update());
        Self {
            executor,
            world,
            memory,
            sources,
            clock,
            settings,
            intent: Intent::Run,
            orders: Orders::default(),
            membership: None,
            answers_seen: 0,
            observed: Observed::default(),
            runs: HashMap::new(),
            arrivals: BTreeMap::new(),
            resumed: false,
            unwritten: BTreeSet::new(),
            desired: None,
            wake_at: None,
            woke: Wake::Beginning,
            news: News::Any,
            settled: false,
            hangs_on_answer: true,
            pending: BTreeMap::new(),
            changes: watch::Sender::default(),
            report: Report::default(),
        }
    }

    /// Goes on from where another loop ended. Its agents are watched from now on, and nothing is
    /// decided yet.
    #[must_use]
    pub fn resume(mut self, inheritance: Inheritance<E::Identity>) -> Self {
        let Inheritance { observed, adoptions, arrivals, orders } = inheritance;
        self.orders = orders;
        let adopted = adoptions.len();
        self.observed = observed;
        self.resumed = arrivals.is_some();
        self.arrivals = arrivals.unwrap_or_default();
        for (id, Adopted { run, identity, gate }) in adoptions {
            self.runs.insert(run, id);
            let marker = format!("{INSTANCE}={}", self.settings.instance);
            self.executor.adopt(Adoption { run, identity, marker, gate });
        }
        self.executor.adopted();
        let rollouts = Arc::clone(&self.orders.rollouts);
        self.follow_templates(|name| rollouts.get(name).is_some_and(|it| !it.is_under_way()));
        for (id, agent) in &self.observed.agents {
            self.memory.agent(id, agent);
            self.tell_again(&agent.phase);
        }
        self.memory.commit();
        report::resumed(&self.observed, adopted);
        self
    }

    /// What is written down before it is done may not have been done.
    fn tell_again(&self, phase: &Phase) {
        let Phase::Stopping(stopping) = phase else { return };
        if stopping.killed {
            self.executor.kill(stopping.run);
        } else if stopping.deadline.is_some() {
            self.executor.terminate(stopping.run);
        }
    }

    /// Tells whenever another [`Look`] may be different.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Runs until it was told to stop and no agent is left, or to leave the agents alone; returns
    /// which.
    pub async fn run(&mut self) -> Intent {
        loop {
            self.take_in();
            if self.intent == Intent::Leave {
                self.write_down();
                return self.intent;
            }
            match mem::take(&mut self.news) {
                News::None => {}
                News::Of(agents) => self.converge(Some(agents)),
                News::Any => self.converge(None),
            }
            let settled = self.membership.as_ref().is_some_and(Membership::is_settled);
            self.world.rest(settled && !self.hangs_on_answer);
            self.changes.send_modify(|changes| *changes += 1);
            if self.intent != Intent::Run && self.observed.agents.is_empty() {
                self.executor.finish().await;
                return self.intent;
            }
            let mut wake = self.wait().await;
            // Nothing follows from being looked at.
            while wake == Wake::Request && matches!(self.news, News::None) {
                wake = self.wait().await;
            }
            debug!(?wake, "woke");
            self.woke = wake;
        }
    }

    /// Gives up all agents in good order: what happened to them by now is remembered, and what
    /// happens from now on is left for a successor in this very process to see.
    pub fn give_up(mut self) {
        self.executor.give_up();
        let now = self.clock.now();
        while let Ok(event) = self.sources.events.try_recv() {
            self.happened(&event, now);
        }
        self.write_down();
    }

    /// Waits for the next reason to look.
    async fn wait(&mut self) -> Wake {
        let timer = async {
            match self.wake_at {
                Some(at) => tokio::time::sleep_until(self.clock.instant(at)).await,
                None => std::future::pending().await,
            }
        };
        // A source whose sender is gone has nothing more to say; the others go on.
        tokio::select! {
            Some(event) = self.sources.events.recv() => {
                self.happened(&event, self.clock.now());
                Wake::Agent
            }
            Some(request) = self.sources.requests.recv() => {
                self.answer(request);
                Wake::Request
            }
            Ok(()) = self.sources.intent.changed() => Wake::Intent,
            Ok(()) = self.sources.settings.changed() => Wake::Settings,
            Ok(()) = self.sources.view.changed() => Wake::World,
            Ok(()) = self.sources.synced.changed() => Wake::Project,
            () = timer => {
                self.news = News::Any;
                Wake::Timer
            }
        }
    }

    /// Plans and applies until nothing is left to do, for these agents or else for all.
    fn converge(&mut self, mut agents: Option<BTreeSet<EntityId>>) {
        for _ in 0..MOST_PASSES {
            let now = self.clock.now();
            self.report.crashes.calm_down(now);
            let plan = match &agents {
                Some(some) if self.settled => self.plan_for(some, now),
                Some(_) | None => {
                    agents = None;
                    self.plan(now)
                }
            };
            self.apply(&plan, now);
            let took = self.clock.now() - now;
            report::pass(&plan, &self.observed, self.woke.word(), took);
            let is_forgotten = |action: &Action| matches!(action.verb, Verb::Forget { .. });
            agents = match agents {
                // Who is forgotten is a newcomer, if it is wanted all the same.
                Some(_) if plan.actions.iter().any(is_forgotten) => None,
                Some(_) => Some(plan.actions.iter().map(|action| action.id.clone()).collect()),
                None => None,
            };
            // A start opens nothing that was not open before.
            if plan.actions.iter().all(|action| matches!(action.verb, Verb::Start(_))) {
                self.write_down();
                return;
            }
        }
        self.write_down();
        error!("the plan did not come to rest within {MOST_PASSES} passes");
        self.wake_at = Some(self.clock.now() + std::time::Duration::from_secs(1));
    }

    fn plan(&mut self, now: Time) -> Plan {
        let plan = plan(&self.desired(), &self.observed, now);
        self.wake_at = earliest(plan.wake_at, self.report.crashes.over_at());
        self.hangs_on_answer = plan.hangs_on_answer;
        self.settled = plan.pending.is_empty() && !plan.is_rolling;
        self.report.pending(&plan.pending);
        self.pending.clone_from(&plan.pending);
        plan
    }

    /// What holds for the others still does.
    fn plan_for(&mut self, agents: &BTreeSet<EntityId>, now: Time) -> Plan {
        let plan = plan_for(agents, (&self.desired(), &self.observed), now);
        let others = self.wake_at.into_iter().chain(plan.wake_at);
        self.wake_at = earliest(others.min(), self.report.crashes.over_at());
        self.hangs_on_answer |= plan.hangs_on_answer;
        self.settled &= !plan.is_rolling;
        if !plan.pending.is_empty() {
            self.settled = false;
            self.report.pending(&plan.pending);
            self.pending.clone_from(&plan.pending);
        }
        plan
    }

    fn desired(&mut self) -> Arc<Desired> {
        let settings = &self.settings;
        let desired = self.desired.get_or_insert_with(|| {
            let rules = &settings.rules;
            let membership = self.membership.as_ref();
            Arc::new(Desired::new(self.intent, rules, &settings.site, membership, &self.orders))
        });
        Arc::clone(desired)
    }

    /// Has the next runner know what this one does.
    fn write_down(&mut self) {
        for id in mem::take(&mut self.unwritten) {
            match self.observed.agents.get(&id) {
                Some(agent) => self.memory.agent(&id, agent),
                None => self.memory.forgotten(&id),
            }
        }
        self.memory.commit();
    }
}

fn logs<'a, E>(executor: &'a E, observed: &'a Observed, settings: &'a Settings) -> Logs<'a, E> {
    Logs { executor, agents: &observed.agents, dir: &settings.log_dir }
}

/// The earlier one, if there are two.
fn earliest(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    one.into_iter().chain(other).min()
}
