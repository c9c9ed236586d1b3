//! The journal: an append-only file with one line for each fact, each with its checksum.
//!
//! A runner can be killed at any byte. A line that is torn or was changed is passed over, and that
//! it was so is said: then what agents have in their environment fills the gaps.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::executor::{Identity, Record};
use crate::plan::{Agent, Arrival, EntityId, RunId};
use crate::reconcile::Remember;

/// The journal is written anew when it has grown to this many bytes, and to twice what it was
/// when it was last written anew.
const LEAST_COMPACTION: u64 = 1 << 20;

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The boot during which it was written down: times and processes mean nothing in another.
    pub boot: String,
    /// Every agent, as it was last.
    pub agents: BTreeMap<EntityId, Agent>,
    /// Who the process of a run is. A run that is not here never was an agent.
    pub identities: BTreeMap<RunId, Identity>,
    /// When entities came.
    pub arrivals: BTreeMap<EntityId, Arrival>,
    /// The number of the next run.
    pub next_run: u64,
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Fact {
    Boot(String),
    Agent(EntityId, Box<Agent>),
    Forgotten(EntityId),
    Identity(RunId, Identity),
    Over(RunId),
    Arrived(EntityId, Arrival),
    Left(EntityId),
    NextRun(u64),
}

impl Memory {
    fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::Boot(boot) => self.boot = boot,
            Fact::Agent(id, agent) => {
                if let Some(run) = agent.run() {
                    self.next_run = self.next_run.max(run.0 + 1);
                }
                self.agents.insert(id, *agent);
            }
            Fact::Forgotten(id) => {
                self.agents.remove(&id);
            }
            Fact::Identity(run, identity) => {
                self.identities.insert(run, identity);
            }
            Fact::Over(run) => {
                self.identities.remove(&run);
            }
            Fact::Arrived(id, arrival) => {
                self.arrivals.insert(id, arrival);
            }
            Fact::Left(id) => {
                self.arrivals.remove(&id);
            }
            Fact::NextRun(next) => self.next_run = self.next_run.max(next),
        }
    }

    fn facts(&self) -> impl Iterator<Item = Fact> {
        let agents = self.agents.iter();
        let identities = self.identities.iter();
        let arrivals = self.arrivals.iter();
        [Fact::Boot(self.boot.clone()), Fact::NextRun(self.next_run)]
            .into_iter()
            .chain(agents.map(|(id, agent)| Fact::Agent(id.clone(), Box::new(agent.clone()))))
            .chain(identities.map(|(run, identity)| Fact::Identity(*run, *identity)))
            .chain(arrivals.map(|(id, arrival)| Fact::Arrived(id.clone(), *arrival)))
    }
}

/// The journal of one state directory.
#[derive(Debug)]
pub struct Journal(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: File,
    memory: Memory,
    /// Bytes in the file, and when it was last written anew.
    size: u64,
    compacted: u64,
    /// Whether something could not be written, so that the whole memory has to be.
    failing: bool,
}

/// What was in a journal.
struct Replay {
    memory: Memory,
    /// Lines that could not be used.
    damaged: usize,
}

impl Journal {
    /// Opens the journal in this directory, or begins one, and says how many of its lines could
    /// not be used.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn open(directory: &Path) -> io::Result<(Self, usize)> {
        let path = directory.join("journal");
        let Replay { mut memory, damaged } = match fs::read(&path) {
            Ok(bytes) => replay(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Replay { memory: Memory::default(), damaged: 0 }
            }
            Err(error) => return Err(error),
        };
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        if memory.boot != boot {
            memory = Memory {
                boot,
                next_run: memory.next_run,
                arrivals: memory.arrivals,
                ..Memory::default()
            };
        }
        let (file, size) = write_anew(&path, &memory)?;
        let inner = Inner { path, file, memory, size, compacted: size, failing: false };
        Ok((Self(Mutex::new(inner)), damaged))
    }

    /// All that is remembered now.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.inner().memory.clone()
    }

    /// Forgets everything: a runner that ended in good order leaves nothing to take up.
    pub fn clear(&self) {
        let mut inner = self.inner();
        inner.memory = Memory { boot: inner.memory.boot.clone(), ..Memory::default() };
        let cleared = inner.compact();
        inner.report(&cleared);
    }

    fn learn(&self, fact: Fact) {
        let mut inner = self.inner();
        let appended = inner.append(fact);
        inner.report(&appended);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record for Journal {
    fn identity(&self, run: RunId, identity: Identity) {
        self.learn(Fact::Identity(run, identity));
    }
}

impl Remember for Journal {
    fn agent(&self, id: &EntityId, agent: &Agent) {
        self.learn(Fact::Agent(id.clone(), Box::new(agent.clone())));
    }

    fn forgotten(&self, id: &EntityId) {
        self.learn(Fact::Forgotten(id.clone()));
    }

    fn over(&self, run: RunId) {
        self.learn(Fact::Over(run));
    }

    fn arrival(&self, id: &EntityId, arrival: Option<Arrival>) {
        self.learn(match arrival {
            Some(arrival) => Fact::Arrived(id.clone(), arrival),
            None => Fact::Left(id.clone()),
        });
    }
}

impl Inner {
    fn append(&mut self, fact: Fact) -> io::Result<()> {
        let text = line(&fact)?;
        // Learned first: if it cannot be written, it is written with all the rest later.
        self.memory.learn(fact);
        if self.failing {
            return self.compact();
        }
        self.file.write_all(text.as_bytes())?;
        self.size += u64::try_from(text.len()).unwrap_or_default();
        if self.size > LEAST_COMPACTION.max(self.compacted.saturating_mul(2)) {
            self.compact()?;
        }
        Ok(())
    }

    fn compact(&mut self) -> io::Result<()> {
        let (file, size) = write_anew(&self.path, &self.memory)?;
        self.file = file;
        self.size = size;
        self.compacted = size;
        Ok(())
    }

    /// Says so when writing begins to fail, and when it works again. Agents run on meanwhile, and
    /// are found again by the markers in their environment.
    fn report(&mut self, written: &io::Result<()>) {
        match written {
            Err(error) if !self.failing => {
                tracing::error!(event = "journal.failed", %error, "nothing can be written down");
            }
            Ok(()) if self.failing => {
                tracing::info!(event = "journal.works", "everything is written down again");
            }
            Ok(()) | Err(_) => {}
        }
        self.failing = written.is_err();
    }
}

/// Writes the whole memory to a new file that then takes the place of the old one.
fn write_anew(path: &Path, memory: &Memory) -> io::Result<(File, u64)> {
    let next = path.with_extension("next");
    let mut text = String::new();
    for fact in memory.facts() {
        text += &line(&fact)?;
    }
    let _ = fs::remove_file(&next);
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create_new(true).mode(0o600).open(&next)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    fs::rename(&next, path)?;
    Ok((file, u64::try_from(text.len()).unwrap_or_default()))
}

/// `checksum fact`, ended by a newline. JSON has no newline of its own.
fn line(fact: &Fact) -> io::Result<String> {
    let json = serde_json::to_string(fact).map_err(io::Error::other)?;
    Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())))
}

fn replay(bytes: &[u8]) -> Replay {
    let mut replay = Replay { memory: Memory::default(), damaged: 0 };
    // What follows the last newline was never finished.
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match parse(line) {
            Some(fact) => replay.memory.learn(fact),
            None if line == b"\n" => {}
            None => replay.damaged += 1,
        }
    }
    replay
}

fn parse(line: &[u8]) -> Option<Fact> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (checksum, json) = text.split_once(' ')?;
    let intact = u32::from_str_radix(checksum, 16).ok()? == crc32fast::hash(json.as_bytes());
    if intact { serde_json::from_str(json).ok() } else { None }
}
