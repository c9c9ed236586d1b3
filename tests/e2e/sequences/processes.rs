//! The processes of a runner's agents, as they show themselves, and how those of one differ from
//! those of another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use runner::executor::local::survey::Found;

use super::super::harness::Runner;

/// An agent's process, but for what is its own: its numbers, and whether its entity was there at
/// the start, which is another thing for each runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    argv: Vec<String>,
    cwd: String,
    pub(super) env: BTreeMap<String, String>,
}

pub(super) type Processes = BTreeMap<String, Vec<Process>>;

/// The processes of each entity, as they show themselves.
pub(super) fn processes(runner: &Runner) -> Processes {
    let dir = runner.dir.path().to_str().unwrap();
    let mut all = Processes::new();
    for Found { gate, env, argv, cwd, .. } in runner.agents() {
        let own = ["RUNNER_INSTANCE", "RUNNER_RUN", "RUNNER_ARRIVAL", "RUNNER_SPEC"];
        let here = |text: &str| text.replace(dir, "DIR");
        let entity = env.get("RUNNER_ENTITY_ID").cloned().unwrap_or_default();
        let shared = env.iter().filter(|(name, _)| !own.contains(&name.as_str()));
        let mut process = Process {
            argv: argv.iter().map(|word| here(word)).collect(),
            cwd: here(cwd.to_str().unwrap()),
            env: shared.map(|(name, value)| (name.clone(), here(value))).collect(),
        };
        if gate {
            process.argv = vec!["a gate".to_owned()];
        }
        all.entry(entity).or_default().push(process);
    }
    all
}

/// What one has and the other has not, in lines.
pub(super) fn difference(has: &Processes, wanted: &Processes) -> String {
    let lines = |all: &Processes| -> BTreeSet<String> {
        let each = |(id, all): (&String, &Vec<Process>)| {
            let lines = all.iter().flat_map(|Process { argv, cwd, env }| {
                let env = env.iter().map(|(name, value)| format!("{name}={value}"));
                [format!("{argv:?}"), format!("in {cwd}")].into_iter().chain(env)
            });
            let count = format!("processes: {}", all.len());
            lines.chain([count]).map(|line| format!("{id}: {line}")).collect::<Vec<_>>()
        };
        all.iter().flat_map(each).collect()
    };
    let (has, wanted) = (lines(has), lines(wanted));
    let more = has.difference(&wanted).map(|line| format!("it has {line}"));
    let lacks = wanted.difference(&has).map(|line| format!("a fresh start has {line}"));
    more.chain(lacks).collect::<Vec<_>>().join("\n")
}

/// Processes that carry the runner's mark and are no agents of it.
pub(super) fn strays(runner: &Runner) -> BTreeSet<String> {
    let agents = runner.agents();
    let Some(mark) = agents.first().and_then(|agent| agent.marker("RUNNER_INSTANCE")) else {
        return BTreeSet::new();
    };
    let mark = format!("RUNNER_INSTANCE={mark}\0");
    let known = runner.agent_pids();
    let carries = |pid: &u64| {
        let environ = fs::read(Path::new("/proc").join(pid.to_string()).join("environ"));
        String::from_utf8_lossy(&environ.unwrap_or_default()).contains(&mark)
    };
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        entry.unwrap().file_name().to_str().and_then(|name| name.parse::<u64>().ok())
    });
    let strays = pids.filter(|pid| !known.contains(pid)).filter(carries);
    strays.map(|pid| pid.to_string()).collect()
}
