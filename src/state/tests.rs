use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::journal::Memory;
use super::*;
use crate::executor::local::survey::{Found, Survey};
use crate::executor::{Identity, Record};
use crate::plan::Orders;
use crate::plan::fixture::{entity, site, template};
use crate::plan::{
    Agent, AgentSpec, Arrival, Ended, EntityId, Exit, Lease, Outcome, Phase, Place, RunId, Time,
};
use crate::reconcile::Remember;

pub(super) fn id(name: &str) -> EntityId {
    EntityId::new(name).unwrap()
}

pub(super) fn agent(name: &str, phase: Phase) -> Agent {
    Agent {
        incarnation: 3,
        template: "default".to_owned(),
        spec: Arc::new(AgentSpec::resolve(&template("default"), &entity(name), &site())),
        grace: Duration::from_secs(5),
        attempts: 2,
        restarts: 3,
        last_end: None,
        waits: None,
        phase,
    }
}

fn running(run: u64, pid: u32) -> Phase {
    let place = Place::Process { pid };
    Phase::Running { run: RunId(run), place, since: Time::from_millis(5), lease: Lease::Unknown }
}

fn backing_off() -> Phase {
    let how = Outcome::Exit(Exit::Code(1));
    let ended = Ended { how, started: Time::from_millis(5), at: Time::from_millis(9) };
    Phase::BackingOff { ended, until: Time::from_millis(4009) }
}

/// A journal with a little of everything, and what it holds.
fn filled(dir: &Path) -> Memory {
    let (journal, damaged) = Journal::open(dir).unwrap();
    assert_eq!(damaged, 0);
    journal.arrival(&id("alice"), Some(Arrival::First));
    journal.arrival(&id("bob"), Some(Arrival::Late));
    journal.agent(
        &id("alice"),
        &agent("alice", Phase::Starting { run: RunId(7), since: Time::default() }),
    );
    journal.identity(RunId(7), Identity { pid: 70, start: 700 });
    journal.agent(&id("alice"), &agent("alice", running(7, 70)));
    journal.agent(&id("bob"), &agent("bob", backing_off()));
    journal.agent(&id("carol"), &agent("carol", running(8, 80)));
    journal.over(RunId(8));
    journal.forgotten(&id("carol"));
    journal.arrival(&id("carol"), None);
    journal.orders(&Orders {
        suspended: [id("dave")].into(),
        rollouts: Arc::default(),
        restarts: [(id("alice"), Time::from_millis(7))].into(),
    });
    journal.commit();
    journal.memory()
}

fn found(name: &str, run: u64, pid: u32) -> Found {
    let spec = AgentSpec::resolve(&template("default"), &entity(name), &site());
    let names = spec.env.keys().map(String::as_str).collect::<Vec<_>>().join(",");
    let mut env = BTreeMap::from_iter(spec.env.clone());
    env.extend(
        [
            ("RUNNER_RUN", run.to_string()),
            ("RUNNER_INCARNATION", "3".to_owned()),
            ("RUNNER_TEMPLATE", "default".to_owned()),
            ("RUNNER_ARRIVAL", "late".to_owned()),
            ("RUNNER_ENV", names),
            ("RUNNER_CWD", ".".to_owned()),
            ("RUNNER_CONFINEMENT", spec.confinement.to_string()),
            ("RUNNER_ARGV", serde_json::to_string(&spec.argv).unwrap()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    let identity = Identity { pid, start: u64::from(pid) * 10 };
    Found { identity, gate: false, env, argv: vec!["renamed itself".to_owned()], cwd: "/x".into() }
}

/// Who was not known, or not looked up, is found by what it carries.
fn show(found: Vec<Found>) -> Survey {
    Survey { found, ..Survey::default() }
}

#[test]
fn what_was_written_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let written = filled(dir.path());
    assert_eq!(written.agents.len(), 2);
    assert_eq!(written.next_run, 9);
    let (journal, damaged) = Journal::open(dir.path()).unwrap();
    assert_eq!((journal.memory(), damaged), (written, 0));
}

#[test]
fn a_journal_that_ends_anywhere_is_read_up_to_there() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let path = dir.path().join("journal");
    let whole = fs::read(&path).unwrap();
    for end in 0..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let (journal, damaged) = Journal::open(dir.path()).unwrap();
        let at_line_end = end == 0 || whole[end - 1] == b'\n';
        assert_eq!(damaged == 0, at_line_end, "cut at {end}");
        // Whatever it remembers was true once.
        let memory = journal.memory();
        assert!(memory.agents.values().all(|agent| agent.incarnation == 3));
    }
}

#[test]
fn a_byte_that_was_changed_costs_no_more_than_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let memory = filled(dir.path());
    let path = dir.path().join("journal");
    let whole = fs::read(&path).unwrap();
    let lines = whole.split(|byte| *byte == b'\n').count();
    assert!(lines >= 10, "{lines}");
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x01;
        fs::write(&path, changed).unwrap();
        let (journal, damaged) = Journal::open(dir.path()).unwrap();
        // A newline that is gone joins two lines.
        assert!((1..=2).contains(&damaged), "byte {at}: {damaged} damaged");
        let agents = journal.memory().agents;
        let known = |id: &EntityId| memory.agents.contains_key(id) || id.as_str() == "carol";
        assert!(agents.keys().all(known), "byte {at}");
    }
}

#[test]
fn a_journal_of_another_boot_keeps_what_does_not_depend_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let written = filled(dir.path());
    let path = dir.path().join("journal");
    // As if the file had been written before the machine was started again.
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.contains("Boot")).collect();
    let before = lines.join(
        "
",
    ) + "
";
    fs::write(&path, before).unwrap();
    let memory = Journal::open(dir.path()).unwrap().0.memory();
    assert_eq!(memory.agents, BTreeMap::new());
    assert_eq!(memory.identities, BTreeMap::new());
    assert_eq!((memory.arrivals, memory.next_run), (written.arrivals, written.next_run));
}

#[test]
fn it_is_written_anew_before_it_grows_without_bound() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    for attempts in 0..20_000 {
        let agent = Agent { attempts, ..agent("alice", backing_off()) };
        journal.agent(&id("alice"), &agent);
        journal.commit();
    }
    let size = fs::metadata(dir.path().join("journal")).unwrap().len();
    assert!(size < 2 << 20, "{size} bytes");
    assert_eq!(Journal::open(dir.path()).unwrap().0.memory(), journal.memory());
}

#[test]
fn a_directory_has_one_holder_and_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    let held = Directory::lock(&path).unwrap();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(held.path()).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(
        fs::read_to_string(path.join("lock")).unwrap().trim(),
        std::process::id().to_string()
    );
}

#[test]
fn agents_are_taken_up_as_the_journal_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let memory = filled(dir.path());
    let alice = Found { identity: Identity { pid: 70, start: 700 }, ..found("alice", 7, 70) };
    let inherited = restore(memory.clone(), show(vec![alice]), Time::from_millis(100));
    assert_eq!(inherited.observed.agents, memory.agents);
    assert_eq!(inherited.adoptions[&id("alice")].identity, Identity { pid: 70, start: 700 });
    assert_eq!(inherited.adoptions.len(), 1);
    assert_eq!(inherited.arrivals, Some(memory.arrivals));
    assert_eq!(inherited.observed.next_run, 9);
}

#[test]
fn an_agent_that_hides_its_markers_is_found_by_its_identity() {
    let dir = tempfile::tempdir().unwrap();
    let inherited = restore(filled(dir.path()), show(Vec::new()), Time::from_millis(100));
    assert_eq!(inherited.adoptions[&id("alice")].identity, Identity { pid: 70, start: 700 });
}

#[test]
fn a_start_that_was_not_recorded_never_happened() {
    let memory = Memory {
        agents: [(
            id("alice"),
            agent("alice", Phase::Starting { run: RunId(4), since: Time::default() }),
        )]
        .into(),
        ..Memory::default()
    };
    let inherited = restore(memory, show(Vec::new()), Time::from_millis(100));
    assert!(inherited.adoptions.is_empty());
    let phase = &inherited.observed.agents[&id("alice")].phase;
    assert!(matches!(phase, Phase::Exited(ended) if ended.how == Outcome::Exit(Exit::Unknown)));
}

#[test]
fn with_the_journal_lost_agents_are_rebuilt_from_what_they_carry() {
    let inherited =
        restore(Memory::default(), show(vec![found("alice", 7, 70)]), Time::from_millis(100));
    let rebuilt = &inherited.observed.agents[&id("alice")];
    assert_eq!(rebuilt.spec, agent("alice", running(7, 70)).spec);
    assert_eq!((rebuilt.incarnation, rebuilt.template.as_str()), (3, "default"));
    assert_eq!(rebuilt.run(), Some(RunId(7)));
    assert_eq!(inherited.observed.next_run, 8);
    assert_eq!(inherited.adoptions[&id("alice")].run, RunId(7));
}

#[test]
fn what_an_agent_started_outside_its_group_is_not_taken_for_the_agent() {
    let agents = vec![found("alice", 7, 70), found("alice", 7, 71)];
    let inherited = restore(Memory::default(), show(agents), Time::from_millis(100));
    assert_eq!(inherited.adoptions[&id("alice")].identity.pid, 70);

    let memory = Memory {
        identities: [(RunId(7), Identity { pid: 71, start: 710 })].into(),
        ..Memory::default()
    };
    let agents = vec![found("alice", 7, 70), found("alice", 7, 71)];
    let inherited = restore(memory, show(agents), Time::from_millis(100));
    assert_eq!(inherited.adoptions[&id("alice")].identity.pid, 71);
}

#[test]
fn what_an_agent_started_in_the_name_of_another_entity_is_not_taken_for_that_ones_agent() {
    let dir = tempfile::tempdir().unwrap();
    let memory = filled(dir.path());
    let alice = Identity { pid: 70, start: 700 };
    for living in [[alice].into(), [].into()] {
        let survey = Survey { living, found: vec![found("zed", 7, 71)] };
        let inherited = restore(memory.clone(), survey, Time::from_millis(100));
        assert_eq!(inherited.adoptions.keys().collect::<Vec<_>>(), [&id("alice")]);
        assert_eq!(inherited.adoptions[&id("alice")].identity, alice);
        assert_eq!(inherited.observed.agents, memory.agents);
    }
    // With nothing written down, the oldest is the agent.
    let agents = vec![found("alice", 7, 70), found("zed", 7, 71)];
    let inherited = restore(Memory::default(), show(agents), Time::from_millis(100));
    assert_eq!(inherited.adoptions.keys().collect::<Vec<_>>(), [&id("alice")]);
}

#[test]
fn a_run_or_a_process_of_two_agents_is_the_firsts() {
    let mut memory = Memory {
        agents: [
            (id("alice"), agent("alice", running(7, 70))),
            (id("bob"), agent("bob", running(7, 70))),
            (id("carol"), agent("carol", running(8, 70))),
        ]
        .into(),
        ..Memory::default()
    };
    let process = Identity { pid: 70, start: 700 };
    memory.identities = [(RunId(7), process), (RunId(8), process)].into();
    let inherited = restore(memory, show(Vec::new()), Time::from_millis(100));
    assert_eq!(inherited.adoptions.keys().collect::<Vec<_>>(), [&id("alice")]);
    assert_eq!(inherited.observed.live(), [id("alice")].into());
}

#[test]
fn what_no_runner_can_have_written_or_started_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let lines = [r#"{"NextRun":18446744073709551615}"#, r#"{"Arrived":["a\nb","Late"]}"#];
    let lines = lines.map(|json| format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())));
    fs::write(dir.path().join("journal"), lines.concat()).unwrap();
    let (journal, damaged) = Journal::open(dir.path()).unwrap();
    let memory = journal.memory();
    assert_eq!((damaged, memory.next_run, memory.arrivals.len()), (2, 0, 0));
    let survey = show(vec![found("alice", u64::MAX, 70)]);
    let inherited = restore(memory, survey, Time::from_millis(100));
    assert_eq!((inherited.observed.next_run, inherited.adoptions.len()), (0, 0));
}

#[test]
fn whoever_is_recorded_and_lives_is_the_agent_whatever_else_carries_its_markers() {
    let dir = tempfile::tempdir().unwrap();
    let memory = filled(dir.path());
    let alice = Identity { pid: 70, start: 700 };
    assert_eq!(memory.processes(), [alice].into());
    let living = [alice].into();
    let survey = Survey { living, found: vec![found("alice", 7, 71)] };
    let inherited = restore(memory.clone(), survey, Time::from_millis(100));
    assert_eq!(inherited.adoptions[&id("alice")].identity, alice);
    assert_eq!(inherited.observed.agents, memory.agents);
}

#[test]
fn what_a_recorded_agent_left_behind_is_not_taken_for_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    let memory = filled(dir.path());
    let alice = Identity { pid: 70, start: 700 };
    // It ended while no runner was there; who left its session carries its markers, and leads a
    // group.
    let left = || show(vec![found("alice", 7, 71), found("alice", 7, 72)]);
    let inherited = restore(memory.clone(), left(), Time::from_millis(100));
    assert_eq!(inherited.adoptions[&id("alice")].identity, alice);
    assert_eq!(inherited.observed.agents, memory.agents);
    // So it is if all else that was written of it is lost.
    let mut torn = memory;
    torn.agents.clear();
    let inherited = restore(torn, left(), Time::from_millis(100));
    assert_eq!(inherited.adoptions[&id("alice")].identity, alice);
    assert_eq!(inherited.observed.agents[&id("alice")].run(), Some(RunId(7)));
}

#[test]
fn an_agent_of_whom_something_is_not_recorded_has_to_show_what_it_carries() {
    let dir = tempfile::tempdir().unwrap();
    let whole = filled(dir.path());
    let mut came = whole.clone();
    came.arrivals.remove(&id("alice"));
    assert_eq!(came.processes(), [].into());
    // It may be a gate still, or an agent by now.
    let mut begun = whole;
    let phase = Phase::Starting { run: RunId(7), since: Time::default() };
    begun.agents.insert(id("alice"), agent("alice", phase));
    assert_eq!(begun.processes(), [].into());
}
