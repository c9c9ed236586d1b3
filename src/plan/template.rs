//! What the user wants run: templates, which of them serves an entity, and the process that comes
//! of the two.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use litemap::LiteMap;
use serde::{Deserialize, Serialize};

use super::confinement::Confinement;
use super::entity::Entity;
use super::pace::Spawn;
use super::pod::PodTemplate;
use super::rollout::RolloutPolicy;

/// Everything of the configuration that planning depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// The templates, in file order.
    pub templates: Vec<Arc<Template>>,
    /// Whether entities that no template is named after get agents as well.
    pub auto_discover: bool,
    /// What happens with entities that come after the first answer.
    pub jit: Jit,
    /// Delays and limits of restarts.
    pub backoff: Backoff,
    /// Whether, and how patiently, agents without a lease are restarted.
    pub lease_health: Option<LeaseHealth>,
    /// The most agents that may be alive at once.
    pub max_agents: usize,
    /// How many starts there may be at once, and in a second.
    pub spawn: Spawn,
    /// How sure to be before an entity counts as gone.
    pub removal: Removal,
}

/// What happens with entities that come after the first answer (just in time).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jit {
    /// If not, the membership of the first good answer is kept for good.
    pub enabled: bool,
    /// The name of the template that serves latecomers which no other rule serves.
    pub template: String,
}

/// Delays and limits of restarts. The delay before restart `n` (from 0) is
/// `initial × multiplierⁿ`, at most `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The delay before the first restart.
    pub initial: Duration,
    /// The longest delay. Not below `initial`.
    pub max: Duration,
    /// The growth from one delay to the next. Not below 1.
    pub multiplier: f64,
    /// Restarts without a run of `reset` between them, after which an agent has failed.
    pub max_attempts: u32,
    /// A run of this length clears the count of attempts.
    pub reset: Duration,
}

/// How patiently agents without a lease are restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseHealth {
    /// How long an agent may run while its entity has no lease; also the time to its first one.
    pub grace: Duration,
}

/// How sure to be before an entity counts as gone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Removal {
    /// Good answers in a row that must lack it. At least 1.
    pub confirmations: u32,
    /// An answer that would remove more than max(2, this fraction) of the running agents is held.
    /// Between 0 and 1.
    pub hold_fraction: f64,
    /// How long such an answer, or an empty one, must stand before it removes anybody.
    pub hold: Duration,
}

/// When an agent that ended by itself is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// After every exit.
    Always,
    /// After a signal, or an exit code other than 0.
    #[default]
    OnFailure,
    /// Not at all.
    Never,
}

/// What agents of one kind run, and how they are treated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// Its name in the file: `[agents.<name>]`.
    pub name: String,
    /// The program.
    pub launch: Launch,
    /// Arguments after everything else.
    pub args: Vec<String>,
    /// Environment variables besides those that every agent gets.
    pub env: BTreeMap<String, String>,
    /// The working directory.
    pub cwd: PathBuf,
    /// Which entities it serves, besides one that bears its name.
    pub matcher: Option<Matcher>,
    /// When its agents are started again.
    pub restart: RestartPolicy,
    /// The time from SIGTERM to SIGKILL.
    pub grace: Duration,
    /// What its agents get of the runner's own, and what they are kept from.
    pub confinement: Confinement,
    /// How a change is brought to its agents.
    pub rollout: RolloutPolicy,
    /// Whether its agents write down what they do when they are sent SIGUSR1.
    #[serde(default)]
    pub faulthandler: bool,
    /// The rest of its agents' pods; none: they are processes of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Arc<PodTemplate>>,
}

/// The program of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Launch {
    /// A Python module, run by a launcher such as `uv run python -m`.
    Module {
        /// What runs it.
        launcher: Launcher,
        /// The module's dotted name.
        module: String,
    },
    /// Any program: an argv (not empty) with placeholders.
    Command(Vec<String>),
}

/// What runs a Python module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Launcher {
    /// A program that is given the module's name: an argv, not empty.
    Argv(Vec<String>),
    /// The Python of the project in the working directory, once `uv sync` has made its
    /// environment.
    UvSync,
}

/// The virtual environment of the project in `dir`.
#[must_use]
pub fn venv(dir: &Path) -> PathBuf {
    dir.join(".venv")
}

/// The Python of the project in `dir`.
#[must_use]
pub fn python(dir: &Path) -> PathBuf {
    venv(dir).join("bin/python")
}

impl Template {
    /// What its agents run, with placeholders: an argv.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        let mut argv = match &self.launch {
            Launch::Module { launcher, module } => {
                let launcher = match launcher {
                    Launcher::Argv(argv) => argv.clone(),
                    Launcher::UvSync => vec![text(&python(&self.cwd)), "-m".into()],
                };
                let own = [module.as_str(), "--server", "{server}", "--entity", "{entity_id}"];
                launcher.into_iter().chain(own.map(str::to_owned)).collect()
            }
            Launch::Command(command) => command.clone(),
        };
        argv.extend(self.args.iter().cloned());
        argv
    }

    /// Whether an agent of the one need not be restarted to become an agent of the other.
    #[must_use]
    pub fn runs_the_same(&self, other: &Self) -> bool {
        (&self.launch, &self.args, &self.env, &self.cwd, &self.confinement, &self.pod)
            == (&other.launch, &other.args, &other.env, &other.cwd, &other.confinement, &other.pod)
    }

    /// The directory of the project that must be synced before an agent is started, if any.
    #[must_use]
    pub fn project(&self) -> Option<&Path> {
        match &self.launch {
            Launch::Module { launcher: Launcher::UvSync, .. } => Some(&self.cwd),
            Launch::Module { launcher: Launcher::Argv(_), .. } | Launch::Command(_) => None,
        }
    }
}

/// Serves every entity of one of the types (any, if there are none) that bears all of the tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matcher {
    /// Entity types; empty means any.
    pub types: BTreeSet<String>,
    /// Tags; empty means none are needed.
    pub tags: BTreeSet<String>,
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("types", &self.types), ("tags", &self.tags)];
        let set = parts.iter().filter(|(_, words)| !words.is_empty());
        let words = set.map(|(key, words)| {
            format!("{key}={}", words.iter().map(String::as_str).collect::<Vec<_>>().join(","))
        });
        f.write_str(&words.collect::<Vec<_>>().join(" "))
    }
}

impl Matcher {
    /// Whether the entity is of one of the types and bears all of the tags.
    #[must_use]
    pub fn matches(&self, entity: &Entity) -> bool {
        (self.types.is_empty() || self.types.contains(&*entity.kind))
            && self.tags.iter().all(|tag| entity.tags.contains(tag))
    }
}

/// Whether an entity was there when the runner first heard from the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arrival {
    /// It was in the first good answer.
    First,
    /// It came later.
    Late,
}

impl Arrival {
    /// The word for it, as it is written down.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Late => "late",
        }
    }
}

/// The rule by which a template was chosen for an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenBy {
    /// The template is named as the entity's id.
    Name,
    /// The first template in file order whose `match` fits.
    Match,
    /// The `default` template, for an entity of the first answer.
    Default,
    /// `jit.template`, for an entity that came later.
    Jit,
}

impl fmt::Display for ChosenBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "named after the entity",
            Self::Match => "its match fits",
            Self::Default => "default template",
            Self::Jit => "jit.template, as the entity came late",
        })
    }
}

/// The name of the template that serves entities of the first answer.
pub const DEFAULT_TEMPLATE: &str = "default";

impl Rules {
    /// The directories of all projects that must be synced before agents are started.
    #[must_use]
    pub fn projects(&self) -> BTreeSet<PathBuf> {
        let projects = self.templates.iter().filter_map(|template| template.project());
        projects.map(Path::to_owned).collect()
    }

    /// The template that serves `entity`, and the rule that chose it; none if there is no such
    /// template, or none may be chosen.
    #[must_use]
    pub fn choose(&self, entity: &Entity, arrival: Arrival) -> Option<(&Arc<Template>, ChosenBy)> {
        if let Some(named) = self.named(entity.id.as_str()) {
            return Some((named, ChosenBy::Name));
        }
        if !self.auto_discover {
            return None;
        }
        let fits = |template: &&Arc<Template>| {
            template.matcher.as_ref().is_some_and(|matcher| matcher.matches(entity))
        };
        if let Some(matching) = self.templates.iter().find(fits) {
            return Some((matching, ChosenBy::Match));
        }
        let (name, rule) = match arrival {
            Arrival::First => (DEFAULT_TEMPLATE, ChosenBy::Default),
            Arrival::Late => (self.jit.template.as_str(), ChosenBy::Jit),
        };
        self.named(name).map(|template| (template, rule))
    }

    fn named(&self, name: &str) -> Option<&Arc<Template>> {
        self.templates.iter().find(|template| template.name == name)
    }
}

/// Where agents run: what placeholders and arguments refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The world's address, `HOST:PORT`.
    pub server: String,
    /// The runner's own executable.
    pub runner: String,
}

/// A process to be started, all placeholders filled in. Two specs are equal if and only if an
/// agent of the one need not be restarted to become an agent of the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSpec {
    /// Program and arguments; not empty.
    pub argv: Vec<String>,
    /// Variables set on top of those that are inherited.
    pub env: LiteMap<String, String>,
    /// The working directory.
    pub cwd: PathBuf,
    /// What it gets of the runner's own, and what it is kept from.
    #[serde(default)]
    pub confinement: Confinement,
    /// The rest of its pod; none: it is a process of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Arc<PodTemplate>>,
}

impl AgentSpec {
    /// The process that serves `entity` by `template`.
    #[must_use]
    pub fn resolve(template: &Template, entity: &Entity, site: &Site) -> Self {
        let mut argv = match &template.launch {
            Launch::Module { launcher, module } => {
                let mut argv = match launcher {
                    Launcher::Argv(argv) => argv.clone(),
                    Launcher::UvSync => vec![text(&python(&template.cwd)), "-m".into()],
                };
                argv.extend([module.clone(), "--server".into(), site.server.clone()]);
                argv.extend(entity_flag(entity.id.as_str()));
                argv
            }
            Launch::Command(command) => command
                .iter()
                .enumerate()
                .map(|(index, element)| fill(element, index, entity, site))
                .collect(),
        };
        argv.extend(template.args.iter().cloned());
        Self {
            argv,
            env: environment(template, entity, site),
            cwd: template.cwd.clone(),
            confinement: template.confinement.resolve(&entity.id),
            pod: template.pod.clone(),
        }
    }
}

impl AgentSpec {
    /// A short name of the spec, the same for equal specs and, but for chance, for no others:
    /// FNV-1a (64 bits) over all its parts, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> String {
        let cwd = self.cwd.to_string_lossy();
        let confinement = self.confinement.to_string();
        let env = self.env.iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]);
        let pod = self.pod.as_ref().map(|pod| pod.digest_part());
        let parts = self.argv.iter().map(String::as_str).chain(["\0", &cwd, &confinement]);
        let parts = parts.chain(env).chain(pod.as_deref());
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in parts.flat_map(|part| part.bytes().chain([0xff])) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        format!("{hash:016x}")
    }
}

/// An id that begins with a dash would be read as an option unless it is tied to its flag.
fn entity_flag(id: &str) -> Vec<String> {
    if id.starts_with('-') {
        vec![format!("--entity={id}")]
    } else {
        vec!["--entity".into(), id.into()]
    }
}

/// The program's own name is never taken from the world: in it, only `{runner}` is filled in.
fn fill(element: &str, index: usize, entity: &Entity, site: &Site) -> String {
    let mut filled = String::with_capacity(element.len());
    let mut rest = element;
    while let Some(start) = rest.find('{') {
        let (before, from) = rest.split_at(start);
        filled.push_str(before);
        let known = PLACEHOLDERS.iter().find(|name| from.starts_with(**name));
        let value = match known.copied() {
            Some("{runner}") => Some(site.runner.as_str()),
            Some("{entity_id}") if index > 0 => Some(entity.id.as_str()),
            Some("{entity_type}") if index > 0 => Some(&*entity.kind),
            Some("{server}") if index > 0 => Some(site.server.as_str()),
            _ => None,
        };
        let taken = known.map_or(1, |name| name.len());
        let (placeholder, after) = from.split_at(taken);
        filled.push_str(value.unwrap_or(placeholder));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// What may stand in a template's `command`.
pub const PLACEHOLDERS: [&str; 4] = ["{entity_id}", "{entity_type}", "{server}", "{runner}"];

fn environment(template: &Template, entity: &Entity, site: &Site) -> LiteMap<String, String> {
    let mut env = BTreeMap::from([
        // Without it Python keeps its last lines to itself when it is killed.
        ("PYTHONUNBUFFERED".to_owned(), "1".to_owned()),
    ]);
    if let Some(project) = template.project() {
        // As `uv run` does, for programs that look for their environment by it.
        env.insert("VIRTUAL_ENV".to_owned(), text(&venv(project)));
    }
    env.extend(template.env.clone());
    env.extend([
        ("RUNNER_ENTITY_ID".to_owned(), entity.id.as_str().to_owned()),
        ("RUNNER_ENTITY_TYPE".to_owned(), entity.kind.to_string()),
        ("RUNNER_SERVER".to_owned(), site.server.clone()),
    ]);
    // There is one of it for each agent, so it is to be small.
    env.into_iter().collect()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
