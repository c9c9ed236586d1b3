//! What a sequence changes: a configuration file and a world, as far as the test makes them up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::super::harness::misbehave;
use super::super::upheaval::Random;

/// All entities that there may be; the type of each is the next of [`TYPES`].
pub(super) const ENTITIES: [&str; 6] = ["e0", "e1", "e2", "e3", "e4", "e5"];
const TYPES: [&str; 3] = ["ant", "bee", "cat"];
/// The templates that match a type.
const TYPED: [(&str, &str); 3] = [("ants", "ant"), ("bees", "bee"), ("cats", "cat")];

fn kind(id: &str) -> &'static str {
    let index = ENTITIES.iter().position(|known| *known == id).unwrap();
    TYPES[index % TYPES.len()]
}

/// One thing that is done. The numbers are of whatever there is at that time, so that it means
/// something also where what came before it was left out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// The file is edited, in some way; the runner is made to look, or finds out by itself.
    Edit { edit: Edit, which: usize, look: bool },
    /// The world ends, and is another one after a time; or it stays away until it begins the next
    /// time, or all is over.
    World { change: Change, which: usize, away_ms: Option<usize> },
    /// An agent is sent a signal, SIGKILL or another one.
    Signal { which: usize, kill: bool },
    /// The user says something of an entity.
    Order { verb: &'static str, which: usize },
    /// The user takes back a template's latest version.
    Undo { which: usize },
    /// The runner is killed, or told to leave its agents and end; then as many of those that are
    /// started in its place are killed.
    EndRunner { leave: bool, again: usize },
    /// The runner is replaced by itself.
    Replace,
}

/// What is edited.
#[derive(Clone, Copy, Debug)]
pub(super) enum Edit {
    Add,
    Remove,
    Rename,
    Args,
    Env,
    Restart,
    Crashing,
    Limits,
    MaxAgents,
    Rollout,
    Jit,
    AutoDiscover,
    Health,
    Mistake,
}

/// What becomes of an entity, or of nobody, when the world is another one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Arrives,
    Leaves,
    Reincarnates,
    Nobody,
}

const EDITS: [Edit; 18] = [
    Edit::Add,
    Edit::Add,
    Edit::Remove,
    Edit::Rename,
    Edit::Args,
    Edit::Args,
    Edit::Args,
    Edit::Env,
    Edit::Restart,
    Edit::Crashing,
    Edit::Crashing,
    Edit::Limits,
    Edit::MaxAgents,
    Edit::Rollout,
    Edit::Jit,
    Edit::AutoDiscover,
    Edit::Health,
    Edit::Mistake,
];

/// From 5 to 12 things, each with the milliseconds that pass after it.
pub(super) fn sequence(random: &mut Random) -> Vec<(Op, usize)> {
    let count = 5 + random.below(8);
    (0..count).map(|_| (op(random), random.below(120) * random.below(2))).collect()
}

fn op(random: &mut Random) -> Op {
    let which = random.below(1000);
    match random.below(20) {
        0..8 => {
            Op::Edit { edit: EDITS[random.below(EDITS.len())], which, look: random.below(2) == 0 }
        }
        8..12 => {
            let changes = [Change::Arrives, Change::Leaves, Change::Reincarnates, Change::Nobody];
            let away_ms = [Some(0), Some(random.below(400)), None][random.below(3)];
            Op::World { change: changes[random.below(changes.len())], which, away_ms }
        }
        12..14 => Op::Signal { which, kill: random.below(2) == 0 },
        14..17 => {
            let verbs = ["suspend", "resume", "restart", "suspend"];
            Op::Order { verb: verbs[random.below(verbs.len())], which }
        }
        17 => Op::Undo { which },
        18 => Op::EndRunner { leave: random.below(3) == 0, again: random.below(3) },
        _ => Op::Replace,
    }
}

/// Who is in the world, and as which incarnation: 0 is there from the start.
#[derive(Clone, Debug)]
pub(super) struct Population(pub(super) BTreeMap<&'static str, usize>);

impl Population {
    pub(super) fn new(random: &mut Random) -> Self {
        let count = 2 + random.below(ENTITIES.len() - 2);
        Self(ENTITIES.into_iter().take(count).map(|id| (id, 0)).collect())
    }

    pub(super) fn change(&mut self, change: Change, which: usize) {
        let id = ENTITIES[which % ENTITIES.len()];
        match change {
            Change::Arrives => {
                self.0.entry(id).or_insert(0);
            }
            Change::Leaves => {
                self.0.remove(id);
            }
            Change::Reincarnates => {
                if let Some(times) = self.0.get_mut(id) {
                    *times += 1;
                }
            }
            Change::Nobody => {}
        }
    }

    /// As the file of a demo world. Who comes later has another spawn tick.
    pub(super) fn text(&self) -> String {
        let entity = |(id, times): (&&str, &usize)| {
            let arrives = if *times == 0 {
                String::new()
            } else {
                format!("arrives_after_ms = {}\n", 20 + 30 * (times % 3))
            };
            let kind = kind(id);
            format!("[[entities]]\nid = {id:?}\ntype = {kind:?}\nx = 1\ny = 1\n{arrives}")
        };
        let all: String = self.0.iter().map(entity).collect();
        format!("[world]\ntick_duration_ms = 10\n{all}")
    }
}

/// A template of the file.
#[derive(Clone, Debug)]
struct Template {
    name: String,
    of_type: Option<&'static str>,
    version: usize,
    env: usize,
    restart: &'static str,
    crashing: bool,
    pids: Option<usize>,
}

impl Template {
    fn new(name: &str) -> Self {
        let typed = TYPED.iter().find(|(known, _)| *known == name);
        Self {
            name: name.to_owned(),
            of_type: typed.map(|(_, of_type)| *of_type),
            version: 0,
            env: 0,
            restart: "always",
            crashing: false,
            pids: None,
        }
    }

    /// Without `auto_discover` nobody is chosen by type, and a file that says so is a mistake.
    fn text(&self, auto_discover: bool) -> String {
        let Self { name, version, env, restart, .. } = self;
        let mut args = format!("\"--as\", {name:?}, \"--version\", \"{version}\"");
        if self.crashing {
            args += ", \"--exit-after-ms\", \"30\", \"--code\", \"3\"";
        }
        let mut text = format!(
            "[agents.{name}]\ncommand = [{:?}, \"--lock\", \"locks/{{entity_id}}\"]\n\
             args = [{args}]\nenv = {{ LEVEL = \"{env}\" }}\nrestart = {restart:?}\n",
            misbehave(),
        );
        if let Some(of_type) = self.of_type.filter(|_| auto_discover) {
            writeln!(text, "match = {{ types = [{of_type:?}] }}").unwrap();
        }
        if let Some(pids) = self.pids {
            writeln!(text, "limits = {{ pids = {pids} }}").unwrap();
        }
        text
    }
}

/// The file. The first template is the default one, which is never taken out.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "as many as the file has")]
pub(super) struct File {
    templates: Vec<Template>,
    max_agents: usize,
    max_unavailable: &'static str,
    pauses: bool,
    jit: bool,
    jit_template: String,
    auto_discover: bool,
    lease: bool,
    pub(super) mistaken: bool,
    /// Templates of which agents may have come to rest: they ended as they may, or their latest
    /// version was taken back.
    resting: BTreeSet<String>,
}

impl File {
    pub(super) fn new() -> Self {
        Self {
            templates: vec![Template::new("default"), Template::new("e1"), Template::new("ants")],
            max_agents: 100,
            max_unavailable: "50%",
            pauses: false,
            jit: true,
            jit_template: "default".to_owned(),
            auto_discover: true,
            lease: false,
            mistaken: false,
            resting: BTreeSet::new(),
        }
    }

    pub(super) fn edit(&mut self, edit: Edit, which: usize) {
        self.mistaken = false;
        let count = self.templates.len();
        // Any of them, and any of them but the first.
        let (any, other) = (which % count, 1 + which % count.max(2) % (count.max(2) - 1));
        match edit {
            Edit::Add => self.templates.extend(self.free(which).map(|name| Template::new(&name))),
            Edit::Remove if count > 1 => drop(self.templates.remove(other)),
            Edit::Rename if count > 1 => {
                if let Some(name) = self.free(which) {
                    self.templates[other] = Template {
                        of_type: Template::new(&name).of_type,
                        name,
                        ..self.templates[other].clone()
                    };
                }
            }
            Edit::Remove | Edit::Rename => {}
            Edit::Args => self.templates[any].version += 1,
            Edit::Env => self.templates[any].env += 1,
            Edit::Restart => {
                self.templates[any].restart = ["on-failure", "never", "always"][which % 3];
                self.rests(any);
            }
            Edit::Crashing => self.templates[any].crashing ^= true,
            Edit::Limits => self.templates[any].pids = [None, Some(64), Some(65)][which % 3],
            Edit::MaxAgents => self.max_agents = 1 + which % 4,
            Edit::Rollout => {
                self.max_unavailable = ["1", "25%", "100%"][which % 3];
                self.pauses = which.is_multiple_of(2);
            }
            Edit::Jit => {
                self.jit = which.is_multiple_of(2);
                self.jit_template.clone_from(&self.templates[any].name);
            }
            Edit::AutoDiscover => self.auto_discover ^= true,
            Edit::Health => self.lease ^= true,
            Edit::Mistake => self.mistaken = true,
        }
        if self.templates.iter().all(|template| template.name != self.jit_template) {
            "default".clone_into(&mut self.jit_template);
        }
    }

    /// A name that no template has.
    fn free(&self, which: usize) -> Option<String> {
        let names = ENTITIES.iter().chain(TYPED.iter().map(|(name, _)| name));
        let taken = |name: &&&str| self.templates.iter().any(|it| it.name == **name);
        let free: Vec<_> = names.filter(|name| !taken(name)).collect();
        free.get(which % free.len().max(1)).map(|name| (**name).to_owned())
    }

    pub(super) fn template(&self, which: usize) -> String {
        self.templates[which % self.templates.len()].name.clone()
    }

    pub(super) fn templates(&self) -> impl Iterator<Item = &str> {
        self.templates.iter().map(|template| template.name.as_str())
    }

    fn rests(&mut self, which: usize) {
        let name = self.templates[which].name.clone();
        self.resting.insert(name);
    }

    /// The latest version of this template was taken back.
    pub(super) fn undone(&mut self, template: &str) {
        self.resting.insert(template.to_owned());
    }

    /// Takes out of the last configuration what makes the end depend on how it came about, as it
    /// is to:
    ///
    /// - `max_agents` below the number of entities: who has a place keeps it.
    /// - `jit.enabled = false`, or another template for latecomers: to one who starts, all that
    ///   there are were there first.
    /// - Agents that have completed or failed stay so until their template changes, and a version
    ///   that was taken back stays so until there is another one: these templates get another
    ///   version. All others keep theirs, so that their agents are those that were there.
    /// - Agents that crash: they have a process at one moment and none at the next.
    /// - A rollout that pauses by itself waits for the user; and with `health.lease`, by which
    ///   agents that hold no lease are not ready, it waits for ever.
    pub(super) fn settle(&mut self) {
        self.max_agents = 100;
        self.jit = true;
        "default".clone_into(&mut self.jit_template);
        (self.pauses, self.lease, self.mistaken) = (false, false, false);
        for template in &mut self.templates {
            let rests = self.resting.contains(&template.name) || template.restart != "always";
            template.version += usize::from(rests);
            (template.restart, template.crashing) = ("always", false);
        }
    }

    /// The template that serves an entity, if one does.
    pub(super) fn serves(&self, id: &str) -> Option<&str> {
        let fits = |template: &&Template| self.auto_discover && template.of_type == Some(kind(id));
        let named = self.templates.iter().find(|template| template.name == id);
        let found = named.or_else(|| self.templates.iter().find(fits));
        let default = self.templates.first().filter(|_| self.auto_discover);
        found.or(default).map(|template| template.name.as_str())
    }

    /// As it is written.
    pub(super) fn text(&self, server: &str) -> String {
        let Self { max_agents, max_unavailable, pauses, jit, jit_template, lease, .. } = self;
        let unavailable = match max_unavailable.parse::<usize>() {
            Ok(number) => number.to_string(),
            Err(_) => format!("{max_unavailable:?}"),
        };
        let mistake = if self.mistaken { "servr = 1\n" } else { "" };
        let templates: String =
            self.templates.iter().map(|it| it.text(self.auto_discover)).collect();
        format!(
            "[runner]\nserver = {server:?}\nshutdown_grace_ms = 300\ninitial_backoff_ms = 50\n\
             max_backoff_ms = 100\nmax_restart_attempts = 1000000\nmax_agents = {max_agents}\n\
             auto_discover = {}\nlimits_mode = \"best-effort\"\n{mistake}rollout = {{ \
             min_ready_ms = 20, max_unavailable = {unavailable}, pause_on_failure = {pauses} }}\n\
             [jit]\nenabled = {jit}\ntemplate = {jit_template:?}\nwatch_interval_ms = 100\n\
             [discovery]\nremoval_confirmations = 2\nhold_ms = 300\n\
             [health]\nlease = {lease}\nlease_grace_ms = 600000\n{templates}",
            self.auto_discover,
        )
    }
}
