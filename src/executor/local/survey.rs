//! Which agents of one runner there are, as the processes themselves show it.
//!
//! Every agent carries markers in its environment (`RUNNER_INSTANCE` and others). A process can
//! overwrite its own environment, so what is found here is good enough to show to a person, and
//! nothing is ever signalled for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use rustix::process::Pid;

use super::pidfd;
use crate::executor::{Identity, gate};

/// The name of the marker that tells whose agent it is.
pub const INSTANCE: &str = "RUNNER_INSTANCE";

/// The name of the marker that tells which of its runs it is.
pub const RUN: &str = "RUNNER_RUN";

/// An agent that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its process, the leader of its group.
    pub identity: Identity,
    /// Whether it waits to become an agent.
    pub gate: bool,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// Its command line.
    pub argv: Vec<String>,
    /// Its working directory.
    pub cwd: PathBuf,
}

impl Found {
    /// The value of a variable in its environment.
    #[must_use]
    pub fn marker(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str)
    }
}

/// What a look at all processes shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Those who were known, and live.
    pub living: BTreeSet<Identity>,
    /// All others that are agents, the oldest first: an agent is older than what it started.
    pub found: Vec<Found>,
}

/// The living leaders of process groups whose marker names `instance`. Of those that are `known`
/// already, only that they live: what they carry is most of what there is to read.
///
/// # Errors
/// If `/proc` cannot be read. Processes that end meanwhile, or belong to somebody else, are
/// passed over.
pub fn survey(instance: &str, known: &BTreeSet<Identity>) -> io::Result<Survey> {
    let mut survey = Survey::default();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        let Some(stat) = stat(pid).filter(|stat| stat.state != 'Z') else { continue };
        let identity = Identity { pid, start: stat.start };
        if known.contains(&identity) {
            survey.living.insert(identity);
        } else if u32::try_from(stat.group) == Ok(pid) {
            survey.found.extend(look_at(identity, instance));
        }
    }
    survey.found.sort_by_key(|found| (found.identity.start, found.identity.pid));
    Ok(survey)
}

fn stat(pid: u32) -> Option<pidfd::Stat> {
    pidfd::stat(Pid::from_raw(i32::try_from(pid).ok()?)?).ok()
}

fn look_at(identity: Identity, instance: &str) -> Option<Found> {
    let pid = identity.pid;
    let env: BTreeMap<_, _> = strings(pid, "environ")?
        .iter()
        .filter_map(|variable| variable.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    if env.get(INSTANCE)? != instance {
        return None;
    }
    let argv = strings(pid, "cmdline")?;
    let cwd = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    let gate = argv.get(1).is_some_and(|verb| verb == gate::VERB);
    Some(Found { identity, gate, env, argv, cwd })
}

/// A file of NUL-terminated strings.
fn strings(pid: u32, file: &str) -> Option<Vec<String>> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.split_terminator('\0').map(str::to_owned).collect())
}
