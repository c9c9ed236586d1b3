//! Whatever happens, in whatever order: the plan is safe, and when things stop happening it
//! leads to one agent for each entity and then to nothing.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a happening that does not fit the phase does not happen"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::super::super::fixture::{Scene, entity, rules, template};
use super::super::super::membership::Member;
use super::super::super::*;

const IDS: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "frank"];

/// What may happen to a runner.
#[derive(Clone, Debug)]
enum Happening {
    Pass(u64),
    Answer(u8),
    Tell(u8),
    LoseWorld,
    NewIncarnation(usize),
    LeaseElsewhere(usize),
    Start(usize),
    StartFails(usize),
    Exit(usize, i32),
    LeaderExits(usize),
    Gone(usize),
    EditTemplate(u8),
    MaxAgents(usize),
    SwitchServer,
}

fn happening() -> impl Strategy<Value = Happening> {
    let id = 0..IDS.len();
    prop_oneof![
        4 => (0_u64..40_000).prop_map(Happening::Pass),
        4 => any::<u8>().prop_map(Happening::Answer),
        1 => any::<u8>().prop_map(Happening::Tell),
        2 => Just(Happening::LoseWorld),
        1 => id.clone().prop_map(Happening::NewIncarnation),
        1 => id.clone().prop_map(Happening::LeaseElsewhere),
        6 => id.clone().prop_map(Happening::Start),
        1 => id.clone().prop_map(Happening::StartFails),
        4 => (id.clone(), 0..2).prop_map(|(id, code)| Happening::Exit(id, code)),
        1 => id.clone().prop_map(Happening::LeaderExits),
        4 => id.prop_map(Happening::Gone),
        1 => (0_u8..4).prop_map(Happening::EditTemplate),
        1 => (1_usize..8).prop_map(Happening::MaxAgents),
        1 => Just(Happening::SwitchServer),
    ]
}

struct Story {
    scene: Scene,
    spawn_ticks: [i64; IDS.len()],
    leased: [bool; IDS.len()],
}

impl Story {
    fn new() -> Self {
        let mut rules = rules(vec![template("default"), template("alice")]);
        rules.lease_health = Some(LeaseHealth { grace: Duration::from_secs(30) });
        Self { scene: Scene::new(rules), spawn_ticks: [0; IDS.len()], leased: [false; IDS.len()] }
    }

    /// The entities whose bits are set.
    fn entities(&self, bits: u8) -> Vec<Entity> {
        let chosen = (0..IDS.len()).filter(|n| bits & (1 << n) != 0);
        chosen
            .map(|n| Entity {
                spawn_tick: self.spawn_ticks[n],
                leased: self.leased[n],
                ..entity(IDS[n])
            })
            .collect()
    }

    fn happens(&mut self, happening: &Happening) {
        let now = self.scene.now;
        match *happening {
            Happening::Pass(millis) => self.scene.pass(Duration::from_millis(millis)),
            Happening::Answer(bits) => self.scene.answer(self.entities(bits)),
            Happening::Tell(bits) => {
                if self.scene.membership.is_some() {
                    self.scene.tell(self.entities(bits));
                }
            }
            Happening::LoseWorld => self.scene.lose_world(),
            Happening::NewIncarnation(n) => self.spawn_ticks[n] += 1,
            Happening::LeaseElsewhere(n) => self.leased[n] = !self.leased[n],
            Happening::EditTemplate(n) => self.scene.change_template("alice", |template| {
                template.args = vec![n.to_string()];
            }),
            Happening::MaxAgents(n) => self.scene.change_rules(|rules| rules.max_agents = n),
            Happening::SwitchServer => {
                self.scene.membership = None;
                self.scene.observed.contact = Contact::default();
            }
            Happening::Start(n)
            | Happening::StartFails(n)
            | Happening::Exit(n, _)
            | Happening::LeaderExits(n)
            | Happening::Gone(n) => {
                if let Some(agent) = self.scene.observed.agents.get_mut(IDS[n]) {
                    process_event(agent, happening, now);
                }
            }
        }
    }
}

/// Lets a process do what it can do in its phase.
fn process_event(agent: &mut Agent, happening: &Happening, now: Time) {
    let (starting, running) = (
        matches!(agent.phase, Phase::Starting { .. }),
        matches!(agent.phase, Phase::Running { .. }),
    );
    match *happening {
        Happening::Start(_) if starting => agent.started(7, now),
        Happening::StartFails(_) if starting => {
            agent.gone(Outcome::NotStarted("no".to_owned()), now);
        }
        Happening::Exit(_, code) if running => agent.gone(Outcome::Exit(Exit::Code(code)), now),
        Happening::LeaderExits(_) if running => agent.leader_exited(Exit::Code(1), now),
        Happening::Gone(_) if matches!(agent.phase, Phase::Stopping(_)) => {
            agent.gone(Outcome::Exit(Exit::Signal(9)), now);
        }
        _ => {}
    }
}

/// What no plan may ever do.
fn check(scene: &Scene, plan: &Plan) -> Result<(), TestCaseError> {
    let mut ids = BTreeSet::new();
    let mut runs = BTreeSet::new();
    let mut starts_began = false;
    let live = scene.observed.live();
    let starts = plan.actions.iter().filter(|a| matches!(a.verb, Verb::Start(_))).count();
    prop_assert!(
        starts == 0 || live.len() + starts <= scene.rules.max_agents,
        "{starts} started above max_agents beside {}",
        live.len()
    );
    for Action { id, verb } in &plan.actions {
        prop_assert!(ids.insert(id.clone()), "two actions for {id}");
        let agent = scene.observed.agents.get(id);
        match verb {
            Verb::Start(start) => {
                prop_assert!(start.run.0 >= scene.observed.next_run, "run {} again", start.run);
                prop_assert!(runs.insert(start.run), "two runs {}", start.run);
                starts_began = true;
                prop_assert!(!live.contains(id), "{id} started beside itself");
                let member = scene.membership.as_ref().and_then(|m| m.get(id));
                prop_assert!(member.is_some_and(Member::present), "{id} started unseen");
            }
            Verb::Stop { run, why, .. } | Verb::Kill { run, why } => {
                prop_assert!(!starts_began, "removal of {id} after a start");
                prop_assert_eq!(agent.and_then(Agent::run), Some(*run));
                let unknown = scene.membership.is_none();
                let by_world =
                    matches!(why, StopReason::EntityGone | StopReason::NewIncarnation { .. });
                let new = !matches!(agent.unwrap().phase, Phase::Stopping(_));
                prop_assert!(!(unknown && by_world && new), "{id} removed on unknown");
                if *why == StopReason::EntityGone && new {
                    let member = scene.membership.as_ref().and_then(|m| m.get(id));
                    prop_assert!(member.is_none(), "{id} removed though it is there");
                }
            }
            Verb::Forget { .. } => prop_assert!(!live.contains(id), "{id} forgotten alive"),
            Verb::BackOff { .. }
            | Verb::AwaitWorld { .. }
            | Verb::Complete { .. }
            | Verb::Fail { .. } => {
                prop_assert!(matches!(agent.unwrap().phase, Phase::Exited(_)));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn safe_at_every_step_and_stable_when_faults_stop(
        story in proptest::collection::vec((happening(), any::<bool>()), 1..80),
    ) {
        let mut state = Story::new();
        for (happening, pass) in &story {
            state.happens(happening);
            let plan = state.scene.plan();
            check(&state.scene, &plan)?;
            if *pass {
                state.scene.apply();
            }
        }
        converges(state)?;
    }
}

/// When faults stop, every entity that should have an agent has one, and then nothing moves.
fn converges(mut state: Story) -> Result<(), TestCaseError> {
    state.scene.change_rules(|rules| {
        rules.max_agents = 1000;
        rules.lease_health = None;
    });
    state.leased = [false; IDS.len()];
    for _ in 0..40 {
        state.scene.pass(Duration::from_secs(5));
        let entities = state.entities(0b0011_1111);
        state.scene.answer(entities);
        let live: Vec<_> = state.scene.observed.live().into_iter().collect();
        for id in live {
            let now = state.scene.now;
            let agent = state.scene.agent(id.as_str());
            match agent.phase {
                Phase::Starting { .. } => agent.started(7, now),
                Phase::Stopping(_) => agent.gone(Outcome::Exit(Exit::Signal(9)), now),
                _ => {}
            }
        }
        state.scene.settle();
    }
    let plan = state.scene.plan();
    prop_assert_eq!(&plan.actions, &[]);
    prop_assert_eq!(plan.wake_at, None);
    prop_assert_eq!(plan.unchanged, IDS.len());
    for id in IDS {
        let settled = ["Running", "Completed", "Failed"].contains(&state.scene.phase(id));
        prop_assert!(settled, "{id} is {}", state.scene.phase(id));
    }
    Ok(())
}
