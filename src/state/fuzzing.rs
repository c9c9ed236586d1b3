//! Any bytes as a journal, and as what processes carry in their environment.

#![expect(clippy::missing_panics_doc, reason = "a failed check is what it is for")]

use std::collections::{BTreeMap, BTreeSet};

use super::journal::fuzzing::{read, round_trip, without_damage};
use super::restore;
use crate::executor::Identity;
use crate::executor::local::survey::{Found, Survey};
use crate::plan::fixture::{Scene, rules, template};
use crate::plan::safety::check;
use crate::plan::{Agent, Entity, Exit, Outcome, Phase, Time};
use crate::reconcile::Inheritance;

/// What is read is what whole lines say, and what the next runner makes of it is sound. A line
/// after `! ` gets the checksum that it should have, lest nothing but damage be tried; one after
/// `? ` is a process: its number, its start, and its environment with `;` between variables.
pub fn journal(data: &[u8]) {
    let (mut file, mut survey) = (Vec::new(), Survey::default());
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        let whole = std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix('\n'));
        if let Some(json) = whole.and_then(|line| line.strip_prefix("! ")) {
            let checksum = crc32fast::hash(json.as_bytes());
            file.extend_from_slice(format!("{checksum:08x} {json}\n").as_bytes());
        } else if let Some(process) = whole.and_then(|line| line.strip_prefix("? ")) {
            survey.found.extend(found(process));
        } else {
            file.extend_from_slice(line);
        }
    }
    let (memory, damaged) = read(&file);
    // What is damaged is as if it were not there, and so is a beginning of a line. It follows whole
    // lines, or its newline would end what is the last of them but for that.
    let intact = without_damage(&file);
    assert_eq!(read(&intact), (memory.clone(), 0));
    let torn = [&intact[..], b"0badc0de {\"Agent\":"].concat();
    assert_eq!(read(&torn), (memory.clone(), 1));
    assert_eq!(read(&round_trip(&memory)), (memory.clone(), 0), "{damaged} damaged");
    survey.living = memory.processes();
    survey.found.retain(|found| !survey.living.contains(&found.identity));
    survey.found.sort_by_key(|found| (found.identity.start, found.identity.pid));
    for survey in [Survey::default(), survey] {
        go_on(&restore(memory.clone(), survey, Time::from_millis(1_000_000)));
    }
}

fn found(process: &str) -> Option<Found> {
    let mut words = process.splitn(3, ' ');
    let (pid, start) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let variables = words.next()?.split(';').filter_map(|variable| variable.split_once('='));
    let env = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let identity = Identity { pid, start };
    Some(Found { identity, gate: start % 7 == 0, env, argv: vec!["a".to_owned()], cwd: "/".into() })
}

/// The next runner has one process for each agent that may live, and no process twice; and it can
/// plan, whatever is to come.
fn go_on(inherited: &Inheritance) {
    let Inheritance { observed, adoptions, arrivals, orders } = inherited;
    assert_eq!(observed.live(), adoptions.keys().cloned().collect());
    let runs: BTreeSet<_> = adoptions.values().map(|adopted| adopted.run).collect();
    let processes: BTreeSet<_> = adoptions.values().map(|adopted| adopted.identity).collect();
    assert_eq!(runs.len(), adoptions.len(), "two agents with one run: {adoptions:?}");
    assert_eq!(processes.len(), adoptions.len(), "two agents with one process: {adoptions:?}");
    for (id, adopted) in adoptions {
        let agent = observed.agents.get(id);
        assert_eq!(agent.and_then(Agent::run), Some(adopted.run), "{id}");
        assert!(adopted.run.0 < observed.next_run, "{id}");
        assert!(agent.is_some_and(|agent| !matches!(agent.phase, Phase::Starting { .. })));
    }
    let mut scene = Scene::new(rules(vec![template("default")]));
    (scene.observed, scene.orders) = (observed.clone(), orders.clone());
    scene.change_rules(|_| ());
    let ids = observed.agents.keys().chain(arrivals.iter().flat_map(BTreeMap::keys));
    let entities: BTreeMap<_, Entity> = ids
        .filter_map(|id| Some((id.clone(), Entity::new(id.as_str(), "forager").ok()?)))
        .take(20)
        .collect();
    for round in 0..3 {
        scene.answer(entities.values().cloned());
        let plan = scene.apply();
        let mut now = scene.clone();
        now.observed = observed.clone();
        if round == 0 {
            assert_eq!(check(&now, &plan), Ok(()), "{plan}");
        }
        for agent in scene.observed.agents.values_mut() {
            agent.gone(Outcome::Exit(Exit::Code(1)), scene.now);
        }
        scene.pass(std::time::Duration::from_secs(40));
    }
}
