//! A small world for the tests of this room: rules, answers, and an executor that does at once
//! what it is asked.

#![cfg_attr(fuzzing, expect(dead_code, reason = "the tests use the rest of it"))]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that panics has said what is wrong")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::*;

pub(crate) const SERVER: &str = "world:50051";

pub(crate) fn template(name: &str) -> Template {
    Template {
        name: name.to_owned(),
        launch: Launch::Module {
            launcher: Launcher::Argv(["uv", "run", "python", "-m"].map(str::to_owned).to_vec()),
            module: "agents.random_agent".to_owned(),
        },
        args: Vec::new(),
        env: BTreeMap::new(),
        cwd: ".".into(),
        matcher: None,
        restart: RestartPolicy::OnFailure,
        grace: Duration::from_secs(5),
        confinement: Confinement::default(),
        rollout: RolloutPolicy::default(),
        faulthandler: false,
        pod: None,
    }
}

/// A template whose agents run in the synced project in `dir`.
pub(crate) fn synced(dir: &str) -> Template {
    let module = "agents.random_agent".to_owned();
    let launch = Launch::Module { launcher: Launcher::UvSync, module };
    Template { launch, cwd: dir.into(), ..template("default") }
}

pub(crate) fn rules(templates: Vec<Template>) -> Rules {
    Rules {
        templates: templates.into_iter().map(Arc::new).collect(),
        auto_discover: true,
        jit: Jit { enabled: true, template: "default".to_owned() },
        backoff: Backoff {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(30),
            multiplier: 2.0,
            max_attempts: 5,
            reset: Duration::from_secs(60),
        },
        lease_health: None,
        max_agents: 1000,
        spawn: Spawn::UNBOUNDED,
        removal: Removal { confirmations: 3, hold_fraction: 0.5, hold: Duration::from_secs(30) },
    }
}

pub(crate) fn entity(id: &str) -> Entity {
    Entity::new(id, "forager").unwrap()
}

pub(crate) fn site() -> Site {
    Site { server: SERVER.to_owned(), runner: "/bin/runner".to_owned() }
}

/// Everything that one runner knows, and the means to move it on by hand.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) rules: Arc<Rules>,
    pub(crate) intent: Intent,
    pub(crate) orders: Orders,
    pub(crate) membership: Option<Membership>,
    pub(crate) observed: Observed,
    pub(crate) now: Time,
}

impl Scene {
    pub(crate) fn new(rules: Rules) -> Self {
        let mut scene = Self {
            rules: Arc::new(rules),
            intent: Intent::Run,
            orders: Orders::default(),
            membership: None,
            observed: Observed::default(),
            now: Time::from_millis(1_000_000),
        };
        scene.change_rules(|_| ());
        scene
    }

    /// A scene with a default template, whose world has these entities, and where all agents run.
    pub(crate) fn running(ids: &[&str]) -> Self {
        let mut scene = Self::new(rules(vec![template("default")]));
        scene.answer(ids.iter().map(|id| entity(id)));
        scene.settle();
        scene
    }

    pub(crate) fn change_rules(&mut self, change: impl FnOnce(&mut Rules)) {
        let progress = progress(&self.desired(), &self.observed, self.now);
        change(Arc::make_mut(&mut self.rules));
        let are_ready = |name: &str| progress.get(name).is_some_and(Progress::is_complete);
        Arc::make_mut(&mut self.orders.rollouts).update(&self.rules, are_ready, self.now);
    }

    pub(crate) fn steer(&mut self, template: &str, steer: Steer) {
        Arc::make_mut(&mut self.orders.rollouts).steer(template, steer, self.now).unwrap();
    }

    pub(crate) fn change_template(&mut self, name: &str, change: impl FnOnce(&mut Template)) {
        self.change_rules(|rules| {
            let found = rules.templates.iter_mut().find(|t| t.name == name).unwrap();
            change(Arc::make_mut(found));
        });
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// The world answers a question that was asked just now.
    pub(crate) fn answer(&mut self, entities: impl IntoIterator<Item = Entity>) {
        let heard = Heard::Asked(self.now);
        self.observed.contact.reachable = true;
        self.observed.contact.asked = Some(self.now);
        self.hear(heard, entities);
    }

    /// The world answers a question that was asked at this time.
    pub(crate) fn hear_asked_at(&mut self, at: Time, entities: impl IntoIterator<Item = Entity>) {
        self.hear(Heard::Asked(at), entities);
    }

    /// The world streams its entities.
    pub(crate) fn tell(&mut self, entities: impl IntoIterator<Item = Entity>) {
        self.hear(Heard::Told, entities);
    }

    fn hear(&mut self, heard: Heard, entities: impl IntoIterator<Item = Entity>) {
        let entities = Arc::new(entities.into_iter().collect());
        let answer = Answer { heard, at: self.now, entities, refused: Arc::default() };
        let live = self.observed.live();
        match &self.membership {
            None => self.membership = Some(Membership::first(&answer, &self.rules)),
            Some(membership) => {
                let before = self.desired();
                let mut membership = membership.clone();
                let changed = membership.observe(&answer, &self.rules, &live);
                self.membership = Some(membership);
                assert!(changed || before == self.desired(), "a change went unsaid");
            }
        }
        self.observed.heard(&answer);
    }

    /// A call to the world fails.
    pub(crate) fn lose_world(&mut self) {
        self.observed.contact.reachable = false;
        self.observed.contact.disrupted = Some(self.now);
        self.observed.disrupted();
        if let Some(membership) = &mut self.membership {
            membership.disrupted();
        }
    }

    pub(crate) fn desired(&self) -> Desired {
        Desired::new(self.intent, &self.rules, &site(), self.membership.as_ref(), &self.orders)
    }

    pub(crate) fn plan(&self) -> Plan {
        plan(&self.desired(), &self.observed, self.now)
    }

    /// Plans and takes note, but no process does anything yet.
    pub(crate) fn apply(&mut self) -> Plan {
        let plan = self.plan();
        for (name, turn) in &plan.turns {
            Arc::make_mut(&mut self.orders.rollouts).note(name, turn, self.now);
        }
        for action in &plan.actions {
            self.observed.note(action, self.now);
        }
        plan
    }

    /// Plans and carries out until nothing is left to do; every process obeys at once.
    pub(crate) fn settle(&mut self) -> String {
        let mut all = String::new();
        for _ in 0..20 {
            let plan = self.apply();
            if plan.actions.is_empty() {
                return all;
            }
            for action in plan.actions {
                writeln!(all, "{} {}: {}", action.verb.name(), action.id, action.verb).unwrap();
                let agent = self.observed.agents.get_mut(&action.id);
                match action.verb {
                    Verb::Start(start) => {
                        let pid = u32::try_from(start.run.0 + 100).unwrap();
                        let place = Place::Process { pid };
                        agent.unwrap().started(place, self.now);
                    }
                    Verb::Stop { .. } | Verb::Kill { .. } => {
                        agent.unwrap().gone(Outcome::Exit(Exit::Signal(15)), self.now);
                    }
                    Verb::Forget { .. }
                    | Verb::BackOff { .. }
                    | Verb::AwaitWorld { .. }
                    | Verb::Complete { .. }
                    | Verb::Fail { .. } => {}
                }
            }
        }
        panic!("does not settle:\n{all}");
    }

    pub(crate) fn agent(&mut self, id: &str) -> &mut Agent {
        self.observed.agents.get_mut(id).unwrap()
    }

    pub(crate) fn exit(&mut self, id: &str, exit: Exit) {
        let now = self.now;
        self.agent(id).gone(Outcome::Exit(exit), now);
    }

    pub(crate) fn phase(&self, id: &str) -> &'static str {
        match self.observed.agents.get(id).map(|agent| &agent.phase) {
            None => "none",
            Some(Phase::Starting { .. }) => "Starting",
            Some(Phase::Running { .. }) => "Running",
            Some(Phase::Stopping(_)) => "Stopping",
            Some(Phase::Stopped { .. }) => "Stopped",
            Some(Phase::Exited(_)) => "Exited",
            Some(Phase::BackingOff { .. }) => "BackingOff",
            Some(Phase::AwaitingWorld { .. }) => "AwaitingWorld",
            Some(Phase::Completed { .. }) => "Completed",
            Some(Phase::Failed { .. }) => "Failed",
        }
    }
}
