//! Which running instance is meant, and talking to it.

use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf, absolute};

use clap::Args;
use clap_complete::{ArgValueCandidates, ArgValueCompleter};
use tonic::{Code, Status};

use super::file::state_dir_of;
use super::{Ending, candidates, fail, runtime, say};
use crate::config::{self, NotFound};
use crate::control::client::{Client, DEADLINE, connect, instances};

/// Which running instance. Not needed where only one runs.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct InstanceArgs {
    /// The instance that was started with this configuration: a path, or a name in ./configs.
    #[arg(long, short, value_name = "PATH|NAME", conflicts_with_all = ["name", "state_dir"],
          add = ArgValueCompleter::new(candidates::configurations))]
    config: Option<String>,
    /// The instance of this name: `runner.name`, or else its configuration file's without `.toml`.
    #[arg(long, value_name = "NAME", conflicts_with = "state_dir",
          add = ArgValueCandidates::new(candidates::instance_names))]
    name: Option<String>,
    /// The instance with this state directory.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// Does something with the instance that is meant.
pub(super) fn with<F>(args: &InstanceArgs, work: impl FnOnce(Client) -> F) -> Ending
where
    F: Future<Output = Result<Ending, Status>>,
{
    let state_dir = match args.state_dir() {
        Ok(dir) => dir,
        Err(ending) => return ending,
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail("cannot ask the runner", &error),
    };
    runtime.block_on(async {
        let client = match connect(&state_dir) {
            Ok(client) => client,
            Err(error) => return away(&state_dir, &error),
        };
        match work(client).await {
            Ok(ending) => ending,
            Err(status) => refused(&status),
        }
    })
}

fn away(state_dir: &Path, error: &io::Error) -> Ending {
    let dir = state_dir.display();
    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
        say(format_args!("error: no runner has the state directory {dir} at the moment"));
        say("  = help: start one with `runner reconcile --config FILE`");
        return Ending::Failed;
    }
    fail(&format!("the runner of {dir} cannot be asked"), error)
}

/// Says what the instance said.
pub(super) fn refused(status: &Status) -> Ending {
    if matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded) {
        say(format_args!("error: the runner gave no answer within {DEADLINE:?}"));
    } else {
        say(format_args!("error: {}", status.message()));
    }
    if status.code() == Code::InvalidArgument { Ending::Wrong } else { Ending::Failed }
}

impl InstanceArgs {
    /// The one with this state directory; if none is named, the one that runs.
    pub(super) fn of(state_dir: Option<PathBuf>) -> Self {
        Self { state_dir, ..Self::default() }
    }

    /// The state directory of the instance that is meant. If none is, it was said why.
    pub(super) fn state_dir(&self) -> Result<PathBuf, Ending> {
        self.find().map_err(|unclear| unclear.tell())
    }

    /// The same, without a word.
    pub(super) fn find(&self) -> Result<PathBuf, Unclear> {
        if let Some(dir) = &self.state_dir {
            return Ok(absolute(dir)?);
        }
        if let Some(config) = &self.config {
            return Ok(state_dir_in(&config::locate(config)?)?);
        }
        let all = instances()?;
        if let Some(name) = &self.name {
            let usual = state_dir_of(name)?;
            let named = all.iter().find(|dir| dir.file_name().is_some_and(|own| own == &**name));
            return Ok(named.filter(|_| !all.contains(&usual)).cloned().unwrap_or(usual));
        }
        match &all[..] {
            [one] => Ok(one.clone()),
            [] => Err(Unclear::Nobody),
            _several => Err(Unclear::Several(all)),
        }
    }
}

/// Why it cannot be told which instance is meant.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unclear {
    /// There is no such configuration.
    #[error(transparent)]
    NoConfig(#[from] NotFound),
    /// Where it would be cannot be told.
    #[error(transparent)]
    Unusable(#[from] io::Error),
    /// None runs.
    #[error("no runner runs here")]
    Nobody,
    /// Any of these.
    #[error("{} runners run here", .0.len())]
    Several(Vec<PathBuf>),
}

impl Unclear {
    /// Says so to a person.
    fn tell(&self) -> Ending {
        match self {
            Self::NoConfig(_) => {
                say(format_args!("error: {self}"));
                Ending::Wrong
            }
            Self::Unusable(error) => fail("no instance", error),
            Self::Nobody => {
                say(format_args!("error: {self}"));
                say("  = help: start one with `runner reconcile --config FILE`");
                Ending::Failed
            }
            Self::Several(dirs) => {
                say(format_args!("error: {self}; say which one:"));
                for dir in dirs {
                    say(format_args!("  --state-dir {}", dir.display()));
                }
                Ending::Wrong
            }
        }
    }
}

/// What the file says of it, which may have any other mistake: the instance runs on with what it
/// was before.
fn state_dir_in(config: &Path) -> io::Result<PathBuf> {
    let text = fs::read_to_string(config)?;
    let file: toml::Table = toml::from_str(&text).map_err(io::Error::other)?;
    let runner = |key| file.get("runner")?.get(key)?.as_str();
    if let Some(dir) = runner("state_dir") {
        return absolute(dir);
    }
    let stem = config.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    state_dir_of(&runner("name").map(str::to_owned).or(stem).unwrap_or_default())
}
