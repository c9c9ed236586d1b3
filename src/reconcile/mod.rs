//! The loop: wait for a reason, take in what is, plan, apply, and again until nothing is left.
//!
//! Events only wake it. What is done follows from what is, as the pure room sees it; this room
//! carries the plan's words to the executor and tells what was done.

mod crashes;
mod last_words;
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
use crate::discovery::View;
use crate::executor::local::survey::{INSTANCE, RUN};
use crate::executor::{Adoption, Event, Executor, Resource, SpawnRequest};
use crate::fault::{self, Point};
use crate::plan::{
    Action, Arrival, CannotSteer, Contact, Desired, EntityId, Intent, Membership, Observed, Orders,
    Outcome, Pending, Phase, Plan, Progress, RunId, Start, Steer, StopReason, Time, Verb, Wants,
    plan, plan_for, progress,
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

    fn answer(&mut self, request: Request) {
        // Who asked and has gone away since needs no answer.
        match request {
            Request::Look(look) => {
                let _ = look.send(self.look());
            }
            Request::Steer { template, steer, done } => {
                let _ = done.send(self.steer(&template, steer));
            }
            Request::Ready(ready) => {
                let _ = ready.send(self.membership.is_some() && self.intent == Intent::Run);
            }
            Request::Order { order, ids, done } => {
                let _ = done.send(self.order(order, ids));
            }
        }
    }

    fn look(&mut self) -> Look {
        Look {
            now: self.clock.now(),
            intent: self.intent,
            desired: self.desired(),
            observed: self.observed.clone(),
            membership: self.membership.clone(),
            entities: self.sources.view.borrow().latest.as_ref().map(|it| Arc::clone(&it.entities)),
            pending: self.pending.clone(),
            settings: Arc::clone(&self.settings),
            orders: self.orders.clone(),
        }
    }

    fn order(&mut self, order: Order, ids: BTreeSet<EntityId>) -> Result<(), Vec<EntityId>> {
        let is_known = |id: &EntityId| {
            self.membership.as_ref().is_some_and(|membership| membership.knows(id))
                || self.observed.agents.contains_key(id)
                || self.orders.suspended.contains(id)
        };
        let unknown: Vec<_> = ids.iter().filter(|id| !is_known(id)).cloned().collect();
        if !unknown.is_empty() {
            return Err(unknown);
        }
        let now = self.clock.now();
        for id in ids {
            report::order(order, &id);
            match order {
                Order::Restart => {
                    self.orders.restarts.insert(id, now);
                }
                Order::Suspend => {
                    self.orders.suspended.insert(id);
                }
                Order::Resume => {
                    self.orders.suspended.remove(&id);
                }
            }
        }
        self.ordered();
        Ok(())
    }

    fn steer(&mut self, template: &str, steer: Steer) -> Result<(), CannotSteer> {
        let now = self.clock.now();
        Arc::make_mut(&mut self.orders.rollouts).steer(template, steer, now)?;
        report::steered(template, steer);
        self.ordered();
        Ok(())
    }

    /// The user asked for something: that is written down before it is confirmed.
    fn ordered(&mut self) {
        self.memory.orders(&self.orders);
        self.memory.commit();
        self.desired = None;
        self.news = News::Any;
    }

    /// Fetches all that is known by now.
    fn take_in(&mut self) {
        let now = self.clock.now();
        while let Ok(event) = self.sources.events.try_recv() {
            self.happened(&event, now);
        }
        let intent = *self.sources.intent.borrow_and_update();
        if intent != self.intent {
            self.intent = intent;
            self.desired = None;
            self.news = News::Any;
            report::intent(intent, self.observed.live().len());
        }
        let settings = Arc::clone(&self.sources.settings.borrow_and_update());
        if settings.generation != self.settings.generation {
            self.reconfigure(settings);
        }
        let synced = self.sources.synced.borrow_and_update();
        if self.observed.synced != *synced {
            self.observed.synced.clone_from(&synced);
            self.news = News::Any;
        }
        drop(synced);
        let view = Arc::clone(&self.sources.view.borrow_and_update());
        // A view of the world before is none of this one.
        if view.server == self.settings.site.server {
            self.look_at_world(&view);
        }
    }

    fn reconfigure(&mut self, settings: Arc<Settings>) {
        if settings.site.server != self.settings.site.server {
            self.membership = None;
            self.answers_seen = 0;
            self.observed.contact = Contact { since: self.clock.now(), ..Contact::default() };
        }
        let now = self.clock.now();
        let progress = progress(&self.desired(), &self.observed, now);
        self.settings = settings;
        self.desired = None;
        self.news = News::Any;
        self.follow_templates(|name| progress.get(name).is_some_and(Progress::is_complete));
    }

    /// Takes in which versions of templates there are. All agents of those that `are_ready` are.
    fn follow_templates(&mut self, are_ready: impl Fn(&str) -> bool) {
        let rollouts = Arc::make_mut(&mut self.orders.rollouts);
        if rollouts.update(&self.settings.rules, are_ready, self.clock.now()) {
            self.memory.orders(&self.orders);
        }
    }

    fn look_at_world(&mut self, view: &View) {
        let broke = view.disrupted_at > self.observed.contact.disrupted;
        // A view is the latest of possibly several: a failure after the answer voids the counts
        // that the answer added, one before it does not.
        if broke && view.reachable {
            self.disrupted();
        }
        if let Some(answer) = view.latest.as_ref().filter(|_| view.answers > self.answers_seen) {
            self.answers_seen = view.answers;
            let rules = &self.settings.rules;
            let mut news = true;
            let changed = if let Some(membership) = &mut self.membership {
                news = membership.is_news(answer);
                news && membership.observe(answer, rules, &self.observed.live())
            } else {
                let mut first = Membership::first(answer, rules);
                if mem::take(&mut self.resumed) {
                    let arrivals = &self.arrivals;
                    first.recall(|id| arrivals.get(id).copied().unwrap_or(Arrival::Late));
                }
                let known = self.arrivals.iter().map(|(id, arrival)| (id.clone(), *arrival));
                let running = self.observed.agents.keys().map(|id| (id.clone(), Arrival::Late));
                first.expect(answer, running.chain(known));
                self.membership = Some(first);
                true
            };
            if changed {
                self.desired = None;
                self.remember_arrivals();
            }
            if changed || self.hangs_on_answer {
                self.news = News::Any;
            }
            if news || self.hangs_on_answer {
                self.observed.heard(answer);
            }
            self.report.refused(&answer.refused);
        }
        if broke && !view.reachable {
            self.disrupted();
        }
        let since = self.observed.contact.since;
        let before = mem::replace(
            &mut self.observed.contact,
            Contact {
                since,
                reachable: view.reachable,
                asked: view.latest_asked,
                disrupted: view.disrupted_at,
            },
        );
        if broke || before.reachable != view.reachable {
            self.news = News::Any;
        }
        if let Some(membership) = &self.membership {
            self.report.membership(membership, &self.settings.rules);
        }
    }

    fn remember_arrivals(&mut self) {
        let Some(membership) = &self.membership else { return };
        for (id, member) in membership.iter() {
            if self.arrivals.get(id) != Some(&member.arrival) {
                if self.arrivals.insert(id.clone(), member.arrival).is_none() {
                    report::seen(id, member.arrival);
                }
                self.memory.arrival(id, Some(member.arrival));
            }
        }
        let restarts = self.orders.restarts.len();
        self.orders.restarts.retain(|id, _| membership.knows(id));
        if self.orders.restarts.len() != restarts {
            self.memory.orders(&self.orders);
        }
        let memory = &self.memory;
        self.arrivals.retain(|id, _| {
            let stays = membership.knows(id);
            if !stays {
                report::left(id);
                memory.arrival(id, None);
            }
            stays
        });
    }

    fn disrupted(&mut self) {
        self.observed.disrupted();
        if let Some(membership) = &mut self.membership {
            membership.disrupted();
        }
    }

    fn happened(&mut self, event: &Event, now: Time) {
        let Some(id) = self.runs.get(&event.run()).cloned() else { return };
        let Some(agent) = self.observed.agents.get_mut(&id) else { return };
        if let Event::Examined { evidence, .. } = event {
            report::examined(&id, evidence, &logs(&self.executor, &self.observed, &self.settings));
            return;
        }
        self.news.add(&id);
        self.report.happened(&id, agent, event, now);
        match event {
            Event::Examined { .. } => {}
            Event::Started { place, .. } => agent.started(place.clone(), now),
            Event::Waits { waits, .. } => agent.waits.clone_from(waits),
            Event::LeaderExited { exit, .. } => agent.leader_exited(*exit, now),
            Event::SpawnFailed { run, error } => {
                self.runs.remove(run);
                self.memory.over(*run);
                agent.gone(Outcome::NotStarted(error.clone()), now);
            }
            Event::Gone { run, exit } => {
                self.runs.remove(run);
                self.memory.over(*run);
                agent.gone(Outcome::Exit(*exit), now);
            }
        }
        // Whether a crash or a lost world is behind it, only the world can tell.
        if matches!(&agent.phase, Phase::Exited(ended) if ended.how.may_be_the_worlds()) {
            self.world.ask();
        }
        self.unwritten.insert(id);
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

    /// All is written down before any of it is done. What nothing follows from may wait for what
    /// comes of it in the next pass.
    fn apply(&mut self, plan: &Plan, now: Time) {
        for (template, turn) in &plan.turns {
            report::turn(template, turn);
            Arc::make_mut(&mut self.orders.rollouts).note(template, turn, now);
        }
        if !plan.turns.is_empty() {
            self.memory.orders(&self.orders);
            self.desired = None;
        }
        for action in &plan.actions {
            let logs = logs(&self.executor, &self.observed, &self.settings);
            self.report.action(action, &logs, now);
            self.observed.note(action, now);
            self.unwritten.insert(action.id.clone());
        }
        if plan.actions.iter().any(|action| action.verb.reaches_processes()) {
            self.write_down();
        }
        for Action { id, verb } in &plan.actions {
            match verb {
                Verb::Start(start) => {
                    fault::reach(Point::StartNoted);
                    self.start(id, start);
                }
                Verb::Stop { run, why, .. } => {
                    if let StopReason::LeaseGone { .. } = why {
                        let dump = self.dumps(id);
                        self.executor.examine(*run, dump);
                    }
                    fault::reach(Point::StopNoted);
                    self.executor.terminate(*run);
                }
                Verb::Kill { run, .. } => {
                    fault::reach(Point::KillNoted);
                    self.executor.kill(*run);
                }
                Verb::Forget { .. } => self.executor.forget(id),
                Verb::BackOff { .. }
                | Verb::AwaitWorld { .. }
                | Verb::Complete { .. }
                | Verb::Fail { .. } => {}
            }
        }
    }

    /// Whether the agent is to write down what it does before it is stopped as hung.
    fn dumps(&mut self, id: &EntityId) -> bool {
        match &self.desired().wants {
            Wants::Unknown => false,
            Wants::Known { agents, .. } => {
                agents.get(id).is_some_and(|want| want.template.faulthandler)
            }
        }
    }

    fn start(&mut self, id: &EntityId, start: &Start) {
        self.runs.insert(start.run, id.clone());
        let names = start.spec.env.keys().map(String::as_str).collect::<Vec<_>>().join(",");
        let markers = BTreeMap::from([
            (INSTANCE.to_owned(), self.settings.instance.clone()),
            (RUN.to_owned(), start.run.0.to_string()),
            ("RUNNER_INCARNATION".to_owned(), start.incarnation.to_string()),
            ("RUNNER_ARRIVAL".to_owned(), start.arrival.name().to_owned()),
            ("RUNNER_TEMPLATE".to_owned(), start.template.clone()),
            ("RUNNER_ARGV".to_owned(), json(&start.spec.argv)),
            ("RUNNER_CWD".to_owned(), start.spec.cwd.to_string_lossy().into_owned()),
            ("RUNNER_ENV".to_owned(), names),
            ("RUNNER_CONFINEMENT".to_owned(), start.spec.confinement.to_string()),
            ("RUNNER_SPEC".to_owned(), start.spec.digest()),
        ]);
        let kind = start.spec.env.get("RUNNER_ENTITY_TYPE").map_or("", String::as_str);
        self.executor.spawn(SpawnRequest {
            run: start.run,
            resource: Resource::of_agent(id.as_str(), kind, &start.template),
            entity: id.clone(),
            spec: (*start.spec).clone(),
            grace: start.grace,
            markers,
            log_dir: self.settings.log_dir.clone(),
            logs: self.settings.logs,
            incarnation: start.incarnation,
            attempts: start.attempts,
            restarts: self.observed.agents.get(id).map_or(0, |agent| agent.restarts),
            reason: start.why.to_string(),
        });
    }
}

fn logs<'a, E>(executor: &'a E, observed: &'a Observed, settings: &'a Settings) -> Logs<'a, E> {
    Logs { executor, agents: &observed.agents, dir: &settings.log_dir }
}

/// The earlier one, if there are two.
fn earliest(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    one.into_iter().chain(other).min()
}

/// A list of words, as one.
fn json(words: &[String]) -> String {
    serde_json::Value::from(words).to_string()
}
