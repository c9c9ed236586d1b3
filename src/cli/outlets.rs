//! What others are told, where the configuration asks for it: metrics and hooks.

use std::net::SocketAddr;
use std::path::Path;

use tokio::sync::{mpsc, watch};

use super::settings::instance;
use crate::config::{self, Config};
use crate::control::event;
use crate::events::Events;
use crate::hooks::{self, Hooks};
use crate::metrics::{Exporter, Meter};
use crate::reconcile::Request;

/// Tells them what the configuration asks for.
#[derive(Debug)]
pub(super) struct Outlets {
    metrics: watch::Sender<Option<SocketAddr>>,
    hooks: watch::Sender<Option<hooks::Settings>>,
    /// What hooks are told of this instance.
    env: Vec<(String, String)>,
}

impl Outlets {
    /// For the instance of this name, with this state directory.
    pub(super) fn new(config: &Config, name: &str, state_dir: &Path) -> Self {
        let env = vec![
            ("RUNNER_NAME".to_owned(), name.to_owned()),
            ("RUNNER_STATE_DIR".to_owned(), instance(state_dir)),
        ];
        let hooks = watch::Sender::new(hook_settings(config, &env));
        Self { metrics: watch::Sender::new(config.metrics), hooks, env }
    }

    /// Has them do from now on what the configuration asks for.
    pub(super) fn apply(&self, config: &Config) {
        self.metrics.send_replace(config.metrics);
        self.hooks.send_replace(hook_settings(config, &self.env));
    }

    /// Tells of what the loop knows and the meter counts.
    pub(super) fn exporter(
        &self,
        meter: &Meter,
        requests: &mpsc::UnboundedSender<Request>,
    ) -> Exporter {
        Exporter::new(self.metrics.subscribe(), meter.clone(), requests.clone())
    }

    /// Runs what is to be run for what happens from now on.
    pub(super) fn hooks(&self, events: &Events) -> Hooks {
        let encode = |record: &_| super::events::json(event(Clone::clone(record)));
        Hooks::new(self.hooks.subscribe(), events.clone(), encode)
    }
}

fn hook_settings(config: &Config, env: &[(String, String)]) -> Option<hooks::Settings> {
    let config::Hooks { on_event, kinds, timeout } = config.hooks.clone()?;
    Some(hooks::Settings { command: on_event, kinds, timeout, env: env.to_vec() })
}
