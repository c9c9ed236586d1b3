//! `runner reconcile`: the main job.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use nix::sys::prctl::set_dumpable;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::begun::Begun;
use super::console::Console;
use super::file::{ConfigFile, Loaded};
use super::outlets::Outlets;
use super::replace::Successor;
use super::signals::{self, Signals};
use super::{Ending, fail, runtime};
use crate::clock::Clock;
use crate::config::ExecutorKind;
use crate::control;
use crate::events::{Events, Recorder};
use crate::metrics::Meter;
use crate::state::{Directory, DirectoryError, Journal};
use crate::traces::Traces;

/// Keep one agent for each entity, until told to stop.
#[derive(Debug, Parser)]
#[command(after_help = "Example: runner reconcile --config configs/demo.toml\n\n\
                  The file may be edited while this runs; SIGHUP reads it now. SIGINT or SIGTERM \
                  stops all agents and ends with 0; a second one kills them. SIGUSR2 lets the \
                  program that is on the disk by now take over, without a restart of any agent.")]
pub(super) struct Args {
    #[command(flatten)]
    file: ConfigFile,
    /// Only say whether this could begin.
    #[arg(long, hide = true)]
    check: bool,
}

/// How the loop was left.
pub(super) enum Left {
    /// For good.
    Ended,
    /// For a successor in this very process.
    Replaced,
    /// For another runner, which leads the instance by now.
    Ousted,
}

/// What there is before a runner, and stays when it is replaced by itself.
pub(super) struct About<'a> {
    pub(super) successor: &'a Successor,
    pub(super) events: &'a Events,
    pub(super) meter: &'a Meter,
    pub(super) traces: Option<&'a Traces>,
    pub(super) console: &'a Console,
}

/// How long starts that are under way may take before a successor takes over. What is not done by
/// then is to it what it would be after a crash.
const LAST_STARTS: Duration = Duration::from_secs(12);

pub(super) fn run(
    args: &Args,
    recorder: &Recorder,
    (meter, traces): (&Meter, Option<&Traces>),
    console: &Console,
) -> Ending {
    let loaded = match args.file.clone().load() {
        Ok(loaded) => loaded,
        Err(ending) => return ending,
    };
    if args.check {
        return Ending::Done;
    }
    let directory = match loaded.state_dir().map(|path| Directory::lock(&path)) {
        Ok(Ok(directory)) => directory,
        Ok(Err(error @ DirectoryError::Held { .. })) => {
            fail("cannot reconcile", &error);
            return Ending::Held;
        }
        Ok(Err(error)) => return fail("cannot reconcile", &error),
        Err(error) => return fail("no state directory", &error),
    };
    // Before there is any thread that could take them.
    if let Err(error) = signals::block(console.has_line()) {
        return fail("cannot reconcile", &error);
    }
    let max_bytes = loaded.config.events_max_bytes;
    let events = Events::keep(recorder, directory.path(), max_bytes);
    let begun = events.and_then(|events| Ok((events, Successor::new()?)));
    let over = begun.and_then(|(events, successor)| {
        let about = About { successor: &successor, events: &events, meter, traces, console };
        let over = reconcile_on(&args.file, loaded, &directory, &about);
        events.flush();
        over
    });
    match over {
        Ok(ending) => ending,
        Err(error) => fail("cannot reconcile", &error),
    }
}

/// Reconciles until that is over. A successor that cannot take over after all is replaced by
/// ourselves: what it would have taken up is taken up here.
fn reconcile_on(
    file: &ConfigFile,
    mut loaded: Loaded,
    directory: &Directory,
    about: &About<'_>,
) -> io::Result<Ending> {
    loop {
        let exporting = about.traces.and_then(|traces| traces.export(&loaded.name()));
        let runtime = runtime()?;
        match runtime.block_on(reconcile(loaded.clone(), directory, about))? {
            Left::Ended => return Ok(Ending::Done),
            Left::Ousted => return Ok(Ending::Held),
            Left::Replaced => {}
        }
        runtime.shutdown_timeout(LAST_STARTS);
        drop(exporting);
        about.events.flush();
        directory.hand_on(true)?;
        let error = about.successor.take_over();
        directory.hand_on(false)?;
        error!(event = "runner.kept", %error, "cannot be replaced, and goes on");
        loaded = file.clone().load().unwrap_or(loaded);
    }
}

async fn reconcile(
    mut loaded: Loaded,
    directory: &Directory,
    about: &About<'_>,
) -> io::Result<Left> {
    // Its memory and its environment may hold what no agent of the same user is to read. An exec
    // undoes it, so agents are as they would be.
    if let Err(error) = set_dumpable(false) {
        warn!(%error, "other processes of this user may read the runner's memory");
    }
    let signals = Signals::new(about.console.has_line())?;
    let name = loaded.name();
    let executor = loaded.config.executor.clone();
    // From here on a file that says otherwise is refused.
    loaded.overrides.running = Some(executor.clone());
    let outlets = Outlets::new(&loaded.config, &name, directory.path());
    // What happens from here on has its hooks.
    let hooks = outlets.hooks(about.events);
    // Who reads that it is started may ask it.
    let socket = control::listen(directory.path());
    info!(event = "runner.started", config = %loaded.path.display(), pid = std::process::id(), "started");
    let (requests, requests_seen) = mpsc::unbounded_channel();
    let mut exporter = outlets.exporter(about.meter, &requests);
    exporter.settle().await;
    let clock = Clock::new();
    let journal = open_journal(directory)?;
    let begun = Begun {
        directory,
        about,
        loaded,
        name,
        signals,
        outlets,
        hooks,
        exporter,
        socket,
        requests: (requests, requests_seen),
        clock,
        journal,
    };
    match executor {
        ExecutorKind::Local => Box::pin(begun.on_this_machine()).await,
        ExecutorKind::Kubernetes(cluster) => Box::pin(begun.in_cluster(&cluster)).await,
    }
}

fn open_journal(directory: &Directory) -> io::Result<Arc<Journal>> {
    let (journal, damaged) = Journal::open(directory.path())?;
    if damaged > 0 {
        warn!(event = "journal.damaged", lines = damaged, "lines of the journal are damaged");
    }
    Ok(Arc::new(journal))
}
