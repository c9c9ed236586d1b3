//! What follows from a state when nothing disturbs any more: the world answers, processes do what
//! they are told, time passes. Each state must lead to rest, with an agent for each entity that
//! should have one and for nobody else.

use std::collections::HashSet;
use std::sync::Mutex;

use runner::plan::{Desired, Intent};

use super::state::State;
use super::{Setting, Step};
use crate::machine::Life;
use crate::promise::Scene;
use crate::rules::site;

/// Calm seconds after which there must be rest: the longest hold, delay and confirmation one after
/// the other are fewer.
const MOST_SECONDS: usize = 60;

/// Calm seconds after which there is rest where nothing has happened before.
const SETTLED_SECONDS: usize = 3;

/// States that are known to lead to rest. What follows from a state is one path, so each of them
/// is walked once.
#[derive(Debug, Default)]
pub(crate) struct Calm {
    known: Mutex<HashSet<u64>>,
}

impl Calm {
    /// Lets a state come to rest.
    pub(crate) fn settle(setting: &Setting, state: &mut State) {
        for _ in 0..SETTLED_SECONDS {
            second(setting, state);
        }
    }

    /// Whether a state leads to rest, or else what is wrong.
    pub(crate) fn comes(&self, setting: &Setting, state: &State) -> Result<(), String> {
        let mut state = state.clone();
        state.disturbances = 0;
        let mut path = Vec::new();
        for _ in 0..MOST_SECONDS {
            let hash = state.fingerprint();
            if self.known.lock().unwrap().contains(&hash) {
                self.known.lock().unwrap().extend(path);
                return Ok(());
            }
            path.push(hash);
            let acted = second(setting, &mut state);
            if let Some(violation) = &state.watch.violation {
                return Err(violation.clone());
            }
            let waits = state.runner.as_ref().is_some_and(|it| it.wake_at.is_some());
            if acted == 0 && !waits && is_at_rest(setting, &state).is_ok() {
                self.known.lock().unwrap().extend(path);
                return Ok(());
            }
        }
        is_at_rest(setting, &state)?;
        Err("it never rests".to_owned())
    }
}

/// One second in which all goes well. Returns how many actions were taken in it.
fn second(setting: &Setting, state: &mut State) -> usize {
    if state.runner.is_none() {
        setting.take(state, &Step::Begin);
    }
    let mut acted = work(setting, state);
    setting.take(state, &Step::WorldReturns);
    state.messages.clear();
    for step in [Step::Ask, Step::Deliver(0), Step::Second] {
        setting.take(state, &step);
        acted += state.runner.as_ref().map_or(0, |runner| runner.acted);
        acted += work(setting, state);
    }
    acted
}

/// All that was decided is done, and what comes of it is heard.
fn work(setting: &Setting, state: &mut State) -> usize {
    let mut acted = 0;
    loop {
        let runner = state.runner.as_ref().unwrap();
        let is_told = |index: &usize| {
            let process = &state.machine.processes[*index];
            process.asked && process.life == Life::Agent
        };
        let step = if !runner.effects.is_empty() {
            Step::Effect(0)
        } else if let Some(told) = (0..state.machine.processes.len()).find(is_told) {
            Step::Obey(told)
        } else if runner.events.is_empty() {
            return acted;
        } else {
            Step::Hear
        };
        setting.take(state, &step);
        if step == Step::Hear {
            acted += state.runner.as_ref().map_or(0, |runner| runner.acted);
        }
    }
}

/// Whether each entity that should have an agent has one, and nobody else.
fn is_at_rest(setting: &Setting, state: &State) -> Result<(), String> {
    let Some(runner) = &state.runner else { return Err("it is dead".to_owned()) };
    let rules = &setting.configs[state.config];
    let membership = runner.membership.as_ref();
    let desired = Desired::new(Intent::Run, rules, &site(), membership, &runner.orders);
    let entities = setting.entities.iter().zip(state.world);
    let world = entities.filter_map(|(id, incarnation)| Some((id.clone(), incarnation?))).collect();
    let (observed, machine) = (&runner.observed, &state.machine);
    Scene { desired: &desired, observed, machine, world: &world }.is_kept()
}
