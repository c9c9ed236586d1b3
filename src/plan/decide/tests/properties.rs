//! Whatever happens, in whatever order: the plan is safe, and when things stop happening it
//! leads to one agent for each entity and then to nothing.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a happening that does not fit the phase does not happen"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::super::fixture::{Scene, entity, rules, template};
use super::super::super::safety::check;
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
    Spawn(usize, u32),
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
        1 => (1_usize..4, 1_u32..4).prop_map(|(most, rate)| Happening::Spawn(most, rate)),
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
            Happening::Spawn(max_parallel, per_second) => self.scene.change_rules(|rules| {
                rules.spawn = Spawn { max_parallel, per_second };
            }),
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
    let (starting, running) = (is_starting(agent), matches!(agent.phase, Phase::Running { .. }));
    match *happening {
        Happening::Start(_) if starting => agent.started(Place::Process { pid: 7 }, now),
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

fn is_starting(agent: &Agent) -> bool {
    matches!(agent.phase, Phase::Starting { .. })
}

/// Only a plan that says so hangs on an answer that says nothing new.
fn check_answer(scene: &Scene) -> Result<(), TestCaseError> {
    let mut desired = scene.desired();
    // With it, all do.
    Arc::make_mut(&mut desired.rules).lease_health = None;
    let planned = |observed: &Observed| {
        let mut plan = plan(&desired, observed, scene.now);
        // Who is started whatever the world says is started all the same; an answer that comes in
        // the same moment only makes the reason another one.
        for action in &mut plan.actions {
            if let Verb::Start(start) = &mut action.verb {
                start.why = StartReason::NoAgent;
            }
        }
        plan
    };
    let before = planned(&scene.observed);
    let mut asked = scene.observed.clone();
    asked.contact.asked = Some(scene.now);
    let after = planned(&asked);
    prop_assert!(before.hangs_on_answer || before == after, "{before:?}, then {after:?}");
    Ok(())
}

/// A plan for those to whom something happened is the plan, where nothing else was left to do.
fn check_some(state: &mut Story, happenings: &[Happening]) -> Result<(), TestCaseError> {
    let scene = &mut state.scene;
    let plan = scene.plan();
    if !plan.actions.is_empty() || !plan.pending.is_empty() || plan.is_rolling {
        return Ok(());
    }
    let before = scene.observed.agents.clone();
    for happening in happenings {
        state.happens(happening);
    }
    let scene = &state.scene;
    let differs = |(id, agent): &(&EntityId, &Agent)| before.get(*id) != Some(*agent);
    let some = scene.observed.agents.iter().filter(differs).map(|(id, _)| id.clone()).collect();
    let all = scene.plan();
    let some = plan_for(&some, (&scene.desired(), &scene.observed), scene.now);
    prop_assert_eq!(&all.actions, &some.actions);
    prop_assert_eq!(&all.pending, &some.pending);
    prop_assert!(
        all.wake_at == plan.wake_at.into_iter().chain(some.wake_at).min()
            || all.wake_at > plan.wake_at
    );
    prop_assert!(!all.hangs_on_answer || plan.hangs_on_answer || some.hangs_on_answer);
    Ok(())
}

/// What can happen to an agent's processes.
fn process() -> impl Strategy<Value = Happening> {
    let id = 0..IDS.len();
    prop_oneof![
        id.clone().prop_map(Happening::Start),
        id.clone().prop_map(Happening::StartFails),
        (id.clone(), 0..2).prop_map(|(id, code)| Happening::Exit(id, code)),
        id.clone().prop_map(Happening::LeaderExits),
        id.prop_map(Happening::Gone),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_for_some_is_the_plan_where_nothing_else_was_left(
        story in proptest::collection::vec(happening(), 1..30),
        then in proptest::collection::vec(process(), 1..6),
    ) {
        let mut state = Story::new();
        for happening in &story {
            state.happens(happening);
            state.scene.settle();
        }
        check_some(&mut state, &then)?;
    }

    #[test]
    fn safe_at_every_step_and_stable_when_faults_stop(
        story in proptest::collection::vec((happening(), any::<bool>()), 1..80),
    ) {
        let mut state = Story::new();
        for (happening, pass) in &story {
            state.happens(happening);
            let plan = state.scene.plan();
            check(&state.scene, &plan).map_err(TestCaseError::fail)?;
            check_answer(&state.scene)?;
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
                Phase::Starting { .. } => agent.started(Place::Process { pid: 7 }, now),
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

/// Agents that crash as soon as they run, and newcomers, under a rate.
struct Crowd {
    scene: Scene,
    ids: Vec<String>,
    /// When each start was, and of whom.
    starts: Vec<(Time, EntityId, StartReason)>,
}

impl Crowd {
    fn new(crashing: usize, spawn: Spawn) -> Self {
        let mut scene = Scene::new(rules(vec![template("default")]));
        scene.change_rules(|rules| {
            rules.spawn = spawn;
            rules.backoff.initial = Duration::ZERO;
            rules.backoff.max_attempts = u32::MAX;
        });
        let ids = (0..crashing).map(|n| format!("crashing-{n:03}")).collect();
        Self { scene, ids, starts: Vec::new() }
    }

    /// Lets all that run end, the world answer, and the starts be made that may be made, each of
    /// them at once, until all wait.
    fn round(&mut self, step: Duration) {
        self.scene.pass(step);
        for id in self.scene.observed.live() {
            let now = self.scene.now;
            let agent = self.scene.agent(id.as_str());
            agent.started(Place::Process { pid: 7 }, now);
            agent.gone(Outcome::Exit(Exit::Code(1)), now);
        }
        let entities: Vec<_> = self.ids.iter().map(|id| entity(id)).collect();
        self.scene.answer(entities);
        for _ in 0..2 {
            for Action { id, verb } in self.scene.apply().actions {
                if let Verb::Start(start) = verb {
                    self.starts.push((self.scene.now, id, start.why));
                }
            }
        }
    }

    /// The most starts within any time of this length.
    fn most_within(&self, window: Duration) -> usize {
        let counts = self.starts.iter().map(|(from, ..)| {
            self.starts.iter().filter(|(at, ..)| at >= from && *at < *from + window).count()
        });
        counts.max().unwrap_or(0)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, ..ProptestConfig::default() })]

    #[test]
    fn never_more_starts_in_any_time_than_the_bucket_and_what_the_time_brings(
        crashing in 1_usize..40,
        per_second in 1_u32..20,
        steps in proptest::collection::vec(1_u64..400, 1..60),
    ) {
        let mut crowd = Crowd::new(crashing, Spawn { max_parallel: 100, per_second });
        for step in steps {
            crowd.round(Duration::from_millis(step));
        }
        let rate = per_second as usize;
        for millis in [1, 100, 1000, 3000] {
            let most = crowd.most_within(Duration::from_millis(millis));
            let bound = rate + (rate * usize::try_from(millis).unwrap()).div_ceil(1000);
            prop_assert!(most <= bound, "{most} starts within {millis} ms at {rate}/s");
        }
    }

    #[test]
    fn neither_crashing_agents_nor_newcomers_keep_anybody_waiting(
        crashing in 10_usize..20,
        newcomers in 1_usize..20,
        max_parallel in 1_usize..5,
        per_second in 5_u32..50,
    ) {
        let mut crowd = Crowd::new(crashing, Spawn { max_parallel, per_second });
        let second = Duration::from_secs(1);
        while crowd.starts.len() < 2 * crashing {
            crowd.round(second / 10);
        }
        crowd.ids.extend((0..newcomers).map(|n| format!("new-{n:03}")));
        let mark = crowd.starts.len();
        let due = |starts: &[(Time, EntityId, StartReason)]| {
            starts.iter().filter(|(.., why)| *why == StartReason::NoAgent).count()
        };
        // In turn: one newcomer for each restart, as long as there are newcomers.
        while due(&crowd.starts[mark..]) < newcomers {
            crowd.round(second / 10);
            let made = crowd.starts.len() - mark;
            let new = due(&crowd.starts[mark..]);
            prop_assert!(new == newcomers || new >= made / 2, "{new} newcomers of {made} starts");
            prop_assert!(new <= made / 2 + 1, "{new} newcomers of {made} starts");
        }
        // Then everybody comes round before anybody comes round thrice.
        let mark = crowd.starts.len();
        let all = crashing + newcomers;
        while crowd.starts.len() - mark < 2 * all {
            crowd.round(second / 10);
        }
        let started: BTreeSet<_> = crowd.starts[mark..].iter().map(|(_, id, _)| id).collect();
        prop_assert_eq!(started.len(), all);
    }
}
