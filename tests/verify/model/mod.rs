//! The real planner, checked in every state that an abstract executor, world and user can bring it
//! to with a bounded number of disturbances.
//!
//! ```text
//! entities come and go · the world is away, lies, answers late, twice or not at all ─┐
//! agents crash, hang, hide · their numbers are reused ───────────────────────────────┼─► State
//! the runner dies between any two effects · the file and the user's orders change ───┘     │
//!       safety: a watch from outside, at every step ◄──────────────────────────────────────┤
//!       stability: without further disturbance each state leads to rest ◄──────────────────┘
//! ```

mod calm;
mod hands;
mod mind;
mod mutant;
mod state;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use runner::plan::{EntityId, Exit, Heard, Rules, Time};
use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::machine::Life;
use crate::rules::{rules, template};
use calm::Calm;
use hands::Hands;
use mind::{Effect, Order};
pub(crate) use mutant::Mutant;
use state::{Message, State};

/// What to check, and how far.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The runner with this rule taken out: exits with 0 if that is found out.
    #[arg(long, value_enum)]
    mutant: Option<Mutant>,
    /// Check that each mutant is found out.
    #[arg(long, conflicts_with = "mutant")]
    mutants: bool,
    /// How many disturbances there may be on the way to a state: 1 if nothing is said, of which all
    /// states fit into memory, or 3 for mutants, which are found long before that.
    #[arg(long)]
    disturbances: Option<u8>,
    /// The fewest states that are enough.
    #[arg(long, default_value_t = 0)]
    at_least: usize,
    /// Stop after so many states.
    #[arg(long)]
    at_most: Option<usize>,
    /// How many threads look.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// What does not change from state to state.
pub(crate) struct Setting {
    entities: Vec<EntityId>,
    configs: Vec<Arc<Rules>>,
    mutant: Option<Mutant>,
    disturbances: u8,
    calm: Calm,
}

impl Setting {
    fn new(mutant: Option<Mutant>, disturbances: u8) -> Self {
        let base = || rules([template("default", 0)]);
        let configs = [
            base(),
            rules([template("default", 1)]),
            Rules { max_agents: 1, ..base() },
            Rules { auto_discover: false, ..base() },
        ];
        Self {
            entities: ["a", "b"].map(|id| EntityId::new(id).unwrap()).into(),
            configs: configs.map(Arc::new).into(),
            mutant,
            disturbances,
            calm: Calm::default(),
        }
    }

    /// Whether the agents of this entity overwrite their environment.
    fn hides(&self, entity: &EntityId) -> bool {
        *entity == self.entities[0]
    }
}

/// What may happen next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// What goes on by itself.
    Effect(usize),
    Hear,
    Ask,
    Deliver(usize),
    Second,
    Begin,
    WorldReturns,
    Obey(usize),
    /// What disturbs.
    Exit(usize, Exit),
    LeaderExits(usize),
    NotBorn(usize),
    Reuse(usize),
    Die,
    Come(usize),
    Leave(usize),
    WorldEnds,
    Lie(u8),
    Tell,
    Lose(usize),
    Repeat(usize),
    Configure(usize),
    Order(usize, Order),
    ResumeRollout,
    Delay,
}

impl Step {
    const fn disturbs(&self) -> bool {
        !matches!(
            self,
            Self::Effect(_)
                | Self::Hear
                | Self::Ask
                | Self::Deliver(_)
                | Self::Second
                | Self::Begin
                | Self::WorldReturns
                | Self::Obey(_)
        )
    }
}

impl Model for Setting {
    type State = State;
    type Action = Step;

    /// From nothing, and from where all agents run: what can go wrong then is fewer steps away.
    fn init_states(&self) -> Vec<State> {
        let mut state = State::new();
        Hands { state: &mut state, setting: self }.begin();
        let mut settled = state.clone();
        Calm::settle(self, &mut settled);
        vec![state, settled]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.watch.violation.is_some() {
            return;
        }
        Self::what_goes_on(state, steps);
        if state.disturbances < self.disturbances {
            self.what_disturbs(state, steps);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        if step.disturbs() {
            state.disturbances += 1;
        }
        self.take(&mut state, &step);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("safe", |_, state: &State| state.watch.violation.is_none()),
            Property::always("eventually stable", |setting: &Self, state: &State| {
                state.watch.violation.is_some() || setting.calm.comes(setting, state).is_ok()
            }),
        ]
    }
}

impl Setting {
    fn what_goes_on(state: &State, steps: &mut Vec<Step>) {
        if !state.world_up {
            steps.push(Step::WorldReturns);
        }
        for (index, process) in state.machine.processes.iter().enumerate() {
            // Who has lost its leader ends only when it is killed.
            if process.asked && process.life == Life::Agent {
                steps.push(Step::Obey(index));
            }
        }
        let Some(runner) = &state.runner else {
            steps.push(Step::Begin);
            return;
        };
        for (index, effect) in runner.effects.iter().enumerate() {
            let before = &runner.effects[..index];
            if before.iter().all(|earlier| earlier.run() != effect.run()) {
                steps.push(Step::Effect(index));
            }
        }
        if !runner.events.is_empty() {
            steps.push(Step::Hear);
        }
        let awaits = state.messages.iter().any(|message| message.asked.is_some());
        if !awaits {
            steps.push(Step::Ask);
        }
        steps.extend((0..state.messages.len()).map(Step::Deliver));
        // What a runner decided is done, and what happened is heard of, within a second.
        if runner.effects.is_empty() && runner.events.is_empty() {
            steps.push(Step::Second);
        }
    }

    fn what_disturbs(&self, state: &State, steps: &mut Vec<Step>) {
        for (index, process) in state.machine.processes.iter().enumerate() {
            if process.life.is_agent() {
                steps.push(Step::Exit(index, Exit::Code(1)));
                steps.push(Step::Exit(index, Exit::Code(0)));
                if process.life == Life::Agent {
                    steps.push(Step::LeaderExits(index));
                }
            } else if process.life.is_over() && !process.reused {
                steps.push(Step::Reuse(index));
            }
        }
        for index in 0..self.entities.len() {
            steps.push(match state.world[index] {
                Some(_) => Step::Leave(index),
                None => Step::Come(index),
            });
        }
        if state.world_up {
            steps.push(Step::WorldEnds);
        }
        let others = (0..self.configs.len()).filter(|config| *config != state.config);
        steps.extend(others.map(Step::Configure));
        let Some(runner) = &state.runner else { return };
        steps.push(Step::Die);
        for (index, effect) in runner.effects.iter().enumerate() {
            if matches!(effect, Effect::Bear(..)) {
                steps.push(Step::NotBorn(index));
            }
        }
        for index in 0..state.messages.len() {
            steps.extend([Step::Lose(index), Step::Repeat(index)]);
        }
        if state.world_up && state.messages.len() < 2 {
            steps.extend([Step::Lie(0), Step::Lie(1), Step::Tell]);
        }
        for (index, id) in self.entities.iter().enumerate() {
            let is_suspended = runner.orders.suspended.contains(id);
            let change = if is_suspended { Order::Resume } else { Order::Suspend };
            steps.extend([Step::Order(index, change), Step::Order(index, Order::Restart)]);
        }
        let paused = runner.orders.rollouts.get("default").is_some_and(|it| it.paused().is_some());
        if paused {
            steps.push(Step::ResumeRollout);
        }
        if !runner.effects.is_empty() || !runner.events.is_empty() {
            steps.push(Step::Delay);
        }
    }

    fn take(&self, state: &mut State, step: &Step) {
        match *step {
            Step::Second | Step::Delay => state.now = state.now + Duration::from_secs(1),
            Step::WorldReturns => state.world_up = true,
            Step::WorldEnds => {
                state.world_up = false;
                state.link_broken = true;
                state.away_since = state.now;
            }
            Step::Come(index) => {
                state.world[index] = Some(state.incarnations[index]);
                state.incarnations[index] = 1 - state.incarnations[index];
            }
            Step::Leave(index) => state.world[index] = None,
            Step::Obey(index) => state.end_of(index, Exit::Signal(15)),
            Step::Exit(index, exit) => state.end_of(index, exit),
            Step::LeaderExits(index) => state.lose_leader(index, Exit::Code(1)),
            Step::Reuse(index) => state.machine.processes[index].reused = true,
            Step::Lie(bits) => state.answer(self, bits),
            Step::Tell => state.say(self, None, u8::MAX),
            Step::Ask if state.world_up => state.answer(self, u8::MAX),
            Step::Effect(_)
            | Step::Hear
            | Step::Ask
            | Step::Deliver(_)
            | Step::Begin
            | Step::NotBorn(_)
            | Step::Die
            | Step::Lose(_)
            | Step::Repeat(_)
            | Step::Configure(_)
            | Step::Order(..)
            | Step::ResumeRollout => {}
        }
        self.have_runner(state, step);
    }

    /// The runner's part in a step.
    fn have_runner(&self, state: &mut State, step: &Step) {
        let world_up = state.world_up;
        let mut hands = Hands { state, setting: self };
        match *step {
            Step::Begin => hands.begin(),
            Step::Die => hands.die(),
            Step::Effect(index) => hands.carry_out(index),
            Step::NotBorn(index) => hands.fail_to_bear(index),
            Step::Hear => hands.hear_of_process(),
            Step::Second | Step::Delay => hands.converge(),
            Step::Ask if !world_up => hands.fail_call(),
            Step::Deliver(index) => {
                let Message { asked, entities } = hands.state.messages.remove(index);
                hands.hear_answer(heard(asked), &entities);
            }
            Step::Repeat(index) => {
                let Message { asked, entities } = hands.state.messages[index].clone();
                hands.hear_answer(heard(asked), &entities);
            }
            Step::Lose(index) => {
                if hands.state.messages.remove(index).asked.is_some() {
                    hands.fail_call();
                }
            }
            Step::Configure(config) => hands.configure(config),
            Step::Order(index, order) => hands.order(&self.entities[index].clone(), order),
            Step::ResumeRollout => hands.resume_rollout(),
            Step::Ask
            | Step::WorldReturns
            | Step::WorldEnds
            | Step::Come(_)
            | Step::Leave(_)
            | Step::Obey(_)
            | Step::Exit(..)
            | Step::LeaderExits(_)
            | Step::Reuse(_)
            | Step::Lie(_)
            | Step::Tell => {}
        }
    }
}

fn heard(asked: Option<Time>) -> Heard {
    asked.map_or(Heard::Told, Heard::Asked)
}

/// Checks, says what was found, and returns whether that is as it should be.
pub(crate) fn check(options: &Options) -> bool {
    if options.mutants {
        let mutants = <Mutant as clap::ValueEnum>::value_variants();
        let survivors = mutants.iter().filter(|mutant| !explore(options, Some(**mutant)));
        return survivors.count() == 0;
    }
    explore(options, options.mutant)
}

fn explore(options: &Options, mutant: Option<Mutant>) -> bool {
    let began = Instant::now();
    let usual = if mutant.is_some() { 3 } else { 1 };
    let setting = Setting::new(mutant, options.disturbances.unwrap_or(usual));
    let mut checker = setting.checker().threads(options.threads).finish_when(HasDiscoveries::Any);
    if let Some(most) = options.at_most {
        checker = checker.target_state_count(most);
    }
    let checker = checker.spawn_bfs().join();
    let states = checker.unique_state_count();
    let name = mutant.map_or("the planner".to_owned(), |mutant| format!("{mutant:?}"));
    let took = began.elapsed().as_secs_f64();
    let depth = checker.max_depth();
    let found = checker.discoveries().into_iter().next();
    let Some((_, path)) = found else {
        println!("{name}: {states} states, up to {depth} steps deep, {took:.1} s: no violation");
        return mutant.is_none() && states >= options.at_least;
    };
    let state = path.last_state().clone();
    let steps = path.into_actions();
    let why = state
        .watch
        .violation
        .clone()
        .or_else(|| checker.model().calm.comes(checker.model(), &state).err());
    let why = why.unwrap_or_default();
    println!("{name}: {states} states, {took:.1} s: {why}\n  after {steps:?}");
    mutant.is_some()
}
