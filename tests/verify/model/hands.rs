//! The runner as the model has it: the real planner, memory and restoration between an abstract
//! world and an abstract executor. What lies between them is the loop's part, a step at a time,
//! so that anything can happen in between.

use std::mem;
use std::sync::Arc;

use runner::plan::{
    Action, Answer, Arrival, Desired, Entities, EntityId, Exit, Heard, Intent, Membership, Phase,
    Plan, Progress, Rules, RunId, Start, Steer, Verb, plan, progress,
};
use runner::reconcile::Inheritance;
use runner::state::{Memory, restore};

use super::mind::{Effect, Event, Order, Runner, take_in};
use super::mutant::Mutant;
use super::{Setting, State};
use crate::machine::{Body, Life};
use crate::rules::site;

/// As the loop has it.
const MOST_PASSES: usize = 16;

/// A runner with all that it acts on.
pub(crate) struct Hands<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) setting: &'a Setting,
}

impl Hands<'_> {
    fn rules(&self) -> &Arc<Rules> {
        &self.setting.configs[self.state.config]
    }

    fn runner(&mut self) -> &mut Runner {
        self.state.runner.as_mut().unwrap()
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.setting.mutant == Some(mutant)
    }

    /// The rules by which answers are believed.
    fn membership_rules(&self) -> Rules {
        let mut rules = (**self.rules()).clone();
        if self.is(Mutant::NoConfirmation) {
            rules.removal.confirmations = 1;
        }
        if self.is(Mutant::NoHold) {
            rules.removal.hold = std::time::Duration::ZERO;
        }
        rules
    }

    /// A runner begins, on what the one before left.
    pub(crate) fn begin(&mut self) {
        let forgets = self.is(Mutant::NoJournal);
        let memory = if forgets { Memory::default() } else { self.state.memory.clone() };
        let survey = self.state.machine.survey(&memory.processes());
        let rules = Arc::clone(self.rules());
        let now = self.state.now;
        let Inheritance { observed, adoptions, arrivals, orders } = restore(memory, survey, now);
        let mut runner = Runner {
            observed,
            orders,
            resumed: arrivals.is_some(),
            arrivals: arrivals.unwrap_or_default(),
            ..Runner::default()
        };
        for adopted in adoptions.into_values() {
            runner.known.insert(adopted.run, adopted.identity);
            let life = self.state.machine.with(adopted.identity).map(|process| process.life);
            match life {
                Some(Life::Agent) => {}
                Some(Life::Leaderless(_)) => {
                    runner.events.push_back(Event::LeaderExited(adopted.run, Exit::Unknown));
                }
                Some(Life::Gate | Life::Over(_)) | None => {
                    runner.events.push_back(Event::Gone(adopted.run, Exit::Unknown));
                }
            }
        }
        let rollouts = Arc::clone(&runner.orders.rollouts);
        let are_ready = |name: &str| rollouts.get(name).is_some_and(|it| !it.is_under_way());
        Arc::make_mut(&mut runner.orders.rollouts).update(&rules, are_ready, now);
        for agent in runner.observed.agents.values() {
            if let Phase::Stopping(stopping) = &agent.phase {
                if stopping.killed {
                    runner.effects.push(Effect::Kill(stopping.run));
                } else if stopping.deadline.is_some() {
                    runner.effects.push(Effect::Terminate(stopping.run));
                }
            }
        }
        self.state.machine.bury();
        self.state.runner = Some(runner);
        self.write_down();
    }

    /// The runner dies, with all that it had in mind.
    pub(crate) fn die(&mut self) {
        self.state.runner = None;
        self.state.machine.close_gates();
        self.state.messages.clear();
        self.state.watch.hearsay.forget();
    }

    /// One effect is done.
    pub(crate) fn carry_out(&mut self, index: usize) {
        let effect = self.runner().effects.remove(index);
        match effect {
            Effect::Bear(start, entity) => self.bear(&start, entity),
            Effect::Record(run) => {
                if let Some(process) = self.state.machine.of_run(run) {
                    let identity = process.identity;
                    self.state.memory.identities.insert(run, identity);
                }
            }
            Effect::Open(run) => self.open(run),
            Effect::Terminate(run) => self.signal(run, false),
            Effect::Kill(run) => self.signal(run, true),
        }
    }

    fn bear(&mut self, start: &Start, entity: EntityId) {
        let hides = self.setting.hides(&entity);
        let body = Body {
            run: start.run,
            entity,
            incarnation: start.incarnation,
            arrival: start.arrival,
            template: start.template.clone(),
            spec: Arc::clone(&start.spec),
        };
        let identity = self.state.machine.bear(body, hides);
        let ungated = self.is(Mutant::NoGate);
        if ungated {
            self.open(start.run);
        }
        let runner = self.runner();
        runner.known.insert(start.run, identity);
        let next = if ungated { 0..1 } else { 0..2 };
        let steps = [Effect::Record(start.run), Effect::Open(start.run)];
        // Before what was asked of the run meanwhile.
        runner.effects.splice(0..0, steps[next].iter().cloned());
    }

    fn open(&mut self, run: RunId) {
        let opened = self.state.machine.open(run);
        self.state.watch.hold(opened);
        self.runner().events.push_back(Event::Started(run));
    }

    /// It could not be born.
    pub(crate) fn fail_to_bear(&mut self, index: usize) {
        let run = self.runner().effects.remove(index).run();
        self.runner().effects.retain(|effect| effect.run() != run);
        self.runner().events.push_back(Event::NotStarted(run));
    }

    fn signal(&mut self, run: RunId, kill: bool) {
        let Some(&identity) = self.runner().known.get(&run) else { return };
        let by_number = self.is(Mutant::NoIdentity);
        let Some(process) = self.state.machine.with(identity) else { return };
        if process.reused && by_number {
            let told = format!("a stranger was signalled that has the number of {run}");
            return self.state.watch.hold(Err(told));
        }
        process.asked = true;
        if kill && process.life.is_agent() {
            self.state.end(identity, Exit::Signal(9));
        }
    }

    /// The runner hears of the next thing that happened.
    pub(crate) fn hear_of_process(&mut self) {
        let Some(event) = self.runner().events.pop_front() else { return };
        let now = self.state.now;
        let run = event.run();
        let runner = self.state.runner.as_mut().unwrap();
        let found = runner.observed.agents.iter_mut().find(|(_, agent)| agent.run() == Some(run));
        if matches!(event, Event::NotStarted(_) | Event::Gone(..)) {
            runner.known.remove(&run);
            self.state.memory.identities.remove(&run);
        }
        if let Some((id, agent)) = found {
            self.state.watch.ended(id, event, &mut self.state.machine);
            take_in(agent, event, now);
        }
        if matches!(event, Event::Gone(..)) {
            self.state.machine.processes.retain(|it| it.body.run != run || !it.life.is_over());
        }
        self.converge();
    }

    /// The world's answer comes.
    pub(crate) fn hear_answer(&mut self, heard: Heard, entities: &Arc<Entities>) {
        let now = self.state.now;
        let rules = self.membership_rules();
        let reconnected = mem::take(&mut self.state.link_broken);
        let answer =
            Answer { heard, at: now, entities: Arc::clone(entities), refused: Arc::default() };
        if reconnected && self.runner().observed.contact.asked.is_some() {
            self.disrupted();
            self.runner().observed.contact.disrupted = Some(now);
        }
        self.state.watch.hearsay.hear(&answer);
        let runner = self.runner();
        let changed = if let Some(membership) = &mut runner.membership {
            membership.is_news(&answer)
                && membership.observe(&answer, &rules, &runner.observed.live())
        } else {
            let mut first = Membership::first(&answer, &rules);
            if mem::take(&mut runner.resumed) {
                let arrivals = &runner.arrivals;
                first.recall(|id| arrivals.get(id).copied().unwrap_or(Arrival::Late));
            }
            let known = runner.arrivals.iter().map(|(id, arrival)| (id.clone(), *arrival));
            let agents = runner.observed.agents.keys().map(|id| (id.clone(), Arrival::Late));
            first.expect(&answer, agents.chain(known));
            runner.membership = Some(first);
            true
        };
        if changed {
            runner.remember_arrivals();
        }
        runner.observed.heard(&answer);
        let contact = &mut runner.observed.contact;
        contact.reachable = true;
        if let Heard::Asked(asked) = heard {
            contact.asked = contact.asked.max(Some(asked));
        }
        self.converge();
    }

    /// A call fails.
    pub(crate) fn fail_call(&mut self) {
        self.disrupted();
        let now = self.state.now;
        let contact = &mut self.runner().observed.contact;
        contact.reachable = false;
        contact.disrupted = Some(now);
        self.converge();
    }

    fn disrupted(&mut self) {
        let runner = self.runner();
        runner.observed.disrupted();
        if let Some(membership) = &mut runner.membership {
            membership.disrupted();
        }
        self.state.watch.hearsay.forget();
    }

    /// The file says something else.
    pub(crate) fn configure(&mut self, config: usize) {
        if self.state.runner.is_none() {
            self.state.config = config;
            return;
        }
        let desired = self.desired();
        let now = self.state.now;
        let progress = progress(&desired, &self.runner().observed, now);
        self.state.config = config;
        let rules = Arc::clone(self.rules());
        let are_ready = |name: &str| progress.get(name).is_some_and(Progress::is_complete);
        Arc::make_mut(&mut self.runner().orders.rollouts).update(&rules, are_ready, now);
        self.converge();
    }

    /// The user asks for something.
    pub(crate) fn order(&mut self, id: &EntityId, order: Order) {
        let now = self.state.now;
        let orders = &mut self.runner().orders;
        match order {
            Order::Suspend => _ = orders.suspended.insert(id.clone()),
            Order::Resume => _ = orders.suspended.remove(id),
            Order::Restart => _ = orders.restarts.insert(id.clone(), now),
        }
        self.converge();
    }

    /// The user has what was paused go on.
    pub(crate) fn resume_rollout(&mut self) {
        let now = self.state.now;
        let rollouts = Arc::make_mut(&mut self.runner().orders.rollouts);
        let _ = rollouts.steer("default", Steer::Resume, now);
        self.converge();
    }

    fn desired(&mut self) -> Desired {
        let rules = Arc::clone(self.rules());
        let runner = self.runner();
        Desired::new(Intent::Run, &rules, &site(), runner.membership.as_ref(), &runner.orders)
    }

    fn plan(&mut self) -> Plan {
        let mut desired = self.desired();
        let now = self.state.now;
        let Some(mutant) = self.setting.mutant else {
            return plan(&desired, &self.runner().observed, now);
        };
        let mut observed = self.runner().observed.clone();
        mutant.blind(&mut desired, &mut observed, now);
        let mut decided = plan(&desired, &observed, now);
        mutant.bend(&mut decided);
        decided
    }

    /// Plans and applies until nothing is left to do.
    pub(crate) fn converge(&mut self) {
        self.runner().acted = 0;
        for _ in 0..MOST_PASSES {
            let plan = self.plan();
            self.runner().wake_at = plan.wake_at;
            self.apply(&plan);
            if plan.actions.iter().all(|action| matches!(action.verb, Verb::Start(_))) {
                return;
            }
        }
        self.state.watch.hold(Err("the plan did not come to rest".to_owned()));
    }

    /// All is written down before any of it is done.
    fn apply(&mut self, plan: &Plan) {
        let now = self.state.now;
        let rules = Arc::clone(self.rules());
        let State { watch, runner, machine, .. } = &mut *self.state;
        let runner = runner.as_mut().unwrap();
        watch.planned(plan, machine, &rules, now);
        runner.acted += plan.actions.len();
        for (template, turn) in &plan.turns {
            Arc::make_mut(&mut runner.orders.rollouts).note(template, turn, now);
        }
        for action in &plan.actions {
            runner.observed.note(action, now);
        }
        self.write_down();
        for Action { id, verb } in &plan.actions {
            let effect = match verb {
                Verb::Start(start) => Effect::Bear(Box::new(start.clone()), id.clone()),
                Verb::Stop { run, .. } => Effect::Terminate(*run),
                Verb::Kill { run, .. } => Effect::Kill(*run),
                Verb::Forget { .. }
                | Verb::BackOff { .. }
                | Verb::AwaitWorld { .. }
                | Verb::Complete { .. }
                | Verb::Fail { .. } => continue,
            };
            self.runner().effects.push(effect);
        }
    }

    fn write_down(&mut self) {
        let State { memory, runner, .. } = &mut *self.state;
        let runner = runner.as_ref().unwrap();
        memory.agents.clone_from(&runner.observed.agents);
        memory.arrivals.clone_from(&runner.arrivals);
        memory.next_run = memory.next_run.max(runner.observed.next_run);
        memory.orders.clone_from(&runner.orders);
    }
}
