//! `runner rollout`: how changes are brought to the agents of a template.

use std::time::Duration;

use clap::{Parser, Subcommand};
use clap_complete::ArgValueCandidates;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::instance::{InstanceArgs, with};
use super::operate::time_span;
use super::output::{Output, Table, list, or_dash, print_for_programs};
use super::{Ending, candidates, print, say, shape};
use crate::control::client::Client;
use crate::proto::control as pb;

/// Show and steer how changes are brought to agents.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
                  runner rollout status\n  \
                  runner rollout status wolves --wait\n  \
                  runner rollout pause wolves\n  \
                  runner rollout undo wolves")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: RolloutVerb,
}

#[derive(Debug, Subcommand)]
enum RolloutVerb {
    /// Show how far changes have come.
    Status(StatusArgs),
    /// Change no further agents, also not for the next change of the file.
    #[command(after_help = "Example: runner rollout pause wolves")]
    Pause(SteerArgs),
    /// Change the rest too, whatever failed so far; take a version again that was undone.
    #[command(after_help = "Example: runner rollout resume wolves")]
    Resume(SteerArgs),
    /// Go back to the last version that all agents were ready with, until the file changes again.
    #[command(after_help = "Example: runner rollout undo wolves")]
    Undo(SteerArgs),
}

#[derive(Debug, Parser)]
#[command(after_help = "Example: runner rollout status wolves --wait --timeout 5m\n\n\
                  With --wait, exits with 1 if it is paused, or not complete in time.")]
struct StatusArgs {
    /// Of which templates; all if there is none.
    #[arg(add = ArgValueCandidates::new(candidates::templates))]
    templates: Vec<String>,
    /// Wait until they are complete, or paused.
    #[arg(long, short)]
    wait: bool,
    /// How long to wait at most: `90s`, `5m`.
    #[arg(long, default_value = "10m", value_name = "TIME", value_parser = time_span)]
    timeout: Duration,
    /// How it is printed.
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    instance: InstanceArgs,
}

#[derive(Debug, Parser)]
struct SteerArgs {
    /// Of which template.
    #[arg(add = ArgValueCandidates::new(candidates::templates))]
    template: String,
    #[command(flatten)]
    instance: InstanceArgs,
}

pub(super) fn run(args: &Args) -> Ending {
    match &args.verb {
        RolloutVerb::Status(args) => with(&args.instance, |client| status(client, args)),
        RolloutVerb::Pause(args) => with(&args.instance, |mut client| async move {
            Ok(told(&client.pause_rollout(request(args)).await?.into_inner()))
        }),
        RolloutVerb::Resume(args) => with(&args.instance, |mut client| async move {
            Ok(told(&client.resume_rollout(request(args)).await?.into_inner()))
        }),
        RolloutVerb::Undo(args) => with(&args.instance, |mut client| async move {
            Ok(told(&client.undo_rollout(request(args)).await?.into_inner()))
        }),
    }
}

fn request(args: &SteerArgs) -> pb::RolloutRequest {
    pb::RolloutRequest { template: args.template.clone() }
}

fn told(rollout: &pb::Rollout) -> Ending {
    let pb::Rollout { template, agents, updated, .. } = rollout;
    let state = if rollout.undone { "undone" } else { rollout.state.as_str() };
    print(format_args!("{template} {}: {updated} of {agents} agents", state.to_lowercase()));
    Ending::Done
}

async fn status(mut client: Client, args: &StatusArgs) -> Result<Ending, Status> {
    let mut ending = Ending::Done;
    if args.wait {
        if let Ok(settled) = timeout(args.timeout, settle(&mut client, args)).await {
            settled?;
        } else {
            say(format_args!("error: it is not complete after {:?}", args.timeout));
            ending = Ending::Failed;
        }
    }
    let rollouts = wanted(&mut client, args).await?;
    if args.wait && rollouts.iter().any(|rollout| rollout.state == "Paused") {
        ending = Ending::Failed;
    }
    show(rollouts, args.output);
    Ok(ending)
}

/// Those that were asked for.
async fn wanted(client: &mut Client, args: &StatusArgs) -> Result<Vec<pb::Rollout>, Status> {
    let mut rollouts =
        client.list_rollouts(pb::ListRolloutsRequest {}).await?.into_inner().rollouts;
    let is_there = |name: &&String| rollouts.iter().any(|rollout| rollout.template == **name);
    if let Some(unknown) = args.templates.iter().find(|name| !is_there(name)) {
        return Err(Status::not_found(format!("there is no template {unknown:?}")));
    }
    let is_wanted = |name: &String| args.templates.is_empty() || args.templates.contains(name);
    rollouts.retain(|rollout| is_wanted(&rollout.template));
    Ok(rollouts)
}

/// Returns once none of them is under way. Whatever may change that is an event.
async fn settle(client: &mut Client, args: &StatusArgs) -> Result<(), Status> {
    let asked = pb::ListEventsRequest { limit: 1, ..pb::ListEventsRequest::default() };
    let mut events = client.watch_events(asked).await?.into_inner();
    loop {
        let rollouts = wanted(client, args).await?;
        if rollouts.iter().all(|rollout| rollout.state != "Progressing") {
            return Ok(());
        }
        loop {
            let Some(happened) = events.message().await? else {
                return Err(Status::new(Code::Unavailable, "the runner ended"));
            };
            // Who is behind and has no process is started without a rollout.
            let about = |event: &pb::Event| {
                let kinds = ["rollout.", "config.", "agent.starting", "entity."];
                kinds.iter().any(|kind| event.kind.starts_with(kind))
            };
            if happened.missed > 0 || happened.event.as_ref().is_some_and(about) {
                break;
            }
        }
    }
}

const HEAD: [&str; 7] =
    ["TEMPLATE", "STATE", "AGENTS", "UPDATED", "READY", "UNAVAILABLE", "REASON"];

fn show(rollouts: Vec<pb::Rollout>, output: Output) {
    match output {
        Output::Table | Output::Wide => {
            let mut table = Table::new(&HEAD);
            for rollout in &rollouts {
                table.row(row(rollout));
            }
            table.print();
        }
        Output::Json | Output::Yaml => {
            let items: Vec<shape::Rollout> = rollouts.into_iter().map(Into::into).collect();
            print_for_programs(output, &list("RolloutList", &items));
        }
        Output::Name => rollouts.iter().for_each(|rollout| print(&rollout.template)),
    }
}

fn row(rollout: &pb::Rollout) -> [String; 7] {
    let reason = match (rollout.undone, rollout.reason.as_str()) {
        (true, "") => "undone, until the file changes".to_owned(),
        (true, reason) => format!("undone; {reason}"),
        (false, reason) => or_dash(reason),
    };
    [
        rollout.template.clone(),
        rollout.state.clone(),
        rollout.agents.to_string(),
        rollout.updated.to_string(),
        rollout.ready.to_string(),
        format!("{} of {}", rollout.unavailable, rollout.max_unavailable),
        reason,
    ]
}
