//! The journal: an append-only file with one line for each fact, each with its checksum.
//!
//! A runner can be killed at any byte. A line that is torn or was changed is passed over, and that
//! it was so is said: then what agents have in their environment fills the gaps. While nothing can
//! be written, on a full disk, it is kept in memory, and written as soon as there is room.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::mem;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::executor::kubernetes::Notebook;
use crate::executor::{Identity, Record};
use crate::fault::{self, Point};
use crate::plan::{Agent, Arrival, EntityId, Orders, Phase, RunId};
use crate::reconcile::Remember;

/// The journal is written anew when it has grown to this many bytes, and to twice what it was
/// when it was last written anew.
const LEAST_COMPACTION: u64 = 1 << 20;

/// The time until another try, while nothing can be written. Nothing tells when there is room again.
const RETRY: Duration = Duration::from_secs(1);

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
    /// What the user asked for.
    pub orders: Orders,
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
    Orders(Orders),
}

impl Memory {
    /// What the journal in this directory has, if there is one. Changes nothing: for who is not the
    /// runner whose journal it is.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn peek(directory: &Path) -> io::Result<Self> {
        match fs::read(directory.join("journal")) {
            Ok(bytes) => Ok(replay(&bytes).memory),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// The processes of agents of whom all is here that they carry in their environment.
    #[must_use]
    pub fn processes(&self) -> BTreeSet<Identity> {
        let is_whole = |(id, agent): &(&EntityId, &Agent)| {
            let begun = matches!(agent.phase, Phase::Starting { .. });
            !begun && self.arrivals.contains_key(*id)
        };
        let whole = self.agents.iter().filter(is_whole);
        whole.filter_map(|(_, agent)| self.identities.get(&agent.run()?).copied()).collect()
    }

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
            Fact::Orders(orders) => self.orders = orders,
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
            .chain((self.orders != Orders::default()).then(|| Fact::Orders(self.orders.clone())))
    }

    /// What holds for any runner to come, whatever became of agents: times mean nothing to it.
    fn lasting_orders(&self) -> Orders {
        Orders {
            suspended: self.orders.suspended.clone(),
            restarts: BTreeMap::new(),
            rollouts: Arc::new(self.orders.rollouts.lasting()),
        }
    }
}

/// The journal of one state directory.
#[derive(Debug)]
pub struct Journal {
    inner: Mutex<Inner>,
    /// Told when something could not be written.
    failed: Notify,
    /// Where orders are written down for a successor on another machine.
    notebook: OnceLock<Notebook>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    memory: Memory,
    /// None if something could not be written, so that the whole memory has to be.
    file: Option<Appended>,
    /// Lines that are yet to be appended.
    pending: Vec<u8>,
}

/// The file that facts are appended to.
#[derive(Debug)]
struct Appended {
    file: File,
    /// Bytes in it now, and when it was written anew.
    size: u64,
    compacted: u64,
}

/// What was in a journal.
struct Replay {
    memory: Memory,
    /// Lines that could not be used.
    damaged: usize,
}

impl Journal {
    /// Opens the journal in this directory, or begins one, and says how many of its lines could
    /// not be used. If it cannot be written now, it is [later](Self::mend): agents that run must be
    /// looked after on a full disk too.
    ///
    /// # Errors
    /// If it cannot be read.
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
                orders: memory.lasting_orders(),
                arrivals: memory.arrivals,
                ..Memory::default()
            };
        }
        let inner = Inner { path, memory, file: None, pending: Vec::new() };
        let journal =
            Self { inner: Mutex::new(inner), failed: Notify::new(), notebook: OnceLock::new() };
        let written = journal.inner().write_anew();
        journal.report(&written);
        Ok((journal, damaged))
    }

    /// All that is remembered now.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.inner().memory.clone()
    }

    /// Forgets all but who is suspended: a runner that ended in good order leaves nothing to take up.
    pub fn clear(&self) {
        self.begin_anew(|before| Memory { orders: before.lasting_orders(), ..Memory::default() });
    }

    /// Goes on from another runner, which wrote down these orders: what is remembered of agents here
    /// is from before it, and is forgotten. Without them, who is suspended here stays so.
    pub fn succeed(&self, orders: Option<Orders>) {
        self.begin_anew(|before| {
            let orders = orders.unwrap_or_else(|| before.lasting_orders());
            Memory { next_run: before.next_run, orders, ..Memory::default() }
        });
    }

    /// Remembers something else, of the same boot.
    fn begin_anew(&self, with: impl FnOnce(&Memory) -> Memory) {
        let mut inner = self.inner();
        inner.memory = Memory { boot: inner.memory.boot.clone(), ..with(&inner.memory) };
        let written = inner.write_anew();
        self.report(&written);
    }

    /// From now on orders are written down there as well.
    pub fn share_orders(&self, notebook: Notebook) {
        let _ = self.notebook.set(notebook);
        self.note_orders();
    }

    fn note_orders(&self) {
        let Some(notebook) = self.notebook.get() else { return };
        // It always can be: the keys of its maps are words.
        if let Ok(text) = serde_json::to_string(&self.inner().memory.lasting_orders()) {
            notebook.note(text);
        }
    }

    /// Writes what could not be written once that works again. Runs until it is dropped.
    pub async fn mend(self: Arc<Self>) {
        loop {
            self.failed.notified().await;
            loop {
                sleep(RETRY).await;
                let journal = Arc::clone(&self);
                let written = spawn_blocking(move || journal.inner().write_anew()).await;
                if matches!(written, Ok(Ok(()))) {
                    tracing::info!(event = "journal.works", "everything is written down again");
                    break;
                }
            }
        }
    }

    fn learn(&self, fact: Fact) {
        let learned = self.inner().learn(fact);
        self.report(&learned);
    }

    /// Says so when writing begins to fail. Agents run on meanwhile, and are found again by the
    /// markers in their environment.
    fn report(&self, written: &io::Result<()>) {
        if let Err(error) = written {
            tracing::error!(
                event = "journal.failed",
                %error,
                "nothing can be written down; agents run on, and this is tried again"
            );
            self.failed.notify_one();
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record for Journal {
    fn identity(&self, run: RunId, identity: Identity) {
        self.learn(Fact::Identity(run, identity));
        self.commit();
    }
}

impl Remember for Journal {
    fn agent(&self, id: &EntityId, agent: &Agent) {
        if self.inner().memory.agents.get(id) == Some(agent) {
            return;
        }
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

    fn orders(&self, orders: &Orders) {
        self.learn(Fact::Orders(orders.clone()));
        self.note_orders();
    }

    fn commit(&self) {
        let written = self.inner().append();
        self.report(&written);
    }
}

impl Inner {
    /// Nothing is to be appended while the whole memory waits to be written.
    fn learn(&mut self, fact: Fact) -> io::Result<()> {
        if self.file.is_some() {
            write_line(&mut self.pending, &fact)?;
        }
        self.memory.learn(fact);
        Ok(())
    }

    fn append(&mut self) -> io::Result<()> {
        let lines = mem::take(&mut self.pending);
        if lines.is_empty() {
            return Ok(());
        }
        let Some(mut appended) = self.file.take() else { return Ok(()) };
        appended.write(&lines)?;
        if appended.size > LEAST_COMPACTION.max(appended.compacted.saturating_mul(2)) {
            return self.write_anew();
        }
        self.file = Some(appended);
        Ok(())
    }

    fn write_anew(&mut self) -> io::Result<()> {
        self.file = None;
        self.pending.clear();
        let (file, size) = write_anew(&self.path, &self.memory)?;
        self.file = Some(Appended { file, size, compacted: size });
        Ok(())
    }
}

impl Appended {
    /// In one call, but for tests: nobody else could see half of it.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let (one, other) = lines.split_at(if fault::ENABLED { lines.len() / 2 } else { 0 });
        self.file.write_all(one)?;
        fault::reach(Point::JournalTorn);
        self.file.write_all(other)?;
        fault::reach(Point::JournalWritten);
        self.size += lines.len() as u64;
        Ok(())
    }
}

/// Writes the whole memory to a new file that then takes the place of the old one.
fn write_anew(path: &Path, memory: &Memory) -> io::Result<(File, u64)> {
    let next = path.with_extension("next");
    let mut text = Vec::new();
    for fact in memory.facts() {
        write_line(&mut text, &fact)?;
    }
    let _ = fs::remove_file(&next);
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&next)?;
    let written = file.write_all(&text).and_then(|()| file.sync_data());
    fault::reach(Point::JournalCopied);
    if let Err(error) = written.and_then(|()| fs::rename(&next, path)) {
        // On a full disk, half of it would take the room that agents need.
        let _ = fs::remove_file(&next);
        return Err(error);
    }
    fault::reach(Point::JournalReplaced);
    Ok((file, text.len() as u64))
}

/// `checksum fact`, ended by a newline. JSON has no newline of its own.
fn write_line(text: &mut Vec<u8>, fact: &Fact) -> io::Result<()> {
    let json = serde_json::to_string(fact)?;
    writeln!(text, "{:08x} {json}", crc32fast::hash(json.as_bytes()))
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
    if !intact {
        return None;
    }
    serde_json::from_str(json).ok().filter(Fact::is_possible)
}

impl Fact {
    /// Whether a runner can have written it.
    fn is_possible(&self) -> bool {
        let run = match self {
            Self::Agent(_, agent) => agent.run(),
            Self::Identity(run, _) | Self::Over(run) => Some(*run),
            Self::NextRun(next) => Some(RunId(*next)),
            Self::Boot(_)
            | Self::Forgotten(_)
            | Self::Arrived(..)
            | Self::Left(_)
            | Self::Orders(_) => None,
        };
        run.is_none_or(|run| run <= RunId::GREATEST)
    }
}

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
