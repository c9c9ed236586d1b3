//! The host's own limits, the world, the clock, and who looks after whom.

use std::env;
use std::fs;
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};

use super::Check;
use crate::cli::output::wants_colour;
use crate::cli::plan::ask;
use crate::clock::{Clock, wall_time};
use crate::config::{Config, Server};
use crate::credentials::{Credentials, Tls};

/// How long the world may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a runner holds open apart from its agents, with room for those who start and end, and for
/// readers of the control API.
const OWN_FILES: u64 = 64;

/// As many agents as a host should be fit for where no configuration says how many.
const SOME_AGENTS: u64 = 100;

/// The time at which this was written, in seconds: no clock that is right is before it.
const WRITTEN_SECONDS: u64 = 1_750_000_000;

fn agents(config: Option<&Config>) -> u64 {
    config.map_or(SOME_AGENTS, |config| config.rules.max_agents.try_into().unwrap_or(u64::MAX))
}

/// A runner holds one pidfd for each agent.
pub(super) fn open_files(config: Option<&Config>) -> Check {
    const NAME: &str = "open files";
    let limit = getrlimit(Resource::Nofile);
    let text = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    let fits = limit.current.map_or(u64::MAX, |current| current.saturating_sub(OWN_FILES));
    let room = if fits == u64::MAX {
        "any number of agents".to_owned()
    } else {
        format!("about {fits} agents")
    };
    let found = format!("{} (at most {}): {room}", text(limit.current), text(limit.maximum));
    let help = "raise it: `ulimit -n`, or LimitNOFILE= in the systemd unit";
    match fits {
        0 => Check::missing(NAME, found, "a runner cannot start any agent").help(help),
        fits if fits < agents(config) => {
            let means = format!(
                "more agents than that cannot be started, and {} are allowed for",
                agents(config)
            );
            Check::degraded(NAME, found, means).help(help)
        }
        _ => Check::ok(NAME, found, "the runner holds one open for each agent"),
    }
}

pub(super) fn processes(config: Option<&Config>) -> Check {
    const NAME: &str = "processes";
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let bounds = [
        ("for this user", getrlimit(Resource::Nproc).current),
        ("pid_max", number("/proc/sys/kernel/pid_max")),
        ("threads-max", number("/proc/sys/kernel/threads-max")),
    ];
    let shown = bounds.map(|(name, bound)| {
        format!("{} {name}", bound.map_or("unlimited".to_owned(), |bound| bound.to_string()))
    });
    let least = bounds.iter().filter_map(|(_, bound)| *bound).min().unwrap_or(u64::MAX);
    let found = shown.join(", ");
    if least < agents(config) {
        let means =
            format!("fewer than the {} agents that are allowed for can be started", agents(config));
        return Check::degraded(NAME, found, means).help(
            "raise the least of them: `ulimit -u`, LimitNPROC=, or kernel.pid_max by sysctl",
        );
    }
    Check::ok(NAME, found, "agents and what they start count against them")
}

/// None without a configuration.
pub(super) async fn world(config: Option<&Config>) -> Option<Check> {
    const NAME: &str = "world";
    let config = config?;
    Some(match &config.server {
        Server::Embedded(_) => Check::ok(NAME, "embedded", "it is started with the runner"),
        Server::Address(address) => match ask(config, (address, PATIENCE), Clock::new()).await {
            Ok(answer) => {
                let Credentials { tls, token_file } = &config.credentials;
                let how = match (tls, token_file) {
                    (Some(Tls { identity: Some(_), .. }), Some(_)) => {
                        ", by mutual TLS, with a token"
                    }
                    (Some(Tls { identity: Some(_), .. }), None) => ", by mutual TLS",
                    (Some(_), Some(_)) => ", by TLS, with a token",
                    (Some(_), None) => ", by TLS",
                    (None, Some(_)) => ", in plain text, with a token",
                    (None, None) => "",
                };
                let found = format!("{address} answers{how}: {} entities", answer.entities.len());
                Check::ok(NAME, found, "its entities get agents")
            }
            Err(error) => Check::missing(
                NAME,
                error.to_string(),
                "nobody gets an agent before it answers; agents that run are left as they are",
            )
            .help("start it, or write its address into `runner.server`, as host:port"),
        },
    })
}

pub(super) fn clock() -> Check {
    const NAME: &str = "clock";
    let now = wall_time().duration_since(UNIX_EPOCH).unwrap_or_default();
    let source =
        fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let source = source.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned());
    let clock = Clock::new();
    let before = clock.now();
    std::thread::sleep(Duration::from_millis(2));
    let found = format!("source {source}");
    if now.as_secs() < WRITTEN_SECONDS {
        let means = "events and logs bear wrong times; delays are not affected";
        return Check::degraded(NAME, format!("{found}; it is in the past"), means)
            .help("set it, or run a time service");
    }
    if clock.now() <= before {
        let means = "no delay ever ends: agents are not restarted";
        return Check::missing(NAME, format!("{found}; it stands still"), means);
    }
    Check::ok(NAME, found, "delays go by the time since boot, whatever the time of day does")
}

pub(super) fn systemd() -> Check {
    const NAME: &str = "systemd";
    let runs = Path::new("/run/systemd/system").is_dir();
    let of_user = env::var_os("XDG_RUNTIME_DIR")
        .is_some_and(|dir| Path::new(&dir).join("systemd/private").exists());
    let found = match (env::var_os("NOTIFY_SOCKET").is_some(), runs, of_user) {
        (true, ..) => "this runs as a service of it",
        (false, true, true) => "the system's and this user's manager run",
        (false, true, false) => "the system's manager runs, this user's does not",
        (false, false, true) => "this user's manager runs",
        (false, false, false) => {
            let means = "nobody starts the runner at boot, or again if it dies";
            return Check::degraded(NAME, "not here", means)
                .help("have what starts containers or services here start it; its agents outlive it until then");
        }
    };
    Check::ok(NAME, found, "configs/systemd/ has a unit that starts the runner at boot")
}

pub(super) fn terminal() -> Check {
    const NAME: &str = "terminal";
    if !std::io::stdout().is_terminal() {
        return Check::ok(NAME, "stdout is none", "tables and logs come without colours");
    }
    let width =
        crossterm::terminal::size().map_or("unknown".to_owned(), |(width, _)| width.to_string());
    let colour = if wants_colour() { "colours" } else { "no colours (NO_COLOR)" };
    Check::ok(NAME, format!("{width} columns, {colour}"), "`runner top` and the head line fit in")
}
