//! The processes of one machine, as its kernel would keep them: what the model and the simulator
//! hold the runner's word against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use runner::executor::Identity;
use runner::executor::local::survey::{Found, INSTANCE, RUN, Survey};
use runner::plan::{AgentSpec, Arrival, EntityId, Exit, RunId};

/// All processes that the runner has to do with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) processes: Vec<Process>,
    births: u32,
}

/// The process of one run, with its tree.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself, true of any life")]
pub(crate) struct Process {
    pub(crate) identity: Identity,
    pub(crate) body: Arc<Body>,
    pub(crate) life: Life,
    /// It was asked to end.
    pub(crate) asked: bool,
    /// It overwrote its environment, so that nobody finds it by its markers.
    pub(crate) hides: bool,
    /// Its number is another's by now.
    pub(crate) reused: bool,
    /// It ended while the world was away that it had been started in.
    pub(crate) taken_along: bool,
}

/// What a process is told at its birth, and carries.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Body {
    pub(crate) run: RunId,
    pub(crate) entity: EntityId,
    pub(crate) incarnation: i64,
    pub(crate) arrival: Arrival,
    pub(crate) template: String,
    pub(crate) spec: Arc<AgentSpec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Life {
    /// It waits to become an agent, and ends if its runner does.
    Gate,
    /// It acts for its entity.
    Agent,
    /// Its leader has ended like this, and others of its tree live on.
    Leaderless(Exit),
    /// Nobody of it lives.
    Over(Exit),
}

impl Life {
    /// Whether it acts for its entity.
    pub(crate) const fn is_agent(self) -> bool {
        matches!(self, Self::Agent | Self::Leaderless(_))
    }

    pub(crate) const fn is_over(self) -> bool {
        matches!(self, Self::Over(_))
    }
}

impl Machine {
    /// A gate is born.
    pub(crate) fn bear(&mut self, body: Body, hides: bool) -> Identity {
        self.births += 1;
        let identity = Identity { pid: self.births, start: u64::from(self.births) };
        self.processes.push(Process {
            identity,
            body: Arc::new(body),
            life: Life::Gate,
            asked: false,
            hides,
            reused: false,
            taken_along: false,
        });
        identity
    }

    /// The gate of a run becomes its agent.
    ///
    /// # Errors
    /// If the entity has an agent already.
    pub(crate) fn open(&mut self, run: RunId) -> Result<(), String> {
        let Some(process) = self.of_run(run) else { return Ok(()) };
        let entity = process.body.entity.clone();
        process.life = Life::Agent;
        match self.agents_of(&entity) {
            0 | 1 => Ok(()),
            agents => Err(format!("{agents} agents of {entity} live at once")),
        }
    }

    pub(crate) fn of_run(&mut self, run: RunId) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.body.run == run)
    }

    /// The process that bears this number, alive or not yet replaced.
    pub(crate) fn with(&mut self, identity: Identity) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.identity == identity)
    }

    pub(crate) fn agents_of(&self, entity: &EntityId) -> usize {
        let of_entity = |process: &&Process| process.body.entity == *entity;
        self.processes.iter().filter(of_entity).filter(|process| process.life.is_agent()).count()
    }

    /// All that act for their entities.
    pub(crate) fn agents(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| process.life.is_agent())
    }

    /// The runner is gone, and so is who waited for its word.
    pub(crate) fn close_gates(&mut self) {
        self.processes.retain(|process| process.life != Life::Gate);
    }

    /// Nobody will ask any more how these ended.
    pub(crate) fn bury(&mut self) {
        self.processes.retain(|process| !process.life.is_over());
    }

    /// What a look at `/proc` shows, of which those are known.
    pub(crate) fn survey(&self, known: &BTreeSet<Identity>) -> Survey {
        let mut survey = Survey::default();
        for process in self.agents() {
            // A look at a process is one at its leader.
            let leads = process.life == Life::Agent;
            if leads && known.contains(&process.identity) {
                survey.living.insert(process.identity);
            } else if leads && !process.hides {
                survey.found.push(process.found());
            }
        }
        survey
    }
}

impl Process {
    fn found(&self) -> Found {
        let Body { run, incarnation, arrival, template, spec, .. } = &*self.body;
        let names: Vec<_> = spec.env.keys().map(String::as_str).collect();
        let mut env: BTreeMap<_, _> =
            spec.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let markers = [
            (INSTANCE, "verify".to_owned()),
            (RUN, run.0.to_string()),
            ("RUNNER_INCARNATION", incarnation.to_string()),
            ("RUNNER_ARRIVAL", arrival.name().to_owned()),
            ("RUNNER_TEMPLATE", template.clone()),
            ("RUNNER_ARGV", serde_json::to_string(&spec.argv).unwrap()),
            ("RUNNER_ENV", names.join(",")),
            ("RUNNER_CWD", spec.cwd.to_string_lossy().into_owned()),
            ("RUNNER_CONFINEMENT", spec.confinement.to_string()),
        ];
        env.extend(markers.map(|(name, value)| (name.to_owned(), value)));
        Found {
            identity: self.identity,
            gate: false,
            env,
            argv: spec.argv.clone(),
            cwd: spec.cwd.clone(),
        }
    }
}
