//! What a person wants of a running instance: signals, orders of the control API, and edits of the file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use super::cluster;
use super::console::Console;
use super::limits;
use super::manager::Manager;
use super::outlets::Outlets;
use super::replace::Successor;
use super::settings::{Settler, rotation, with_absolute_cwds};
use super::signals::{self, Signals, Told};
use crate::config::{self, Config, ExecutorKind, LoadError, OnExit, Overrides, Reload, Watch};
use crate::control::Ask;
use crate::control::preview::Draft;
use crate::discovery;
use crate::events::Events;
use crate::executor::kubernetes::Rate;
use crate::executor::logs;
use crate::plan::{Enforceable, Intent};
use crate::project::Dirs;
use crate::proto::control as pb;
use crate::reconcile::Settings;

/// Brings signals, orders and edited files to the loop.
pub(super) struct Operator<'a> {
    pub(super) signals: Signals,
    pub(super) console: &'a Console,
    pub(super) path: PathBuf,
    pub(super) overrides: Overrides,
    pub(super) manager: &'a Manager,
    pub(super) asks: mpsc::UnboundedReceiver<Ask>,
    /// Who waits for what comes of the file.
    pub(super) reloading: Vec<oneshot::Sender<pb::ReloadResponse>>,
    pub(super) events: Events,
    pub(super) successor: &'a Successor,
    pub(super) intent: watch::Sender<Intent>,
    pub(super) watch: Watch,
    pub(super) settler: Settler,
    pub(super) settings: watch::Sender<Arc<Settings>>,
    pub(super) asked: watch::Sender<discovery::Settings>,
    pub(super) rotation: watch::Sender<logs::Settings>,
    pub(super) projects: watch::Sender<Dirs>,
    /// How often the cluster is asked, if agents are in one.
    pub(super) rate: Option<watch::Sender<Rate>>,
    pub(super) outlets: Outlets,
    /// Which limits are.
    pub(super) enforceable: Enforceable,
    /// The one in force.
    pub(super) config: Arc<Config>,
}

impl Operator<'_> {
    /// Runs until a successor can take over.
    pub(super) async fn run(mut self) -> io::Result<()> {
        loop {
            tokio::select! {
                told = self.signals.next() => match told? {
                    Told::Stop => self.stop(),
                    Told::Reload => self.reload_now(),
                    Told::Replace if self.can_be_replaced().await => return Ok(()),
                    Told::Replace => {}
                    Told::Suspend => self.console.aside(signals::suspend)?,
                    Told::Redraw => self.console.redraw(),
                },
                Some(ask) = self.asks.recv() => self.heed(ask),
                Some(reload) = self.watch.reloads.recv() => self.reload(reload).await,
            }
        }
    }

    fn heed(&mut self, ask: Ask) {
        match ask {
            Ask::Draft { config, done } => {
                // Who asked may have gone away.
                let _ = done.send(self.draft(config));
            }
            Ask::Reload(done) => {
                self.reloading.push(done);
                self.reload_now();
            }
            Ask::Stop { leave_agents } => self.intent.send_modify(|intent| {
                *intent = match (*intent, leave_agents) {
                    (Intent::Run, true) => Intent::Leave,
                    (Intent::Run, false) => Intent::Stop,
                    (already, _) => already,
                };
            }),
        }
    }

    /// What this would come to, in the place of the file.
    fn draft(&self, config: Vec<u8>) -> Result<Draft, String> {
        let read = config::read_again(&self.path, config, &self.overrides);
        let config = read.map(|loaded| loaded.config).map_err(|error| match error {
            LoadError::Rejected(mistakes) => mistakes.render(false),
            LoadError::Unreadable { .. } => error.to_string(),
        })?;
        let server = config.server.address().map(str::to_owned);
        Ok(Draft { rules: with_absolute_cwds(&config), server })
    }

    fn reload_now(&self) {
        self.manager.reloading();
        self.watch.reloader.reload_now();
    }

    /// Tells those who asked for it what came of the file.
    fn reloaded(&mut self, outcome: &str, message: &str) {
        for waiting in self.reloading.drain(..) {
            // Who asked may have gone away.
            let _ = waiting.send(pb::ReloadResponse {
                outcome: outcome.to_owned(),
                config_generation: self.settings.borrow().generation,
                message: message.to_owned(),
            });
        }
    }

    /// Whether a successor could do better than go on with the same.
    async fn can_be_replaced(&self) -> bool {
        if *self.intent.borrow() != Intent::Run {
            warn!(event = "runner.kept", reason = "it is about to end", "is not replaced");
            return false;
        }
        let checked = self.successor.check().await;
        if let Err(reason) = &checked {
            error!(event = "runner.kept", %reason, "is not replaced, and goes on");
        }
        checked.is_ok()
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
        self.manager.reloading();
        match reload {
            Reload::Applied(config) if config == self.config => {
                info!(event = "config.unchanged", "the file says what it said before");
                self.reloaded("unchanged", "");
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
                self.reloaded("rejected", &mistakes.render(false));
            }
            Reload::Unreadable(reason) => {
                let generation = self.settings.borrow().generation;
                warn!(
                    event = "config.unreadable",
                    %reason,
                    "the file cannot be read; configuration #{generation} stays in force"
                );
                self.reloaded("unreadable", &reason.to_string());
            }
        }
        self.manager.reloaded();
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
                limits::tell_missing(&config, &self.enforceable);
                // The world client first: the loop ignores its view until both mean one server.
                self.asked.send_if_modified(|before| {
                    let changed = *before != asked;
                    *before = asked;
                    changed
                });
                let logs = rotation(&settings);
                self.rotation
                    .send_if_modified(|before| std::mem::replace(before, logs.clone()) != logs);
                self.projects.send_replace(settings.rules.projects());
                if let (Some(rate), ExecutorKind::Kubernetes(it)) = (&self.rate, &config.executor) {
                    rate.send_replace(cluster::rate(it));
                }
                self.settings.send_replace(Arc::new(settings));
                self.events.bound(config.events_max_bytes);
                self.outlets.apply(&config);
                self.config = config;
                self.reloaded("applied", "");
            }
            Err(error) => {
                error!(event = "config.rejected", %error, "the embedded world cannot be started");
                self.reloaded(
                    "rejected",
                    &format!("the embedded world cannot be started: {error}"),
                );
            }
        }
    }
}
