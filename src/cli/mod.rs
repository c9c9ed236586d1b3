//! The command line: clap types, one file a verb, and what goes to which stream.
//!
//! Data goes to stdout, everything said to a person to stderr.

mod agent;
mod begun;
mod candidates;
mod cluster;
mod completions;
mod config;
mod console;
mod describe;
mod doctor;
mod events;
mod export;
mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod get;
mod head;
mod instance;
mod limits;
mod live;
mod logging;
mod logs;
mod man;
mod manager;
mod operate;
mod operator;
mod outlets;
mod output;
mod plan;
#[cfg(test)]
mod pty;
mod reconcile;
mod replace;
mod rollout;
mod schema;
mod select;
mod settings;
mod shape;
mod signals;
mod top;
mod usage;
mod validate;
mod waiting;
mod world;

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::events::Recorder;
use crate::executor::hidden_verb;
use console::Console;
use logging::{Listeners, LogFormat};

/// Keeps exactly one agent process alive for every entity of a world.
#[derive(Debug, Parser)]
#[command(version, after_help = general_help())]
struct Cli {
    /// How the log is written to stderr.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Keep one agent for each entity, until told to stop.
    Reconcile(reconcile::Args),
    /// Show what would change, and why; change nothing.
    Plan(plan::Args),
    /// Check a configuration file.
    Validate(validate::Args),
    /// Try what this host offers to a runner, and tell what is missed.
    Doctor(doctor::Args),
    /// Show the configuration with all defaults, and where each value comes from.
    Config(config::Args),
    /// Print what runs this runner somewhere else.
    Export(export::Args),
    /// Print the JSON Schema of the configuration file.
    Schema(schema::Args),
    /// Print what a shell needs to complete command lines, with the names of agents.
    Completions(completions::Args),
    /// Write the manual pages.
    Man(man::Args),
    /// Show agents, entities, templates or events.
    Get(get::GetArgs),
    /// Show the runner and its agents.
    Status(get::StatusArgs),
    /// Show all that is known of an agent.
    Describe(describe::DescribeArgs),
    /// Show how it came to what is: one line a step.
    Why(describe::WhyArgs),
    /// Show agents on a whole screen, live.
    Top(top::Args),
    /// Show what happened, across restarts of the runner.
    Events(events::Args),
    /// Show what agents wrote.
    Logs(logs::Args),
    /// Start agents anew.
    Restart(operate::RestartArgs),
    /// Show and steer how changes are brought to agents.
    Rollout(rollout::Args),
    /// Let entities have no agent, until they are resumed.
    Suspend(operate::SuspendArgs),
    /// Take back a `suspend`.
    Resume(operate::ResumeArgs),
    /// Have the configuration file read now.
    Reload(operate::ReloadArgs),
    /// Stop the runner, and its agents unless they are to be left.
    Stop(operate::StopArgs),
    /// Wait until something is so.
    Wait(operate::WaitArgs),
    /// Serve the demo world.
    World(world::Args),
    /// Control one entity of the demo world: the built-in forager.
    Agent(agent::Args),
}

impl Verb {
    /// What of the log is shown unless `RUST_LOG` says otherwise.
    fn default_filter(&self) -> &'static str {
        match self {
            // The embedded world is a guest there; its own affairs are not the runner's.
            Self::Reconcile(_) | Self::Plan(_) | Self::Validate(_) | Self::Config(_) => {
                "info,runner::world=warn,kube_client=off"
            }
            Self::World(_) | Self::Agent(_) => "info",
            // What is tried is told of in the report.
            Self::Doctor(_) => "off",
            Self::Export(_)
            | Self::Schema(_)
            | Self::Completions(_)
            | Self::Man(_)
            | Self::Get(_)
            | Self::Status(_)
            | Self::Describe(_)
            | Self::Why(_)
            | Self::Top(_)
            | Self::Events(_)
            | Self::Logs(_)
            | Self::Restart(_)
            | Self::Rollout(_)
            | Self::Suspend(_)
            | Self::Resume(_)
            | Self::Reload(_)
            | Self::Stop(_)
            | Self::Wait(_) => "warn",
        }
    }
}

/// How a verb ended. Its number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Wrong usage or configuration; nothing was done.
    Wrong = 2,
    /// Another runner has the state directory, and nothing was done; or it leads the instance by now,
    /// and has its agents.
    Held = 3,
}

impl Ending {
    const ALL: [Self; 4] = [Self::Done, Self::Failed, Self::Wrong, Self::Held];

    /// In words, for people.
    const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Wrong => "wrong usage or configuration",
            Self::Held => "another runner has the state directory, or leads the instance",
        }
    }
}

/// What is said below the list of verbs.
fn general_help() -> String {
    let codes = Ending::ALL.map(|ending| format!("{} {}", ending as u8, ending.meaning()));
    format!(
        "Example: runner reconcile --config configs/demo.toml\n\n\
         Exit codes: {}.\n\n\
         Environment: RUST_LOG filters the log (default: info), NO_COLOR turns colours \
         off, OTEL_EXPORTER_OTLP_ENDPOINT says where `reconcile` sends traces.",
        codes.join(", ")
    )
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(ending as u8)
    }
}

/// Parses the command line and does what it asks for.
#[must_use]
pub fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Every agent begins as one of these: they must be quick, and are nothing for a person.
    if let Some(hidden) = args.next().as_deref().and_then(hidden_verb) {
        return hidden(&args.collect::<Vec<_>>());
    }
    if let Some(answered) = completions::answer() {
        return answered.into();
    }
    let cli = Cli::parse();
    let filter = cli.verb.default_filter();
    if let Verb::Reconcile(args) = &cli.verb {
        let recorder = Recorder::default();
        let (meter, layer) = crate::metrics::meter();
        let (traces, listener) = crate::traces::asked_for().unzip();
        let listeners = Listeners { recorder: recorder.clone(), meter: layer, traces: listener };
        let console = match cli.log_format {
            LogFormat::Text => Console::new(),
            // What is for programs has nothing between its lines.
            LogFormat::Json => Console::default(),
        };
        console.make_way_for_panics();
        logging::start(cli.log_format, filter, (console.clone(), Some(listeners)));
        let outlets = (&meter, traces.as_ref());
        return reconcile::run(args, &recorder, outlets, &console).into();
    }
    logging::start(cli.log_format, filter, (Console::default(), None));
    let ending = match cli.verb {
        Verb::Reconcile(_) => Ending::Done,
        Verb::Plan(args) => plan::run(args),
        Verb::Validate(args) => validate::run(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Config(args) => config::run(args),
        Verb::Export(args) => export::run(&args),
        Verb::Schema(args) => schema::run(&args),
        Verb::Completions(args) => completions::run(&args),
        Verb::Man(args) => man::run(&args),
        Verb::Get(args) => get::run(&args),
        Verb::Status(args) => get::status(&args),
        Verb::Describe(args) => describe::run(&args),
        Verb::Why(args) => describe::why(&args),
        Verb::Top(args) => top::run(&args),
        Verb::Events(args) => events::run(&args),
        Verb::Logs(args) => logs::run(&args),
        Verb::Restart(args) => operate::restart(&args),
        Verb::Rollout(args) => rollout::run(&args),
        Verb::Suspend(args) => operate::suspend(&args),
        Verb::Resume(args) => operate::resume(&args),
        Verb::Reload(args) => operate::reload(&args),
        Verb::Stop(args) => operate::stop(&args),
        Verb::Wait(args) => operate::wait(&args),
        Verb::World(args) => world::run(&args),
        Verb::Agent(args) => agent::run(args),
    };
    ending.into()
}

/// Says something to the person at the terminal.
fn say(message: impl fmt::Display) {
    // Nobody is left to be told if that fails.
    let _ = writeln!(anstream::stderr(), "{message}");
}

/// Prints data. A reader that has gone away has read enough.
fn print(data: impl fmt::Display) {
    let _ = writeln!(anstream::stdout(), "{data}");
}

/// Says that something failed, with all its causes.
fn fail(what: &str, error: &dyn std::error::Error) -> Ending {
    let mut message = format!("error: {what}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(message, ": {error}");
        cause = error.source();
    }
    say(message);
    Ending::Failed
}

/// A runtime to do the work in, on this thread: what it does is little and often, and costs least
/// where nobody else has to be woken for it. What blocks or takes long has threads of its own.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    /// The command and all within it, each with its full name.
    fn all(command: &Command) -> Vec<&Command> {
        let within = command.get_subcommands().flat_map(all);
        std::iter::once(command).chain(within).collect()
    }

    #[test]
    fn every_verb_has_arguments_that_do_not_clash_and_an_example_of_itself() {
        let mut cli = super::Cli::command().disable_help_subcommand(true);
        cli.clone().debug_assert();
        cli.build();
        let verbs = all(&cli);
        assert!(verbs.len() > 20);
        for verb in verbs {
            let name = verb.get_bin_name().unwrap_or_else(|| verb.get_name());
            let help = verb.clone().render_long_help().to_string();
            let (_, examples) = help.split_once("\nExample").unwrap_or_default();
            let lines = examples.lines().map(|line| line.trim_start_matches(['s', ':', ' ']));
            let fitting = lines.filter(|line| line.starts_with(name));
            assert!(fitting.count() > 0, "`{name}` has no example:\n{help}");
        }
    }
}
