//! `runner events`: what happened.

use clap::Parser;
use tonic::Status;

use super::get::line_of;
use super::instance::{InstanceArgs, with};
use super::output::{Output, Table, list, one, or_dash, print_for_programs, time_of_day};
use super::select::Selection;
use super::{Ending, print, say, shape};
use crate::control::client::Client;
use crate::proto::control as pb;

/// Show what happened, across restarts of the runner.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
                  runner events --since 5m\n  \
                  runner events wolf-7 -w\n  \
                  runner events -o json | jq '.items[] | select(.kind == \"agent.backoff\")'")]
pub(super) struct Args {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    instance: InstanceArgs,
    /// Go on showing what happens.
    #[arg(long, short)]
    watch: bool,
    /// Only what happened within this time: `90s`, `5m`, `2h`, `1d`.
    #[arg(long, value_name = "TIME", value_parser = super::operate::time_span)]
    since: Option<std::time::Duration>,
    /// Only the latest ones.
    #[arg(long, short = 'n', value_name = "NUMBER")]
    tail: Option<u32>,
    /// How they are printed.
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
}

pub(super) fn run(args: &Args) -> Ending {
    with(&args.instance, |client| async move {
        let asked = pb::ListEventsRequest {
            selector: Some(args.selection.selector()),
            since_ms: super::operate::ms_ago(args.since),
            limit: args.tail.unwrap_or(0),
        };
        show(client, asked, (args.output, args.watch)).await
    })
}

/// An event as `-o json` prints it, in one line.
pub(super) fn json(event: pb::Event) -> String {
    serde_json::to_string(&one("Event", &shape::Event::from(event))).unwrap_or_default()
}

/// Shows the events that are asked for, and those to come.
pub(super) async fn show(
    mut client: Client,
    asked: pb::ListEventsRequest,
    (output, watch): (Output, bool),
) -> Result<Ending, Status> {
    if watch {
        let mut happening = client.watch_events(asked).await?.into_inner();
        while let Some(happened) = happening.message().await? {
            if happened.missed > 0 {
                say(format_args!("{} events were missed", happened.missed));
            }
            let Some(event) = happened.event else { continue };
            match output {
                Output::Table | Output::Wide => print(line_of(&event)),
                Output::Json | Output::Yaml => print(json(event)),
                Output::Name => print(&event.kind),
            }
        }
        return Ok(Ending::Done);
    }
    let events = client.list_events(asked).await?.into_inner().events;
    match output {
        Output::Table | Output::Wide => {
            let mut table = Table::new(&["TIME", "LEVEL", "KIND", "NAME", "MESSAGE"]);
            for event in &events {
                let reason = [event.message.as_str(), event.reason.as_str()];
                let told: Vec<_> = reason.into_iter().filter(|word| !word.is_empty()).collect();
                table.row([
                    time_of_day(event.at_ms),
                    event.level.clone(),
                    event.kind.clone(),
                    or_dash(&event.name),
                    told.join(": "),
                ]);
            }
            if events.is_empty() {
                say("no events");
            } else {
                table.print();
            }
        }
        Output::Json | Output::Yaml => {
            let items: Vec<shape::Event> = events.into_iter().map(Into::into).collect();
            print_for_programs(output, &list("EventList", &items));
        }
        Output::Name => events.iter().for_each(|event| print(&event.kind)),
    }
    Ok(Ending::Done)
}
