//! The programs that agents are run by.

use std::collections::BTreeSet;
use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{Access, access};
use tokio::process::Command;
use tokio::time::timeout;

use super::Check;
use crate::config::Config;

/// How long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn checks(config: Option<&Config>) -> Vec<Check> {
    let programs = config.map(programs).unwrap_or_default();
    let is_run = |name: &str| programs.iter().any(|(_, program)| program == Path::new(name));
    let uv_needed =
        is_run("uv") || config.is_some_and(|config| !config.rules.projects().is_empty());
    let mut checks = vec![
        tool("uv", "--version", "templates with `module` start by it")
            .await
            .unless_needed(uv_needed),
        tool("python3", "--version", "uv takes it, or installs its own")
            .await
            .unless_needed(is_run("python3")),
    ];
    checks.extend(config.map(|_| found(&programs)));
    checks
}

async fn tool(name: &'static str, option: &str, means: &str) -> Check {
    let missing = |found: String| {
        let means = format!("agents that are run by {name} cannot start");
        let help = match name {
            "uv" => "install it (https://docs.astral.sh/uv), where the PATH of the runner has it",
            _ => "install it; agents that uv runs do not need it",
        };
        Check::degraded(name, found, means).help(help)
    };
    let mut command = Command::new(name);
    command.arg(option).stdin(Stdio::null()).kill_on_drop(true);
    match timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) if output.status.success() => {
            let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            let place = in_path(Path::new(name)).map(|path| format!(", {}", path.display()));
            Check::ok(name, said + &place.unwrap_or_default(), means)
        }
        Ok(Ok(output)) => missing(format!("`{name} {option}` failed: {}", output.status)),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            missing("not in PATH".to_owned())
        }
        Ok(Err(error)) => missing(error.to_string()),
        Err(_elapsed) => missing(format!("it did not say its version within {PATIENCE:?}")),
    }
}

/// What each template runs, with its directory. Those that depend on the entity are left out.
fn programs(config: &Config) -> BTreeSet<(PathBuf, PathBuf)> {
    let synced = config.rules.projects();
    let templates = config.rules.templates.iter();
    // What uv will make is not there yet, and what is in an image is not here.
    let here = templates.filter(|template| template.pod.is_none());
    let own = here.filter(|template| !synced.contains(&template.cwd));
    let program = |template: &std::sync::Arc<crate::plan::Template>| {
        let program = template.command().into_iter().next()?;
        (!program.contains('{')).then(|| (template.cwd.clone(), program.into()))
    };
    own.filter_map(program).collect()
}

fn found(programs: &BTreeSet<(PathBuf, PathBuf)>) -> Check {
    const NAME: &str = "programs";
    let is_there = |(cwd, program): &(PathBuf, PathBuf)| {
        if program.components().count() > 1 {
            is_executable(&cwd.join(program))
        } else {
            in_path(program).is_some()
        }
    };
    let (there, missing): (Vec<_>, Vec<_>) = programs.iter().partition(|it| is_there(it));
    let names = |of: &[&(PathBuf, PathBuf)]| {
        let names: BTreeSet<_> = of.iter().map(|(_, it)| it.display().to_string()).collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    };
    if missing.is_empty() {
        return Check::ok(NAME, names(&there), "templates can start what they name");
    }
    let found = format!("not there: {}", names(&missing));
    Check::missing(NAME, found, "agents of templates that name them cannot start")
        .help("install them where the PATH of the runner has them, or write their paths")
}

fn in_path(program: &Path) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(program)).find(|it| is_executable(it))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}
