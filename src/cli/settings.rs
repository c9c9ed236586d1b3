//! What a configuration comes to: settings for the loop and for the world client.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf, absolute};
use std::sync::Arc;

use tokio::net::TcpListener;
use tracing::{info, warn};

use super::replace::executable;
use crate::config::{self, Config, Logs, Server};
use crate::executor::{Containment, logs};
use crate::files::trust::no_link;
use crate::plan::Site;
use crate::world::{Definition, Handle, World};
use crate::{discovery, reconcile};

/// Turns configurations into settings, and keeps the embedded world if there is one.
pub(super) struct Settler {
    generation: u64,
    instance: String,
    runner: String,
    embedded: Option<Handle>,
    /// Where the port of the embedded world is written down.
    port: PathBuf,
}

impl Settler {
    /// For the runner with this state directory.
    pub(super) fn new(state_dir: &Path) -> io::Result<Self> {
        Ok(Self {
            generation: 0,
            instance: instance(state_dir),
            runner: runner()?,
            embedded: None,
            port: state_dir.join("world-port"),
        })
    }

    /// What `config` comes to. Starts or changes the embedded world if it asks for one.
    pub(super) async fn settle(
        &mut self,
        config: &Config,
    ) -> io::Result<(reconcile::Settings, discovery::Settings)> {
        let server = match &config.server {
            Server::Address(address) => address.clone(),
            Server::Embedded(definition) => self.embed(definition).await?,
        };
        self.generation += 1;
        Ok((self.reconcile_settings(config, server.clone()), discovery_settings(config, server)))
    }

    /// The address of the embedded world, which is as `definition` says from now on.
    async fn embed(&mut self, definition: &Definition) -> io::Result<String> {
        if let Some(world) = &self.embedded {
            world.apply(definition.clone());
            return Ok(world.address().to_string());
        }
        let listener = self.listen().await?;
        let world = World::start(definition.clone(), listener)?;
        let address = world.address().to_string();
        info!(event = "world.embedded", server = address, "the demo world is there");
        self.embedded = Some(world);
        Ok(address)
    }

    /// On the port that the world before this one had, if it is free: agents that outlived it were
    /// told its address.
    async fn listen(&self) -> io::Result<TcpListener> {
        let before = fs::read_to_string(&self.port).ok().and_then(|port| port.parse::<u16>().ok());
        let listener = match TcpListener::bind(("127.0.0.1", before.unwrap_or(0))).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind(("127.0.0.1", 0)).await?,
        };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).custom_flags(no_link());
        options
            .open(&self.port)?
            .write_all(listener.local_addr()?.port().to_string().as_bytes())?;
        Ok(listener)
    }

    fn reconcile_settings(&self, config: &Config, server: String) -> reconcile::Settings {
        reconcile::Settings {
            generation: self.generation,
            rules: Arc::new(with_absolute_cwds(config)),
            log_dir: absolute(&config.log_dir).unwrap_or_else(|_| config.log_dir.clone()),
            logs: policy(config.logs),
            site: Site { server, runner: self.runner.clone() },
            instance: self.instance.clone(),
        }
    }
}

const fn policy(config: Logs) -> logs::Policy {
    let Logs { max_bytes, keep, max_total_bytes } = config;
    logs::Policy { max_bytes, keep, max_total_bytes }
}

/// What the executor is to hold agents by.
pub(super) const fn containment(config: config::Containment) -> Containment {
    match config {
        config::Containment::Auto => Containment::Auto,
        config::Containment::Cgroup => Containment::Cgroup,
        config::Containment::PidNamespace => Containment::PidNamespace,
        config::Containment::ProcessGroup => Containment::ProcessGroup,
    }
}

/// What the rotator needs of the loop's settings.
pub(super) fn rotation(settings: &reconcile::Settings) -> logs::Settings {
    logs::Settings { dir: settings.log_dir.clone(), policy: settings.logs }
}

/// The name by which agents of this runner are found among all processes: its state directory.
pub(super) fn instance(state_dir: &Path) -> String {
    let resolved = state_dir.canonicalize();
    resolved.as_deref().unwrap_or(state_dir).to_string_lossy().into_owned()
}

/// The runner's own executable.
pub(super) fn runner() -> io::Result<String> {
    Ok(executable()?.to_string_lossy().into_owned())
}

/// The rules, with working directories that mean the same wherever they are read.
pub(super) fn with_absolute_cwds(config: &Config) -> crate::plan::Rules {
    let mut rules = config.rules.clone();
    // Those of pods are directories of their image.
    for template in rules.templates.iter_mut().filter(|template| template.pod.is_none()) {
        let cwd: &mut PathBuf = &mut Arc::make_mut(template).cwd;
        match absolute(&*cwd) {
            Ok(whole) => *cwd = whole,
            Err(error) => warn!(cwd = %cwd.display(), %error, "cannot be made absolute"),
        }
    }
    rules
}

pub(super) fn discovery_settings(config: &Config, server: String) -> discovery::Settings {
    discovery::Settings {
        server,
        credentials: config.credentials.clone(),
        timeout: config.discovery_timeout,
        interval: config.watch_interval,
        connection_timeout: config.connection_timeout,
    }
}
