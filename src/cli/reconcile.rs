//! `runner reconcile`: the main job.

use std::io;
use std::sync::Arc;

use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::file::{ConfigFile, Loaded};
use super::settings::{Settler, containment, instance, rotation};
use super::{Ending, fail, runtime};
use crate::clock::Clock;
use crate::config::{self, Config, OnExit, Reload, Watch};
use crate::discovery;
use crate::executor::gate::VERB;
use crate::executor::local::survey::survey;
use crate::executor::{Local, Record, Trees, logs};
use crate::plan::Intent;
use crate::reconcile::{Inheritance, Reconciler, Settings, Sources};
use crate::state::{Directory, DirectoryError, Journal, restore};

/// Keep one agent for each entity, until told to stop.
#[derive(Debug, Parser)]
#[command(after_help = "Example: runner reconcile --config configs/demo.toml\n\n\
                  The file may be edited while this runs; SIGHUP reads it now. SIGINT or SIGTERM \
                  stops all agents and ends with 0; a second one kills them.")]
pub(super) struct Args {
    #[command(flatten)]
    file: ConfigFile,
}

pub(super) fn run(args: Args) -> Ending {
    let loaded = match args.file.load() {
        Ok(loaded) => loaded,
        Err(ending) => return ending,
    };
    let directory = match loaded.state_dir().map(|path| Directory::lock(&path)) {
        Ok(Ok(directory)) => directory,
        Ok(Err(error @ DirectoryError::Held { .. })) => {
            fail("cannot reconcile", &error);
            return Ending::Held;
        }
        Ok(Err(error)) => return fail("cannot reconcile", &error),
        Err(error) => return fail("no state directory", &error),
    };
    match runtime().and_then(|runtime| runtime.block_on(reconcile(loaded, &directory))) {
        Ok(()) => Ending::Done,
        Err(error) => fail("cannot reconcile", &error),
    }
}

async fn reconcile(loaded: Loaded, directory: &Directory) -> io::Result<()> {
    // Before anything is started: a signal that comes early must not end us with agents left.
    let signals = Signals::new()?;
    let Loaded { path, overrides, config, bytes } = loaded;
    info!(event = "runner.started", config = %path.display(), pid = std::process::id(), "started");

    let clock = Clock::new();
    let (journal, inheritance) = take_up(directory, clock)?;
    let trees = hold(directory, &config, &inheritance)?;
    let mut settler = Settler::new(directory.path())?;
    let (settings, asked) = settler.settle(&config).await?;
    let (rotation, rotation_seen) = watch::channel(rotation(&settings));
    let (settings, settings_seen) = watch::channel(Arc::new(settings));
    let (asked, asked_seen) = watch::channel(asked);
    let (intent, intent_seen) = watch::channel(Intent::Run);

    let world = discovery::start(asked_seen, clock);
    let record = Arc::clone(&journal) as Arc<dyn Record>;
    let (executor, events) = Local::new(gate(), record, Arc::clone(&trees));
    executor.reap_orphans()?;
    let rotator = logs::Rotator::new(rotation_seen, clock);
    let watch = config::watch(&path, overrides, bytes)?;
    let view = world.view();
    let sources = Sources { settings: settings_seen, intent: intent_seen, view, events };
    let effects = (executor, world, Arc::clone(&journal));
    let reconciler = Reconciler::new(effects, sources, clock).resume(inheritance);
    let operator = Operator { signals, intent, watch, settler, settings, asked, rotation, config };

    let left = tokio::select! {
        intent = reconciler.run() => intent == Intent::Leave,
        () = operator.run() => false,
        () = rotator.run() => false,
        () = Arc::clone(&journal).mend() => false,
    };
    trees.close();
    if left {
        info!(event = "runner.stopped", "the agents run on");
    } else {
        journal.clear();
        info!(event = "runner.stopped", "no agent is left");
    }
    Ok(())
}

/// What another runner left behind, and the journal that goes on from there.
fn take_up(directory: &Directory, clock: Clock) -> io::Result<(Arc<Journal>, Inheritance)> {
    let (journal, damaged) = Journal::open(directory.path())?;
    if damaged > 0 {
        warn!(event = "journal.damaged", lines = damaged, "lines of the journal are damaged");
    }
    let found = survey(&instance(directory.path()))?;
    let inheritance = restore(journal.memory(), found, clock.now());
    Ok((Arc::new(journal), inheritance))
}

/// What holds the trees of agents, after those that belong to no agent were ended.
fn hold(
    directory: &Directory,
    config: &Config,
    inheritance: &Inheritance,
) -> io::Result<Arc<Trees>> {
    let instance = instance(directory.path());
    let containment = containment(config.containment);
    let trees = Trees::probe(&instance, containment, &gate()).map_err(|why| {
        let help = "write `containment = \"auto\"` to run agents all the same";
        io::Error::other(format!("{why}; {help}"))
    })?;
    trees.sweep(&inheritance.adoptions.values().map(|adopted| adopted.run).collect());
    Ok(Arc::new(trees))
}

/// The command that is a gate: this very program, even if another one is on the disk by now.
fn gate() -> Vec<String> {
    vec!["/proc/self/exe".to_owned(), VERB.to_owned()]
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Brings signals and edited files to the loop.
struct Operator {
    signals: Signals,
    intent: watch::Sender<Intent>,
    watch: Watch,
    settler: Settler,
    settings: watch::Sender<Arc<Settings>>,
    asked: watch::Sender<discovery::Settings>,
    rotation: watch::Sender<logs::Settings>,
    /// The one in force.
    config: Arc<Config>,
}

impl Operator {
    /// Runs as long as the loop does.
    async fn run(mut self) {
        loop {
            tokio::select! {
                _ = self.signals.interrupt.recv() => self.stop(),
                _ = self.signals.terminate.recv() => self.stop(),
                _ = self.signals.hangup.recv() => self.watch.reloader.reload_now(),
                Some(reload) = self.watch.reloads.recv() => self.reload(reload).await,
            }
        }
    }

    /// The first time in good order, the second time at once.
    fn stop(&self) {
        let on_exit = self.config.on_exit;
        self.intent.send_modify(|intent| {
            *intent = match (*intent, on_exit) {
                (Intent::Run, OnExit::Stop) => Intent::Stop,
                (Intent::Run | Intent::Leave, OnExit::Leave) => Intent::Leave,
                (Intent::Stop | Intent::Kill | Intent::Leave, _) => Intent::Kill,
            };
        });
    }

    async fn reload(&mut self, reload: Reload) {
        match reload {
            Reload::Applied(config) if config == self.config => {
                info!(event = "config.unchanged", "the file says what it said before");
            }
            Reload::Applied(config) => self.apply(config).await,
            Reload::Rejected(mistakes) => {
                let generation = self.settings.borrow().generation;
                error!(
                    event = "config.rejected",
                    mistakes = mistakes.len(),
                    "the file is wrong; configuration #{generation} stays in force\n{}",
                    mistakes.render(false)
                );
            }
            Reload::Unreadable(reason) => {
                let generation = self.settings.borrow().generation;
                warn!(
                    event = "config.unreadable",
                    %reason,
                    "the file cannot be read; configuration #{generation} stays in force"
                );
            }
        }
    }

    async fn apply(&mut self, config: Arc<Config>) {
        match self.settler.settle(&config).await {
            Ok((settings, asked)) => {
                info!(
                    event = "config.applied",
                    generation = settings.generation,
                    templates = settings.rules.templates.len(),
                    "the file was read"
                );
                // The world client first: the loop ignores its view until both mean one server.
                self.asked.send_if_modified(|before| {
                    let changed = *before != asked;
                    *before = asked;
                    changed
                });
                let logs = rotation(&settings);
                self.rotation
                    .send_if_modified(|before| std::mem::replace(before, logs.clone()) != logs);
                self.settings.send_replace(Arc::new(settings));
                self.config = config;
            }
            Err(error) => {
                error!(event = "config.rejected", %error, "the embedded world cannot be started");
            }
        }
    }
}
