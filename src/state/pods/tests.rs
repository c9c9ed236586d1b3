use super::super::tests::{agent, id};
use super::*;
use crate::executor::kubernetes::{Origin, Seen};
use crate::plan::fixture::{entity, site, template};
use crate::plan::{AgentSpec, Ended, Orders, RunId};

const NOW: Time = Time::from_millis(1_000);

fn running() -> State {
    State::Running { node: "node-1".to_owned(), waits: None }
}

/// A pod for this run of a late entity, after two failures in a row.
fn pod(name: &str, run: u64, state: State) -> Found {
    let uid = Uid(format!("uid-{run}"));
    let seen = Seen {
        name: format!("{name}-3"),
        uid,
        run: RunId(run),
        entity: id(name),
        state,
        leaving: None,
    };
    let origin = Origin {
        incarnation: 3,
        template: "default".to_owned(),
        arrival: Arrival::Late,
        spec: AgentSpec::resolve(&template("default"), &entity(name), &site()),
        attempts: 2,
        restarts: 5,
    };
    Found { seen, origin: Some(origin) }
}

fn starting(run: u64) -> Phase {
    Phase::Starting { run: RunId(run), since: Time::default() }
}

fn remembering(agents: impl IntoIterator<Item = (&'static str, Phase)>) -> Memory {
    let agents = agents.into_iter().map(|(name, phase)| (id(name), agent(name, phase)));
    Memory { agents: agents.collect(), ..Memory::default() }
}

fn suspending(name: &str) -> Memory {
    let orders = Orders { suspended: BTreeSet::from([id(name)]), ..Orders::default() };
    Memory { orders, ..Memory::default() }
}

#[test]
fn a_pod_that_nobody_remembers_is_taken_up_as_what_it_was_made() {
    let left = restore_pods(Memory::default(), vec![pod("wolf", 7, running())], NOW);
    let wolf = &left.observed.agents[&id("wolf")];
    assert_eq!((wolf.run(), wolf.incarnation), (Some(RunId(7)), 3));
    assert_eq!((wolf.attempts, wolf.restarts), (2, 5));
    assert!(matches!(&wolf.phase, Phase::Running { place: Place::Pod { pod, node }, .. }
        if pod == "wolf-3" && node == "node-1"));
    assert_eq!(left.adoptions[&id("wolf")].identity, Uid("uid-7".to_owned()));
    assert_eq!(left.arrivals, Some(BTreeMap::from([(id("wolf"), Arrival::Late)])));
    assert_eq!(left.observed.next_run, 8);
}

#[test]
fn what_does_not_say_what_it_was_made_of_is_nobodys_agent() {
    let found = Found { origin: None, ..pod("wolf", 7, running()) };
    let left = restore_pods(Memory::default(), vec![found], NOW);
    assert_eq!((left.observed.agents.len(), left.adoptions.len()), (0, 0));
    assert_eq!(left.observed.next_run, 8);
}

#[test]
fn of_two_pods_of_one_entity_the_later_one_is_its_agent() {
    let found = vec![pod("wolf", 7, running()), pod("wolf", 9, running())];
    let left = restore_pods(Memory::default(), found, NOW);
    assert_eq!(left.observed.agents[&id("wolf")].run(), Some(RunId(9)));
    assert_eq!(left.adoptions.len(), 1);
}

#[test]
fn what_followed_from_an_end_is_not_decided_again() {
    let how = Outcome::Exit(Exit::Code(1));
    let ended = Ended { how, started: Time::default(), at: Time::from_millis(9) };
    let phase = Phase::BackingOff { ended, until: Time::from_millis(4_009) };
    let memory = remembering([("wolf", phase.clone())]);
    let left = restore_pods(memory, vec![pod("wolf", 7, State::Ended(Exit::Code(1)))], NOW);
    assert_eq!(left.observed.agents[&id("wolf")].phase, phase);
    assert!(left.adoptions.is_empty());
}

#[test]
fn an_agent_whose_pod_is_gone_has_ended_nobody_knows_how() {
    let left = restore_pods(remembering([("wolf", starting(7))]), Vec::new(), NOW);
    let wolf = &left.observed.agents[&id("wolf")];
    assert!(!wolf.is_live());
    assert!(
        matches!(&wolf.phase, Phase::Exited(ended) if ended.how == Outcome::Exit(Exit::Unknown))
    );
}

#[test]
fn who_is_suspended_is_no_newcomer_and_who_came_late_still_did() {
    let left = restore_pods(suspending("bear"), vec![pod("wolf", 7, running())], NOW);
    let arrivals = left.arrivals.unwrap();
    assert_eq!(arrivals[&id("bear")], Arrival::First);

    let mut memory = suspending("bear");
    memory.arrivals.insert(id("bear"), Arrival::Late);
    let left = restore_pods(memory, Vec::new(), NOW);
    assert_eq!(left.arrivals, Some(BTreeMap::from([(id("bear"), Arrival::Late)])));
}
