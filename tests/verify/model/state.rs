//! One state of everything.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use runner::executor::Identity;
use runner::plan::{Agent, Entities, Entity, EntityId, Exit, Membership, Phase, Time};
use runner::state::Memory;

use super::Setting;
use super::mind::{Effect, Event, Runner};
use super::watch::{Watch, standing};
use crate::machine::{Life, Machine, Process};

/// Longer ago than this, in seconds, it makes no difference when something was: no rule of the model
/// looks back further.
const HORIZON: u64 = 12;

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) now: Time,
    pub(crate) world_up: bool,
    /// Since when the world is, or was, away.
    pub(crate) away_since: Time,
    /// The connection to it is, though that was not noticed.
    pub(crate) link_broken: bool,
    /// The incarnation of each entity that is in it.
    pub(crate) world: [Option<i64>; 2],
    /// The next ones.
    pub(crate) incarnations: [i64; 2],
    /// What it said and the runner has not heard.
    pub(crate) messages: Vec<Message>,
    pub(crate) machine: Machine,
    /// None: it is dead.
    pub(crate) runner: Option<Runner>,
    pub(crate) memory: Memory,
    pub(crate) config: usize,
    pub(crate) watch: Watch,
    pub(crate) disturbances: u8,
}

/// What the world said.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// When it was asked; none: it spoke by itself.
    pub(crate) asked: Option<Time>,
    pub(crate) entities: Arc<Entities>,
}

impl State {
    pub(crate) fn new() -> Self {
        let now = Time::from_millis(1_000_000);
        Self {
            now,
            world_up: true,
            away_since: Time::default(),
            link_broken: false,
            world: [Some(0), Some(0)],
            incarnations: [1, 1],
            messages: Vec::new(),
            machine: Machine::default(),
            runner: None,
            memory: Memory::default(),
            config: 0,
            watch: Watch::default(),
            disturbances: 0,
        }
    }

    /// The world answers a question. Asked before whatever else happens in the same second: no time
    /// passes between steps, and an answer tells nothing of what came after its question.
    pub(crate) fn answer(&mut self, setting: &Setting, bits: u8) {
        let asked = Time::from_origin(self.now - Time::from_millis(1));
        self.say(setting, Some(asked), bits);
    }

    /// The world says who of those with a bit is there.
    pub(crate) fn say(&mut self, setting: &Setting, asked: Option<Time>, bits: u8) {
        let there = self.world.iter().zip(&setting.entities).enumerate();
        let said = there.filter(|(index, _)| bits & (1 << index) != 0);
        let entities = said.filter_map(|(_, (incarnation, id))| {
            let entity = Entity::new(id.as_str(), "thing").unwrap();
            Some(Entity { spawn_tick: (*incarnation)?, ..entity })
        });
        let entities = Arc::new(entities.collect());
        self.messages.push(Message { asked, entities });
    }

    pub(crate) fn end(&mut self, identity: Identity, exit: Exit) {
        let index = self.machine.processes.iter().position(|it| it.identity == identity);
        if let Some(index) = index {
            self.end_of(index, exit);
        }
    }

    /// A process ends, with all of its tree.
    pub(crate) fn end_of(&mut self, index: usize, exit: Exit) {
        let (world_up, away_since) = (self.world_up, self.away_since);
        let process = &mut self.machine.processes[index];
        let exit = match process.life {
            Life::Leaderless(exit) => exit,
            Life::Gate | Life::Agent | Life::Over(_) => exit,
        };
        process.life = Life::Over(exit);
        let identity = process.identity;
        let run = process.body.run;
        let Some(runner) = &mut self.runner else { return };
        // Only who was there before the world went was taken along by it.
        let began = runner.observed.agents.values().find(|agent| agent.run() == Some(run));
        let since = began.filter(|agent| matches!(agent.phase, Phase::Running { .. }));
        let since = since.and_then(Agent::since);
        process.taken_along =
            !world_up && exit != Exit::Signal(9) && since.is_some_and(|since| since < away_since);
        if runner.known.get(&run) == Some(&identity) {
            runner.events.push_back(Event::Gone(run, exit));
        }
    }

    /// The leader of a process's tree ends, and leaves others behind.
    pub(crate) fn lose_leader(&mut self, index: usize, exit: Exit) {
        let process = &mut self.machine.processes[index];
        process.life = Life::Leaderless(exit);
        let (identity, run) = (process.identity, process.body.run);
        let Some(runner) = &mut self.runner else { return };
        if runner.known.get(&run) == Some(&identity) {
            runner.events.push_back(Event::LeaderExited(run, exit));
        }
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// How long ago that was, in either direction, as far as it makes a difference.
    fn ago(&self, time: Time) -> (u64, u64) {
        let seconds = |duration: std::time::Duration| duration.as_secs().min(HORIZON);
        (seconds(self.now - time), seconds(time - self.now))
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

/// Equal for states from which the same follows: times count from now, runs by whose they are.
impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.world_up, self.link_broken, self.world, self.incarnations).hash(hasher);
        (self.config, self.disturbances, self.watch.violation.is_some()).hash(hasher);
        if !self.world_up {
            self.ago(self.away_since).hash(hasher);
        }
        for message in &self.messages {
            message.asked.map(|asked| self.ago(asked)).hash(hasher);
            hash_entities(&message.entities, hasher);
        }
        for process in &self.machine.processes {
            let Process { body, life, asked, reused, taken_along, .. } = process;
            (&body.entity, body.incarnation, &body.spec.argv).hash(hasher);
            (life, asked, reused, taken_along).hash(hasher);
            self.memory.identities.contains_key(&body.run).hash(hasher);
        }
        for (id, answers) in &self.watch.hearsay.lacking {
            (id, (*answers).min(3)).hash(hasher);
        }
        self.watch.hearsay.empty_since.map(|since| self.ago(since)).hash(hasher);
        self.watch.taken_along.hash(hasher);
        self.runner.is_some().hash(hasher);
        if let Some(runner) = &self.runner {
            return self.hash_runner(runner, hasher);
        }
        self.hash_agents(self.memory.agents.iter(), hasher);
        self.memory.orders.suspended.hash(hasher);
        for id in self.memory.arrivals.keys() {
            id.hash(hasher);
        }
    }
}

impl State {
    fn hash_runner<H: Hasher>(&self, runner: &Runner, hasher: &mut H) {
        self.hash_agents(runner.observed.agents.iter(), hasher);
        let contact = runner.contact();
        contact.reachable.hash(hasher);
        for ended in runner.observed.agents.values().filter_map(|agent| agent.ended()) {
            (ended.at <= contact.since).hash(hasher);
        }
        contact.asked.map(|asked| self.ago(asked)).hash(hasher);
        contact.disrupted.map(|disrupted| self.ago(disrupted)).hash(hasher);
        if let Some(membership) = &runner.membership {
            self.hash_membership(membership, hasher);
        }
        runner.orders.suspended.hash(hasher);
        for (id, asked) in &runner.orders.restarts {
            (id, self.ago(*asked)).hash(hasher);
        }
        let rollout = runner.orders.rollouts.get("default");
        rollout.map(|it| (it.is_under_way(), it.paused().is_some())).hash(hasher);
        let of = |run| self.machine.processes.iter().position(|it| it.body.run == run);
        for effect in &runner.effects {
            match effect {
                Effect::Bear(start, id) => (0, id, start.attempts, &start.spec.argv).hash(hasher),
                Effect::Record(run) => (1, of(*run)).hash(hasher),
                Effect::Open(run) => (2, of(*run)).hash(hasher),
                Effect::Terminate(run) => (3, of(*run)).hash(hasher),
                Effect::Kill(run) => (4, of(*run)).hash(hasher),
            }
        }
        for event in &runner.events {
            match event {
                Event::Started(run) => (0, of(*run)).hash(hasher),
                Event::NotStarted(run) => (1, of(*run)).hash(hasher),
                Event::LeaderExited(run, exit) => (2, of(*run), exit).hash(hasher),
                Event::Gone(run, exit) => (3, of(*run), exit).hash(hasher),
            }
        }
    }

    fn hash_agents<'a, H: Hasher>(
        &self,
        agents: impl Iterator<Item = (&'a EntityId, &'a Agent)>,
        hasher: &mut H,
    ) {
        for (id, agent) in agents {
            let (phase, at) = standing(&agent.phase);
            (id, agent.incarnation, agent.attempts, phase).hash(hasher);
            at.map(|at| self.ago(at)).hash(hasher);
            agent.spec.argv.hash(hasher);
            if let Phase::Stopping(stopping) = &agent.phase {
                std::mem::discriminant(&stopping.why).hash(hasher);
            }
            if let Some(ended) = agent.ended() {
                (self.ago(ended.at), self.ago(ended.started)).hash(hasher);
                ended.how.word().hash(hasher);
            }
            let of = |run| self.machine.processes.iter().position(|it| it.body.run == run);
            agent.run().and_then(of).hash(hasher);
        }
    }

    fn hash_membership<H: Hasher>(&self, membership: &Membership, hasher: &mut H) {
        for (id, member) in membership.iter() {
            (id, member.present(), member.missing().min(3)).hash(hasher);
            (member.entity.spawn_tick, member.arrival.name()).hash(hasher);
        }
        for id in membership.awaited() {
            (id, membership.missing(id).map(|answers| answers.min(3))).hash(hasher);
        }
        membership.hold().map(|hold| (self.ago(hold.since), hold.agents)).hash(hasher);
        membership.is_settled().hash(hasher);
    }
}

fn hash_entities<H: Hasher>(entities: &Entities, hasher: &mut H) {
    for entity in entities.iter() {
        (&entity.id, entity.spawn_tick).hash(hasher);
    }
}
