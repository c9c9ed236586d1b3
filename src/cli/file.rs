//! The options that name a configuration file and override parts of it, and reading it.

use std::env;
use std::io;
use std::path::{PathBuf, absolute};
use std::sync::Arc;

use clap::Args;
use clap_complete::ArgValueCompleter;

use super::logging::colour;
use super::{Ending, candidates, fail, limits, say};
use crate::config::{self, Config, LoadError, OnExit, Overrides, ServerName};

/// Which configuration.
#[derive(Clone, Debug, Args)]
pub(super) struct ConfigFile {
    /// The configuration: a path, or a name found in ./configs (with or without .toml).
    #[arg(long, short, value_name = "PATH|NAME",
          add = ArgValueCompleter::new(candidates::configurations))]
    config: String,
    #[command(flatten)]
    instead: Instead,
}

/// What the command line says in place of the file.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Instead {
    /// The world's address, or `embedded`; wins over `runner.server`.
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<ServerName>,
    /// Where agents' output goes; wins over `runner.log_dir`.
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// Where the runner remembers what must outlive it; wins over `runner.state_dir`.
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
    /// The working directory of agents; wins over `runner.agents_dir`.
    #[arg(long, value_name = "DIR")]
    agents_dir: Option<PathBuf>,
    /// What becomes of the agents when it is told to stop; wins over `runner.on_exit`.
    #[arg(long, value_enum)]
    on_exit: Option<OnExit>,
}

/// A configuration, and where it came from.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) path: PathBuf,
    pub(super) overrides: Overrides,
    pub(super) config: Arc<Config>,
    /// What the file held.
    pub(super) bytes: Vec<u8>,
}

impl Loaded {
    /// The directory of this runner's state. It need not be there.
    pub(super) fn state_dir(&self) -> io::Result<PathBuf> {
        match &self.config.state_dir {
            Some(named) => absolute(named),
            None => state_dir_of(&self.name()),
        }
    }

    /// Checks what was read once more, by what can be enforced.
    pub(super) fn check_again(&mut self) -> Result<(), LoadError> {
        let bytes = self.bytes.clone();
        self.config = config::read_again(&self.path, bytes, &self.overrides)?.config;
        Ok(())
    }

    /// Reads the file once more, which may have been edited since. One that is wrong by now changes
    /// nothing: who watches it says so.
    pub(super) fn refresh(&mut self) {
        if let Ok(read) = config::load(&self.path, &self.overrides) {
            (self.config, self.bytes) = (read.config, read.bytes);
        }
    }

    /// What this runner is called.
    pub(super) fn name(&self) -> String {
        let stem = || self.path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        self.config.name.clone().or_else(stem).unwrap_or_default()
    }
}

/// The state directory of the runner of this name that was not given another one.
pub(super) fn state_dir_of(name: &str) -> io::Result<PathBuf> {
    Ok(state_home()?.join("runner").join(name))
}

/// As the XDG base directory specification has it.
pub(super) fn state_home() -> io::Result<PathBuf> {
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state"))).ok_or_else(
        || {
            let message = "neither XDG_STATE_HOME nor HOME is set: give --state-dir";
            io::Error::new(io::ErrorKind::NotFound, message)
        },
    )
}

impl ConfigFile {
    /// Reads and checks the file. If that fails, it was said why, and nothing else is to be done.
    pub(super) fn load(self) -> Result<Loaded, Ending> {
        self.instead.load(locate(&self.config)?)
    }
}

impl Instead {
    /// Reads and checks this file. If that fails, it was said why, and nothing else is to be done.
    pub(super) fn load(self, path: PathBuf) -> Result<Loaded, Ending> {
        let mut loaded = self.load_untried(path)?;
        // What it asks for has to be known before it can be tried.
        loaded.overrides.enforceable = limits::enforceable(&loaded.config);
        loaded.check_again().map_err(refuse)?;
        Ok(loaded)
    }

    /// The same, but for what depends on what this machine can enforce.
    pub(super) fn load_untried(self, path: PathBuf) -> Result<Loaded, Ending> {
        let Self { server, log_dir, state_dir, agents_dir, on_exit } = self;
        let said =
            Overrides { server, log_dir, state_dir, agents_dir, on_exit, ..Overrides::default() };
        load(path, said)
    }
}

/// Reads and checks a file that is for another machine. If that fails, it was said why, and nothing
/// else is to be done.
pub(super) fn load_for_elsewhere(path: PathBuf) -> Result<Loaded, Ending> {
    load(path, Overrides { elsewhere: true, ..Overrides::default() })
}

fn load(path: PathBuf, overrides: Overrides) -> Result<Loaded, Ending> {
    let config::Loaded { config, bytes } = config::load(&path, &overrides).map_err(refuse)?;
    Ok(Loaded { path, overrides, config, bytes })
}

/// The file that the user means.
pub(super) fn locate(name: &str) -> Result<PathBuf, Ending> {
    config::locate(name).map_err(|not_found| {
        say(format_args!("error: {not_found}"));
        Ending::Wrong
    })
}

/// Says why there is no configuration.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn refuse(error: LoadError) -> Ending {
    match &error {
        LoadError::Rejected(mistakes) => {
            say(mistakes.render(colour()));
        }
        LoadError::Unreadable { .. } => {
            fail("the configuration", &error);
        }
    }
    Ending::Wrong
}
