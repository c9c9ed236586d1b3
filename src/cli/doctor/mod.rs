//! `runner doctor`: what this host offers to a runner, and what is missed.
//!
//! Each check tries the thing itself, with what the runner would do it with: the number of a kernel
//! tells nothing of what a container allows. Whatever is made for that is removed.

mod cluster;
mod containment;
mod files;
mod host;
mod place;
mod tools;

use std::sync::Arc;

use clap::{Parser, ValueEnum};
use clap_complete::ArgValueCompleter;
use serde::Serialize;

use super::file::{Instead, Loaded, locate};
use super::output::{Output, Table, escaped, one, print_for_programs};
use super::{Ending, candidates, fail, print, runtime};
use crate::config::Config;

/// Try what this host offers to a runner, and tell what is missed.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
                  runner doctor\n  \
                  runner doctor --config configs/foraging.toml\n  \
                  runner doctor -o json | jq '.checks[] | select(.state != \"Ok\")'\n\n\
                  With a configuration, it is checked whether this host has what that one needs.\n\n\
                  Exits with 0 if all is there that is needed, with 1 if something is not. Nothing \
                  is left changed.")]
pub(super) struct Args {
    /// The configuration: a path, or a name found in ./configs (with or without .toml).
    #[arg(long, short, value_name = "PATH|NAME",
          add = ArgValueCompleter::new(candidates::configurations))]
    config: Option<String>,
    #[command(flatten)]
    instead: Instead,
    /// How it is printed.
    #[arg(long, short, value_enum, default_value = "table")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns for people, and what to do about what is not ok.
    Table,
    /// JSON, with `apiVersion` and `kind`.
    Json,
    /// The same as YAML.
    Yaml,
}

/// How well a thing is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum State {
    /// As it should be.
    Ok,
    /// The runner does without it, or with less of it.
    Degraded,
    /// It is needed and not there.
    Missing,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "Ok",
            Self::Degraded => "Degraded",
            Self::Missing => "Missing",
        }
    }
}

/// What came of one check.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    /// What was found.
    found: String,
    /// What follows from that.
    means: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>, means: impl Into<String>) -> Self {
        Self { name, state: State::Ok, found: found.into(), means: means.into(), help: None }
    }

    fn degraded(name: &'static str, found: impl Into<String>, means: impl Into<String>) -> Self {
        Self { state: State::Degraded, ..Self::ok(name, found, means) }
    }

    fn missing(name: &'static str, found: impl Into<String>, means: impl Into<String>) -> Self {
        Self { state: State::Missing, ..Self::ok(name, found, means) }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Degraded, or missing where it is needed.
    fn unless_needed(self, needed: bool) -> Self {
        match self.state {
            State::Degraded if needed => Self { state: State::Missing, ..self },
            State::Ok | State::Degraded | State::Missing => self,
        }
    }
}

/// The report as programs get it.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether all is there that is needed.
    healthy: bool,
    checks: Vec<Check>,
}

pub(super) fn run(args: &Args) -> Ending {
    let loaded =
        args.config.as_deref().map(|name| args.instead.clone().load_untried(locate(name)?));
    let loaded = match loaded.transpose() {
        Ok(loaded) => loaded,
        Err(ending) => return ending,
    };
    let checks = match examine(loaded, &args.instead) {
        Ok(checks) => checks,
        Err(error) => return fail("nothing can be tried here", &error),
    };
    let healthy = checks.iter().all(|check| check.state != State::Missing);
    let report = Report { healthy, checks };
    match args.output {
        Format::Table => show(&report.checks),
        Format::Json => print_for_programs(Output::Json, &one("DoctorReport", &report)),
        Format::Yaml => print_for_programs(Output::Yaml, &one("DoctorReport", &report)),
    }
    if healthy { Ending::Done } else { Ending::Failed }
}

fn examine(loaded: Option<Loaded>, instead: &Instead) -> std::io::Result<Vec<Check>> {
    let config: Option<Arc<Config>> = loaded.as_ref().map(|loaded| Arc::clone(&loaded.config));
    let config = config.as_deref();
    let path = loaded.as_ref().map(|loaded| loaded.path.clone());
    let name = loaded.as_ref().map(Loaded::name).unwrap_or_default();
    let state_dir = place::state_dir(loaded.as_ref(), instead.state_dir.as_deref());
    let names_one = loaded.is_some() || instead.state_dir.is_some();
    // Before there is a runtime, as for a runner.
    let mut checks = containment::checks(loaded);
    checks.extend([host::open_files(config), host::processes(config)]);
    checks.push(files::watch(path.as_deref()));
    checks.extend(place::checks(&state_dir));
    let runtime = runtime()?;
    checks.extend(runtime.block_on(async {
        let mut checks = vec![place::instance(&state_dir, names_one).await];
        checks.extend(tools::checks(config).await);
        checks.extend(host::world(config).await);
        checks.extend(cluster::checks(config, &name).await);
        checks
    }));
    // A name that is still being looked up must not delay the end.
    runtime.shutdown_background();
    checks.extend([host::clock(), host::systemd(), host::terminal()]);
    Ok(checks)
}

fn show(checks: &[Check]) {
    let mut table = Table::new(&["CHECK", "STATE", "FOUND"]);
    for Check { name, state, found, .. } in checks {
        table.row([(*name).to_owned(), state.name().to_owned(), found.clone()]);
    }
    table.print();
    for check in checks.iter().filter(|check| check.state != State::Ok) {
        let state = check.state.name().to_lowercase();
        print(format_args!("\n{} is {state}: {}", check.name, escaped(&check.means)));
        if let Some(help) = &check.help {
            print(format_args!("  = help: {}", escaped(help)));
        }
    }
}
