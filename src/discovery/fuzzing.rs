//! Any bytes as what a world says, again and again, while agents live and die.

#![expect(clippy::missing_panics_doc, reason = "a failed check is what it is for")]

use std::collections::BTreeMap;
use std::time::Duration;

use prost::bytes::Bytes;

use super::convert::{Listing, apply};
use crate::fuzzing::frames;
use crate::plan::fixture::{Scene, rules, template};
use crate::plan::safety::check;
use crate::plan::{
    Agent, Contact, Entities, EntityId, Exit, LeaseHealth, Matcher, Outcome, Phase, Place, Plan,
    Refused, Spawn, StopReason, Time, Verb,
};

/// More entities than an input has room for would show nothing that fewer do not.
const LIMIT: usize = 64;

/// No plan that follows from what a world says is unsafe.
pub fn answer(data: &[u8]) {
    let mut story = Story::new();
    for (what, content) in frames(data) {
        story.happens(what, content);
        let plan = story.scene.plan();
        assert_eq!(check(&story.scene, &plan), Ok(()), "{plan}");
        story.check_removals(&plan);
        story.scene.apply();
    }
}

struct Story {
    scene: Scene,
    entities: Entities,
    /// The questions in a row whose answers lack an entity that was there.
    lacking: BTreeMap<EntityId, u32>,
    /// Since when all answers were empty, if nobody's removal was in doubt before.
    empty_since: Option<Time>,
}

impl Story {
    fn new() -> Self {
        let mut wolves = template("wolves");
        wolves.matcher = Some(Matcher { types: ["wolf".to_owned()].into(), tags: [].into() });
        let mut rules = rules(vec![template("default"), template("alice"), wolves]);
        rules.lease_health = Some(LeaseHealth { grace: Duration::from_secs(30) });
        Self {
            scene: Scene::new(rules),
            entities: Entities::default(),
            lacking: BTreeMap::new(),
            empty_since: None,
        }
    }

    fn happens(&mut self, what: u8, content: &[u8]) {
        let byte = |at: usize| content.get(at).copied().unwrap_or(0);
        match what % 8 {
            0 => self.answer(content),
            1 => self.tell(content),
            2 => {
                let millis = u16::from_le_bytes([byte(0), byte(1)]);
                self.scene.pass(Duration::from_millis(u64::from(millis)));
            }
            3 => self.lose_world(),
            4 => {
                for pair in content.chunks(2) {
                    self.process(pair);
                }
            }
            5 => self.scene.change_rules(|rules| {
                rules.max_agents = usize::from(byte(0) % 8) + 1;
                rules.spawn = Spawn {
                    max_parallel: usize::from(byte(1) % 8) + 1,
                    per_second: u32::from(byte(2) % 8) + 1,
                };
                rules.auto_discover = byte(3) % 2 == 0;
                rules.jit.enabled = byte(4) % 2 == 0;
            }),
            6 => self.scene.change_template("default", |template| {
                template.args = vec![byte(0).to_string()];
            }),
            _ => self.order(byte(0), byte(1)),
        }
    }

    /// The world answers a question; or what it says is none, and counts as a failure.
    fn answer(&mut self, content: &[u8]) {
        let Ok(listing) = Listing::read(Bytes::copy_from_slice(content), LIMIT) else {
            return self.lose_world();
        };
        let is_in_doubt = self.scene.membership.as_ref().is_some_and(|it| it.hold().is_some());
        self.entities = listing.entities;
        for (id, count) in &mut self.lacking {
            *count = if self.entities.get(id.as_str()).is_some() { 0 } else { *count + 1 };
        }
        self.note_present();
        if !self.entities.is_empty() {
            self.empty_since = None;
        } else if !is_in_doubt {
            self.empty_since = self.empty_since.or(Some(self.scene.now));
        }
        self.scene.answer(self.entities.iter().cloned());
    }

    /// The world streams something. It does so to those only whom it has answered.
    fn tell(&mut self, event: &[u8]) {
        let event = vec![Bytes::copy_from_slice(event)];
        if apply(event, &mut self.entities, &mut Refused::default(), LIMIT).is_err() {
            return self.lose_world();
        }
        self.note_present();
        if self.scene.membership.is_some() {
            self.scene.tell(self.entities.iter().cloned());
        }
    }

    fn note_present(&mut self) {
        self.lacking.extend(self.entities.iter().map(|entity| (entity.id.clone(), 0)));
    }

    fn lose_world(&mut self) {
        self.scene.lose_world();
        self.lacking.values_mut().for_each(|count| *count = 0);
        self.empty_since = None;
    }

    /// Lets the process of an agent do what it can do in its phase.
    fn process(&mut self, pair: &[u8]) {
        let (Some(which), what) = (pair.first(), pair.get(1).copied().unwrap_or(0)) else { return };
        let now = self.scene.now;
        let count = self.scene.observed.agents.len().max(1);
        let agents = &mut self.scene.observed.agents;
        let Some(agent) = agents.values_mut().nth(usize::from(*which) % count) else { return };
        let starts = agent.starting_since().is_some();
        if !agent.is_live() || starts != (what % 8 < 2) {
            return;
        }
        match what % 8 {
            0 => agent.started(Place::Process { pid: 7 }, now),
            1 => agent.gone(Outcome::NotStarted("no".to_owned()), now),
            2 => leader_exits(agent, now),
            3 => agent.gone(Outcome::Exit(Exit::Signal(9)), now),
            _ => agent.gone(Outcome::Exit(Exit::Code(i32::from(what >> 3))), now),
        }
    }

    fn order(&mut self, what: u8, which: u8) {
        let ids: Vec<EntityId> = self.entities.iter().map(|entity| entity.id.clone()).collect();
        let Some(id) = ids.get(usize::from(which) % ids.len().max(1)).cloned() else { return };
        let orders = &mut self.scene.orders;
        match what % 4 {
            0 => drop(orders.suspended.insert(id)),
            1 => drop(orders.suspended.remove(&id)),
            2 => drop(orders.restarts.insert(id, self.scene.now)),
            // Another world.
            _ => {
                self.scene.membership = None;
                self.scene.observed.contact = Contact::default();
                self.entities = Entities::default();
                self.lose_world();
                self.lacking.clear();
            }
        }
    }

    /// Nobody is taken for gone by one answer, or by empty ones in a short time.
    fn check_removals(&self, plan: &Plan) {
        let Scene { rules, observed, now, .. } = &self.scene;
        for action in &plan.actions {
            let is_running = observed
                .agents
                .get(&action.id)
                .is_some_and(|agent| matches!(agent.phase, Phase::Running { .. }));
            let Verb::Stop { why: StopReason::EntityGone, .. } = action.verb else { continue };
            let Some(lacking) = self.lacking.get(&action.id).filter(|_| is_running) else {
                continue;
            };
            assert!(*lacking >= rules.removal.confirmations, "{} is gone early", action.id);
            if let Some(since) = self.empty_since {
                assert!(*now - since >= rules.removal.hold, "{} is gone as all are", action.id);
            }
        }
    }
}

fn leader_exits(agent: &mut Agent, now: Time) {
    agent.leader_exited(Exit::Code(1), now);
}
