//! Everything at once: agents that crash in all ways, entities that come and go under ever new
//! names, a file that is edited well and badly, a world that dies. All of it follows from a seed,
//! but for the moments at which it meets.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::harness::{PATIENCE, Runner, World, misbehave};
use super::vitals::{Holdings, remains};

/// How agents end, by the type of their entity, after a time that is left out.
const KINDS: [(&str, &str); 5] = [
    ("steady", "--print 200"),
    ("crashing", "--print 500 --code 7 --exit-after-ms"),
    ("killed", "--print 50 --signal-self 9 --exit-after-ms"),
    ("tree", "--fork 2 --setsid-child --grandchild-fork 1 --code 3 --exit-after-ms"),
    ("stubborn", "--ignore-term --fork 1 --grandchild-ignore-term"),
];

/// Numbers that look random and are the same for the same seed (xorshift).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }
}

/// A runner whose agents, file and world are left no peace.
#[derive(Debug)]
pub(crate) struct Upheaval {
    pub(crate) runner: Runner,
    /// The name of the directory of its cgroups; none: it has none.
    pub(crate) cgroup: Option<String>,
    world: World,
    random: Random,
    /// Who is in the world for good, for now.
    lasting: Vec<String>,
    /// How many entities there ever were.
    named: usize,
    saved: usize,
}

impl Upheaval {
    /// Begins in peace, with one steady agent for each of so many entities.
    pub(crate) fn start(seed: u64, agents: usize) -> Self {
        let lasting: Vec<_> = (0..agents).map(|number| format!("e{number}")).collect();
        let world = World::start(&entities(&lasting));
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("locks")).unwrap();
        let peace = config(&world.address, dir.path(), &peace(), "0");
        // As a ConfigMap is mounted, of which each version is a directory.
        fs::create_dir(dir.path().join("..0")).unwrap();
        fs::write(dir.path().join("..0/runner.toml"), peace).unwrap();
        symlink("..0", dir.path().join("..data")).unwrap();
        symlink("..data/runner.toml", dir.path().join("runner.toml")).unwrap();
        let runner = Runner::start_at(dir, "");
        let told = runner.process.wait(0, "what holds the agents", |line| {
            line["event"].as_str().is_some_and(|event| event.starts_with("containment."))
        });
        let home = told["home"].as_str().and_then(|home| Path::new(home).file_name());
        let cgroup = home.map(|name| name.to_str().unwrap().to_owned());
        let (random, named) = (Random::new(seed), lasting.len());
        let begun = Self { runner, cgroup, world, random, lasting, named, saved: 0 };
        // What it holds for a start is given back before the agent is said to be started, and a
        // file that it was told to look at is under watch.
        begun.await_peace();
        for id in &begun.lasting {
            begun.runner.process.event(0, "agent.started", id);
        }
        begun.look_at_file(0);
        begun
    }

    /// What the runner holds now.
    pub(crate) fn holdings(&self) -> io::Result<Holdings> {
        Holdings::of(&self.runner, self.cgroup.as_deref())
    }

    /// How many entities there ever were.
    pub(crate) fn named(&self) -> usize {
        self.named
    }

    /// Something happens to the file, or to the runner for its sake; waits until it was noticed.
    pub(crate) fn disturb_file(&mut self) {
        let mark = self.runner.process.mark();
        match self.random.below(8) {
            0 => self.save("[runner]\nservr = \"nowhere\"\n"),
            1 => {
                let whole = self.troubled_config();
                self.save(&whole[..whole.len() / 2]);
            }
            2 => self.swap(None),
            3 => {}
            _ => return self.make_trouble(),
        }
        self.look_at_file(mark);
    }

    /// Agents end in all ways from now on, after other times than before; waits until the file is
    /// in force.
    pub(crate) fn make_trouble(&mut self) {
        let mark = self.runner.process.mark();
        let config = self.troubled_config();
        self.save(&config);
        self.look_at_file(mark);
    }

    fn look_at_file(&self, mark: usize) {
        self.runner.process.signal(Signal::HUP);
        self.runner.process.wait(mark, "a look at the file", |line| {
            line["event"].as_str().is_some_and(|event| event.starts_with("config."))
        });
    }

    /// The world dies.
    pub(crate) fn end_world(&mut self) {
        self.world.kill();
    }

    /// The world is back, and is another one: a third of all others have other names, and some come
    /// and go while it lives.
    pub(crate) fn begin_world(&mut self) {
        for index in 0..self.lasting.len() {
            if self.random.below(3) == 0 {
                self.lasting[index] = self.name();
            }
        }
        let mut all = entities(&self.lasting);
        for _ in 0..self.lasting.len() / 2 {
            let (arrives, stays) = (self.random.below(15_000), 500 + self.random.below(10_000));
            all += &entities(&[self.name()]);
            let leaves = arrives + stays;
            all = format!("{all}arrives_after_ms = {arrives}\nleaves_after_ms = {leaves}\n");
        }
        self.world.define(&all);
        self.world.begin();
    }

    /// Ends all trouble, and waits until each entity has exactly one process.
    pub(crate) fn make_peace(&mut self) {
        let dir = self.runner.dir.path().to_owned();
        self.swap(Some(&config(&self.world.address, &dir, &peace(), "0")));
        self.world.kill();
        self.world.define(&entities(&self.lasting));
        self.world.begin();
        self.await_peace();
    }

    /// The entities of which two agents lived at a time.
    pub(crate) fn doubled(&self) -> Vec<String> {
        let locks = fs::read_dir(self.runner.dir.path().join("locks")).unwrap();
        let names = locks.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".violations")).collect()
    }

    /// Ends the runner in good order, and returns what is left of it and its agents, in words.
    pub(crate) fn end(mut self) -> Vec<String> {
        self.runner.process.signal(Signal::TERM);
        assert_eq!(self.runner.process.ended(), Some(0));
        remains(self.runner.dir.path(), self.cgroup.as_deref())
    }

    fn await_peace(&self) {
        let wanted: BTreeSet<&str> = self.lasting.iter().map(String::as_str).collect();
        let until = Instant::now() + PATIENCE;
        loop {
            let agents = self.runner.agents();
            let at_peace = |arg: &String| arg == "--at-peace";
            let calm = agents.iter().filter(|it| !it.gate && it.argv.iter().any(at_peace));
            let calm: Vec<_> = calm.filter_map(|it| it.marker("RUNNER_ENTITY_ID")).collect();
            if agents.len() == wanted.len()
                && calm.iter().copied().collect::<BTreeSet<_>>() == wanted
            {
                return;
            }
            let said = || self.runner.process.transcript();
            assert!(Instant::now() < until, "{wanted:?}, but {agents:?}; it said:\n{}", said());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn name(&mut self) -> String {
        self.named += 1;
        format!("e{}", self.named)
    }

    /// One entity has a template of its own, until the next one.
    fn troubled_config(&mut self) -> String {
        let mut kinds: Vec<_> = KINDS.map(|(kind, args)| (kind.to_owned(), args.to_owned())).into();
        for (_, args) in &mut kinds {
            if args.ends_with("-ms") {
                *args = format!("{args} {}", 100 + self.random.below(3000));
            }
        }
        let chosen = self.random.below(self.lasting.len());
        kinds.push((self.lasting[chosen].clone(), format!("--version {}", self.saved)));
        let max_bytes = ["8KiB", "16KiB", "0"][self.random.below(3)];
        config(&self.world.address, self.runner.dir.path(), &kinds, max_bytes)
    }

    /// Saves the file in one of the ways in which files are saved.
    fn save(&mut self, text: &str) {
        let dir = self.runner.dir.path();
        match self.random.below(3) {
            0 => self.swap(Some(text)),
            1 => {
                let next = dir.join("..data/.runner.toml.swp");
                fs::write(&next, text).unwrap();
                fs::rename(next, dir.join("..data/runner.toml")).unwrap();
            }
            _ => self.runner.save(text),
        }
    }

    /// Puts a directory in the place of another one, with the file or without any.
    fn swap(&mut self, text: Option<&str>) {
        let dir = self.runner.dir.path();
        let before = fs::read_link(dir.join("..data")).unwrap();
        self.saved += 1;
        let now = format!("..{}", self.saved);
        fs::create_dir(dir.join(&now)).unwrap();
        if let Some(text) = text {
            fs::write(dir.join(&now).join("runner.toml"), text).unwrap();
        }
        symlink(&now, dir.join("..next")).unwrap();
        fs::rename(dir.join("..next"), dir.join("..data")).unwrap();
        fs::remove_dir_all(dir.join(before)).unwrap();
    }
}

fn peace() -> Vec<(String, String)> {
    KINDS.map(|(kind, _)| (kind.to_owned(), "--at-peace".to_owned())).into()
}

/// Each name with its arguments is a template. Nobody fails for good, and nobody waits long.
fn config(server: &str, dir: &Path, kinds: &[(String, String)], max_bytes: &str) -> String {
    let lock = dir.join("locks").join("{entity_id}");
    let templates = kinds.iter().map(|(kind, args)| {
        let args: Vec<_> = args.split(' ').collect();
        let of_type = if KINDS.iter().any(|(known, _)| known == kind) {
            format!("match = {{ types = [{kind:?}] }}\n")
        } else {
            String::new()
        };
        format!(
            "[agents.{kind}]\ncommand = [{:?}, \"--lock\", \"{}\"]\nargs = {args:?}\n{of_type}",
            misbehave(),
            lock.display(),
        )
    });
    format!(
        "[runner]\nserver = {server:?}\nshutdown_grace_ms = 300\ninitial_backoff_ms = 50\n\
         max_backoff_ms = 500\nmax_restart_attempts = 1000000\n[logs]\nmax_bytes = {max_bytes:?}\n\
         keep = 2\n[jit]\ntemplate = \"steady\"\nwatch_interval_ms = 200\n\
         [discovery]\nhold_ms = 1000\n{}",
        templates.collect::<String>()
    )
}

/// Their type follows from their name.
fn entities(ids: &[String]) -> String {
    let entity = |id: &String| {
        let (kind, _) = KINDS[id[1..].parse::<usize>().unwrap() % KINDS.len()];
        format!("[[entities]]\nid = {id:?}\ntype = {kind:?}\nx = 1\ny = 1\n")
    };
    ids.iter().map(entity).collect()
}
