//! The verbs that ask a running instance to do something: `restart`, `suspend`, `resume`, `reload`,
//! `stop`, `wait`.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use clap::Parser;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use super::instance::{InstanceArgs, with};
use super::output::now_ms;
use super::select::Selection;
use super::waiting::{Holdup, Pace};
use super::{Ending, print, say};
use crate::clock::wall_time;
use crate::control::client::{Client, Process};
use crate::proto::control as pb;

/// Start agents anew.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  runner restart wolf-7\n  runner restart -l template=wolves")]
pub(super) struct RestartArgs {
    #[command(flatten)]
    selection: Selection,
    /// All agents.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    instance: InstanceArgs,
}

/// Let entities have no agent, until they are resumed.
#[derive(Debug, Parser)]
#[command(after_help = "Example: runner suspend wolf-7")]
pub(super) struct SuspendArgs {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    instance: InstanceArgs,
}

/// Take back a `runner suspend`.
#[derive(Debug, Parser)]
#[command(after_help = "Example: runner resume wolf-7")]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    instance: InstanceArgs,
}

/// Have the configuration file read now.
#[derive(Debug, Parser)]
#[command(after_help = "Example: runner reload\n\n\
                  Exits with 0 if the file is in force, with 2 if it is wrong.")]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    instance: InstanceArgs,
}

/// Stop the runner, and its agents unless they are to be left.
#[derive(Debug, Parser)]
#[command(after_help = "Example: runner stop --leave-agents")]
pub(super) struct StopArgs {
    /// The agents run on, for the next runner to take up.
    #[arg(long)]
    leave_agents: bool,
    /// Do not wait until it has ended.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    instance: InstanceArgs,
}

/// Wait until something is so.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
                  runner wait --for=phase=Running wolf-7\n  \
                  runner wait --for=condition=Ready 'wolf-*' --timeout 60s\n  \
                  runner wait --for=deleted wolf-7\n\n\
                  Exits with 1 if it is not so in time.")]
pub(super) struct WaitArgs {
    #[command(flatten)]
    selection: Selection,
    /// What is to be so of all of them: `condition=Ready`, `phase=NAME` or `deleted`.
    #[arg(long = "for", value_name = "WHAT", value_parser = goal)]
    goal: Goal,
    /// How long to wait at most: `90s`, `5m`.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = time_span)]
    timeout: Duration,
    #[command(flatten)]
    instance: InstanceArgs,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Goal {
    Ready,
    Phase(String),
    Deleted,
}

fn goal(text: &str) -> Result<Goal, String> {
    match text.split_once('=') {
        None if text == "deleted" => Ok(Goal::Deleted),
        Some(("condition", ready)) if ready.eq_ignore_ascii_case("ready") => Ok(Goal::Ready),
        Some(("phase", phase)) => Ok(Goal::Phase(phase.to_owned())),
        _ => Err("write `condition=Ready`, `phase=NAME` or `deleted`".to_owned()),
    }
}

/// A number with a unit: `90s`, `5m`, `2h`, `1d`.
pub(super) fn time_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: write one such as `90s`, `5m`, `2h`, `1d`");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let millis: u64 = match text.get(digits.len()..) {
        Some("ms") => 1,
        Some("s" | "") => 1000,
        Some("m") => 60_000,
        Some("h") => 3_600_000,
        Some("d") => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)
}

/// The time of day so long ago; 0 where nothing is said.
pub(super) fn ms_ago(span: Option<Duration>) -> i64 {
    let Some(span) = span else { return 0 };
    let now = wall_time().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.saturating_sub(span).as_millis()).unwrap_or(i64::MAX)
}

fn request(selection: &Selection) -> pb::OrderRequest {
    pb::OrderRequest { selector: Some(selection.selector()) }
}

fn nobody() -> Ending {
    say("error: say who is meant: a name, or `-l template=…`");
    Ending::Wrong
}

fn told(done: &str, response: pb::OrderResponse) -> Ending {
    for name in response.names {
        print(format_args!("{name} {done}"));
    }
    Ending::Done
}

pub(super) fn restart(args: &RestartArgs) -> Ending {
    if args.selection.is_empty() && !args.all {
        say("error: say who is meant: a name, `-l template=…`, or `--all`");
        return Ending::Wrong;
    }
    with(&args.instance, |mut client| async move {
        let response = client.restart_agents(request(&args.selection)).await?;
        Ok(told("restarting", response.into_inner()))
    })
}

pub(super) fn suspend(args: &SuspendArgs) -> Ending {
    if args.selection.is_empty() {
        return nobody();
    }
    with(&args.instance, |mut client| async move {
        let response = client.suspend_entities(request(&args.selection)).await?;
        Ok(told("suspended", response.into_inner()))
    })
}

pub(super) fn resume(args: &ResumeArgs) -> Ending {
    if args.selection.is_empty() {
        return nobody();
    }
    with(&args.instance, |mut client| async move {
        let response = client.resume_entities(request(&args.selection)).await?;
        Ok(told("resumed", response.into_inner()))
    })
}

pub(super) fn reload(args: &ReloadArgs) -> Ending {
    with(&args.instance, |mut client| async move {
        let pb::ReloadResponse { outcome, config_generation, message } =
            client.reload(pb::ReloadRequest {}).await?.into_inner();
        match outcome.as_str() {
            "applied" => print(format_args!("configuration #{config_generation} is in force")),
            "unchanged" => {
                print(format_args!("configuration #{config_generation} stays: nothing changed"));
            }
            _ => {
                say(message.trim_end());
                say(format_args!("configuration #{config_generation} stays in force"));
                return Ok(Ending::Wrong);
            }
        }
        Ok(Ending::Done)
    })
}

pub(super) fn stop(args: &StopArgs) -> Ending {
    let state_dir = match args.instance.state_dir() {
        Ok(dir) => dir,
        Err(ending) => return ending,
    };
    with(&InstanceArgs::of(Some(state_dir.clone())), |mut client| async move {
        // Nobody could say it afterwards. One that cannot be seen from here ends all the same.
        let process = Process::of(&state_dir).ok();
        client.stop(pb::StopRequest { leave_agents: args.leave_agents }).await?;
        if !args.no_wait {
            tell_holdups(client).await;
            if let Some(process) = process {
                process.ended().await;
            }
        }
        Ok(Ending::Done)
    })
}

/// Says who holds the end up, until nobody answers: it has ended then, or is about to.
async fn tell_holdups(mut client: Client) {
    let mut pace = Pace::new();
    while let Ok(response) = client.list_agents(pb::ListAgentsRequest::default()).await {
        if pace.is_due()
            && let Some(holdup) = Holdup::of(response.into_inner().agents, now_ms())
        {
            say(holdup);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

pub(super) fn wait(args: &WaitArgs) -> Ending {
    with(&args.instance, |client| async move {
        if let Ok(reached) = timeout(args.timeout, reach(client, args)).await {
            return reached;
        }
        say(format_args!("error: it is not so after {:?}", args.timeout));
        Ok(Ending::Failed)
    })
}

async fn reach(mut client: Client, args: &WaitArgs) -> Result<Ending, Status> {
    let selector = Some(args.selection.selector());
    let asked = pb::ListAgentsRequest { selector, ..pb::ListAgentsRequest::default() };
    // A phase that is waited for must not deselect who is in another one.
    let mut changes = client.watch_agents(asked).await?.into_inner();
    let mut agents: BTreeMap<String, pb::Agent> = BTreeMap::new();
    while let Some(change) = changes.message().await? {
        match change.kind() {
            pb::agents_changed::Kind::Sync => agents.clear(),
            pb::agents_changed::Kind::Changed | pb::agents_changed::Kind::Unspecified => {}
            pb::agents_changed::Kind::Gone => {
                for agent in &change.agents {
                    agents.remove(&agent.name);
                }
            }
        }
        if change.kind() != pb::agents_changed::Kind::Gone {
            agents.extend(change.agents.into_iter().map(|agent| (agent.name.clone(), agent)));
        }
        if is_reached(args, &agents) {
            return Ok(Ending::Done);
        }
    }
    Err(Status::new(Code::Unavailable, "the runner ended"))
}

fn is_reached(args: &WaitArgs, agents: &BTreeMap<String, pb::Agent>) -> bool {
    let all_there = args.selection.plain_names().all(|name| agents.contains_key(name));
    match &args.goal {
        Goal::Deleted => agents.is_empty(),
        Goal::Ready => all_there && !agents.is_empty() && agents.values().all(|agent| agent.ready),
        Goal::Phase(phase) => {
            let is_in = |agent: &pb::Agent| agent.phase.eq_ignore_ascii_case(phase);
            all_there && !agents.is_empty() && agents.values().all(is_in)
        }
    }
}
