//! The tables `[runner]`, `[jit]`, `[health]`, `[discovery]`, `[logs]`, `[events]`,
//! `[metrics]` and `[spawn]`; `[hooks]` and `[kubernetes]` are read in files of their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::agents::{self, Inherited};
use super::keys::Table;
use super::kubernetes::{self, Pod, Refusal};
use super::limits::{self, Host};
use super::mistakes::Mistake;
use super::near::nearest;
use super::section::{Fallback, Found, Section, WordOr, written};
use super::server::ServerName;
use super::{
    Cluster, Config, Containment, Logs, OnExit, Overrides, Server, command, confinement,
    credentials, demo, hooks, rollout,
};
use crate::plan::template::DEFAULT_TEMPLATE;
use crate::plan::{
    Backoff, Confinement, Jit, Launcher, LeaseHealth, Removal, RestartPolicy, RolloutPolicy, Rules,
    Spawn,
};

/// A start under way has a thread of its own.
const MOST_PARALLEL: i64 = 512;
/// No machine starts as many.
const MOST_PER_SECOND: i64 = 1_000_000;

/// The port of metrics in examples.
const METRICS_PORT: u16 = 9464;

const LAUNCHER: [&str; 4] = ["uv", "run", "python", "-m"];

const RESTART: [(&str, RestartPolicy); 3] = [
    ("on-failure", RestartPolicy::OnFailure),
    ("always", RestartPolicy::Always),
    ("never", RestartPolicy::Never),
];

/// The configuration that the file describes; where a mistake was noted, something stands in.
pub(super) fn config(root: &Section<'_>, overrides: &Overrides) -> Config {
    let runner = root.table("runner", Table::Runner);
    let jit = root.table("jit", Table::Jit);
    let discovery = root.table("discovery", Table::Discovery);
    let definition = demo::definition(root);
    let server = server(&runner, overrides);
    let credentials = credentials::read(&runner, &server, !overrides.elsewhere);
    let server = match server.value {
        ServerName::Embedded => Server::Embedded(definition),
        ServerName::Address(address) => Server::Address(address),
    };
    let directory = |key, or: Fallback<&str>, said: &Option<PathBuf>| {
        let in_file = runner.path(key, or);
        let instead = |said: &PathBuf| runner.instead(key, said.clone(), &said.to_string_lossy());
        said.as_ref().map_or(in_file, instead).holding()
    };
    let log_dir = directory("log_dir", "logs".into(), &overrides.log_dir).unwrap_or_default();
    let agents_dir = directory("agents_dir", ".".into(), &overrides.agents_dir).unwrap_or_default();
    let state_dir = directory("state_dir", Fallback::nothing("."), &overrides.state_dir);
    let kubernetes = root.table("kubernetes", Table::Kubernetes);
    let cluster = |running: Option<&Cluster>| kubernetes::cluster(&kubernetes, running);
    let (executor, pods) = kubernetes::executor(&runner, cluster, overrides.running.as_ref());
    let enforceable = &overrides.enforceable;
    let host = Host { enforceable, strict: limits::strict(&runner), pods };
    let faulthandler = faulthandler(&runner, false, &host);
    let auto_discover = runner.flag("auto_discover", true);
    let inherited = Inherited {
        launcher: launcher(&runner, &host),
        agents_dir,
        restart: restart(&runner, RestartPolicy::default()),
        grace: runner.millis("shutdown_grace_ms", 0, 5000).value,
        confinement: confinement::read(&runner, &Confinement::default(), &host),
        rollout: rollout::read(&runner, RolloutPolicy::default()),
        faulthandler,
        pod: kubernetes::pod(&kubernetes, &Pod::default()),
        host,
    };
    let templates = agents::templates(root, &inherited, &auto_discover);
    let names: Vec<&str> = templates.iter().map(|template| template.name.as_str()).collect();
    let jit_rule = jit_rule(&jit, &names, auto_discover.value);
    let max_agents = runner.whole("max_agents", 1..=i64::from(u32::MAX), 1000).value;
    Config {
        server,
        credentials,
        log_dir,
        logs: logs(root),
        events_max_bytes: root.table("events", Table::Events).bytes("max_bytes", 10 << 20).value,
        metrics: metrics(root),
        hooks: hooks::read(root),
        name: name(&runner),
        state_dir,
        on_exit: on_exit(&runner, overrides.on_exit),
        executor,
        containment: containment(&runner, &inherited.host),
        connection_timeout: runner.millis("connection_timeout_ms", 1, 30_000).value,
        discovery_timeout: discovery.millis("timeout_ms", 1, 5000).value,
        watch_interval: jit.millis("watch_interval_ms", 1, 5000).value,
        rules: Rules {
            templates,
            auto_discover: auto_discover.value,
            jit: jit_rule,
            backoff: backoff(&runner),
            lease_health: lease_health(root),
            max_agents: usize::try_from(max_agents).unwrap_or(usize::MAX),
            spawn: spawn(root),
            removal: removal(&discovery),
        },
    }
}

/// The name is also a directory's.
fn name(runner: &Section<'_>) -> Option<String> {
    let name = runner.text("name", Fallback::nothing(""));
    let span = name.span()?;
    if name.value.is_empty() || name.value.starts_with('.') || name.value.contains('/') {
        let title = "`runner.name` cannot name a directory";
        let help = "write a word such as `name = \"foraging\"`";
        runner.sink.note(Mistake::at(span, title).help(help));
    }
    Some(name.value)
}

fn on_exit(runner: &Section<'_>, said: Option<OnExit>) -> OnExit {
    let known = [("stop", OnExit::Stop), ("leave", OnExit::Leave)];
    let in_file = runner.choice("on_exit", &known, OnExit::default());
    match known.into_iter().find(|(_, on_exit)| Some(*on_exit) == said) {
        Some((word, said)) => runner.instead("on_exit", said, word).value,
        None => in_file.value,
    }
}

/// Whether agents are asked to write down what they do before they are stopped as hung.
pub(super) fn faulthandler(section: &Section<'_>, default: bool, host: &Host<'_>) -> bool {
    let found = section.flag("faulthandler", default);
    let refusal = Refusal {
        span: found.span().filter(|_| found.value),
        problem: "means nothing for pods: no signal but the one that ends it reaches a container",
        help: "leave it out, and have the agent call `faulthandler.dump_traceback_later`",
    };
    kubernetes::refuse(host, (section, "faulthandler"), &refusal);
    found.value
}

fn containment(runner: &Section<'_>, host: &Host<'_>) -> Containment {
    let known = [
        ("auto", Containment::Auto),
        ("cgroup", Containment::Cgroup),
        ("pid-namespace", Containment::PidNamespace),
        ("process-group", Containment::ProcessGroup),
    ];
    let found = runner.choice("containment", &known, Containment::default());
    let refusal = Refusal {
        span: found.span().filter(|_| found.value != Containment::Auto),
        problem: "is not for pods: it holds processes of this machine together",
        help: "leave it out: a pod ends with all that it started",
    };
    kubernetes::refuse(host, (runner, "containment"), &refusal);
    found.value
}

fn server(runner: &Section<'_>, overrides: &Overrides) -> Found<ServerName> {
    let default = "localhost:50051";
    let text = runner.text("server", default);
    let parsed = text.value.parse();
    if let (Err(bad), Some(span)) = (&parsed, text.span()) {
        let super::BadServer { message, write } = bad;
        let title = format!("`runner.server` names no server: {message}");
        let help = format!("write `server = {write:?}`");
        runner.sink.note(Mistake::at(span, title).help(help));
    }
    let in_file = text.map(|_| parsed.unwrap_or(ServerName::Address(default.to_owned())));
    match &overrides.server {
        Some(said) => runner.instead("server", said.clone(), &said.to_string()),
        None => in_file,
    }
}

fn launcher(runner: &Section<'_>, host: &Host<'_>) -> Launcher {
    let default = if host.pods.is_some() { &kubernetes::LAUNCHER[..] } else { &LAUNCHER };
    let words = match runner.word_or_words("launcher", "uv-sync", default) {
        WordOr::Word(span) => {
            let refusal = Refusal {
                span: Some(&span),
                problem: "makes environments on this machine, where no pod has them",
                help: "write `launcher = [\"python\", \"-m\"]`, and have an `image` in which the \
                       environment is made already",
            };
            kubernetes::refuse(host, (runner, "launcher"), &refusal);
            return Launcher::UvSync;
        }
        WordOr::List(words) => words,
    };
    Launcher::Argv(match words.span() {
        None => default.iter().map(|word| (*word).to_owned()).collect(),
        Some(span) => {
            command::program(runner, "launcher", &words.value, span, default);
            words.value.into_iter().map(|(word, _)| word).collect()
        }
    })
}

/// `restart` of the runner or of a template.
pub(super) fn restart(section: &Section<'_>, default: RestartPolicy) -> RestartPolicy {
    section.choice("restart", &RESTART, default).value
}

fn jit_rule(jit: &Section<'_>, names: &[&str], auto_discover: bool) -> Jit {
    let enabled = jit.flag("enabled", true).value;
    let default = names.contains(&DEFAULT_TEMPLATE).then_some(DEFAULT_TEMPLATE);
    let template = jit.text("template", Fallback { default, example: DEFAULT_TEMPLATE });
    let known = names.contains(&template.value.as_str());
    // Where the file does not name one, latecomers without a template are reported as they come.
    if let Some(span) = template.span().filter(|_| enabled && auto_discover && !known) {
        let name = written(&template.value);
        let title = format!("`jit.template` names no template: there is no `[agents.{name}]`");
        let near = nearest(&template.value, names.iter().copied());
        let help = match near.or_else(|| names.first().copied()) {
            Some(near) => format!("write `template = {near:?}`, or add `[agents.{name}]`"),
            None => format!("add `[agents.{name}]`"),
        };
        jit.sink.note_absence(Mistake::at(span, title).label("no such template").help(help));
    }
    Jit { enabled, template: template.value }
}

fn backoff(runner: &Section<'_>) -> Backoff {
    let initial = runner.millis("initial_backoff_ms", 0, 1000);
    let max = runner.millis("max_backoff_ms", 1, 30_000);
    if max.value < initial.value && !initial.is_wrong() && !max.is_wrong() {
        above(runner, &initial, &max);
    }
    let attempts = runner.whole("max_restart_attempts", 0..=i64::from(u32::MAX), 5).value;
    Backoff {
        initial: initial.value,
        max: max.value,
        multiplier: runner.number("backoff_multiplier", 1.0..=f64::MAX, 2.0).value,
        max_attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        reset: runner.millis("backoff_reset_ms", 0, 60_000).value,
    }
}

/// Points at the key that is in the file; at the maximum, if both are.
fn above(runner: &Section<'_>, initial: &Found<Duration>, max: &Found<Duration>) {
    let (low, high) = (max.value.as_millis(), initial.value.as_millis());
    let default = |found: &Found<Duration>| match found.span() {
        Some(_) => "",
        None => ", its default",
    };
    let title = format!(
        "`runner.max_backoff_ms` ({low}{}) is below `runner.initial_backoff_ms` ({high}{})",
        default(max),
        default(initial),
    );
    let mistake = match (max.span(), initial.span()) {
        (Some(max), initial) => Mistake::at(max, title)
            .label(format!("less than {high}"))
            .related(initial, "the first delay")
            .help(format!("write `max_backoff_ms = {high}` or more")),
        (None, Some(initial)) => Mistake::at(initial, title)
            .label(format!("more than {low}"))
            .help(format!("write `max_backoff_ms = {high}` or more as well")),
        (None, None) => return,
    };
    runner.sink.note(mistake);
}

fn lease_health(root: &Section<'_>) -> Option<LeaseHealth> {
    let health = root.table("health", Table::Health);
    let grace = health.millis("lease_grace_ms", 0, 30_000).value;
    health.flag("lease", false).value.then_some(LeaseHealth { grace })
}

fn logs(root: &Section<'_>) -> Logs {
    let logs = root.table("logs", Table::Logs);
    let some = |bytes: u64| (bytes > 0).then_some(bytes);
    let keep = logs.whole("keep", 0..=i64::from(u32::MAX), 5).value;
    Logs {
        max_bytes: some(logs.bytes("max_bytes", 10 << 20).value),
        keep: usize::try_from(keep).unwrap_or(usize::MAX),
        max_total_bytes: some(logs.bytes("max_total_bytes", 0).value),
    }
}

/// An address and not a host's name: what it means must not depend on who is asked.
fn metrics(root: &Section<'_>) -> Option<SocketAddr> {
    let metrics = root.table("metrics", Table::Metrics);
    let listen =
        metrics.text("listen", Fallback::nothing(format!("127.0.0.1:{METRICS_PORT}").as_str()));
    let span = listen.span()?;
    let address = listen.value.parse();
    if address.is_err() {
        let title = format!("`metrics.listen` is no address: {:?}", listen.value);
        let port = listen.value.rsplit(':').next().and_then(|port| port.parse().ok());
        let meant = SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or(METRICS_PORT)));
        let help = format!("write an IP address and a port, such as `listen = \"{meant}\"`");
        metrics.sink.note(Mistake::at(span, title).label("not `IP:PORT`").help(help));
    }
    address.ok()
}

/// What the file does not say is as it suits the cores: two starts for each, so that one is at work
/// while the other waits for the disk; and more in a second than a core can make, so that it is
/// seldom the rate that they wait for.
fn spawn(root: &Section<'_>) -> Spawn {
    let spawn = root.table("spawn", Table::Spawn);
    let cores = thread::available_parallelism().map_or(2, NonZero::get);
    // The same examples in messages on every machine.
    let for_each_core = |starts: i64, example| {
        let cores = i64::try_from(cores).unwrap_or(i64::MAX);
        Fallback { default: Some(cores.saturating_mul(starts)), example }
    };
    let max_parallel = spawn.whole("max_parallel", 1..=MOST_PARALLEL, for_each_core(2, 4)).value;
    let per_second = spawn.whole("per_second", 1..=MOST_PER_SECOND, for_each_core(500, 1000)).value;
    Spawn {
        max_parallel: usize::try_from(max_parallel).unwrap_or(usize::MAX),
        per_second: u32::try_from(per_second).unwrap_or(u32::MAX),
    }
}

fn removal(discovery: &Section<'_>) -> Removal {
    let confirmations = discovery.whole("removal_confirmations", 1..=i64::from(u32::MAX), 3).value;
    Removal {
        confirmations: u32::try_from(confirmations).unwrap_or(u32::MAX),
        hold_fraction: discovery.number("hold_fraction", 0.0..=1.0, 0.5).value,
        hold: discovery.millis("hold_ms", 0, 30_000).value,
    }
}
