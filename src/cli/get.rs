//! `runner get` and `runner status`: what there is.

use clap::{Parser, ValueEnum};
use tonic::Status;

use super::instance::{InstanceArgs, with};
use super::output::{
    Output, Table, age, bytes, list, now_ms, one, or_dash, print_for_programs, span, time_of_day,
};
use super::select::Selection;
use super::{Ending, head, print, shape, usage};
use crate::control::client::Client;
use crate::proto::control as pb;

/// Show agents, entities, templates or events.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
                  runner get agents\n  \
                  runner get agents -l phase=BackingOff --sort-by restarts\n  \
                  runner get agents 'wolf-*' -o json\n  \
                  runner get agents -w\n  \
                  runner get entities -o wide")]
pub(super) struct GetArgs {
    /// What to show.
    #[arg(value_enum)]
    what: What,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    shown: Shown,
    /// Go on showing what changes (agents and events).
    #[arg(long, short)]
    watch: bool,
    /// Show what agents take: their processor time, or their share of one lately if they are pods,
    /// and their memory. `-o wide` does.
    #[arg(long)]
    usage: bool,
    /// By what agents are sorted.
    #[arg(long, value_enum, default_value = "name")]
    sort_by: SortBy,
}

/// Show the runner and its agents.
#[derive(Debug, Parser)]
#[command(after_help = "Example: runner status")]
pub(super) struct StatusArgs {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    shown: Shown,
}

/// Which instance, and how.
#[derive(Clone, Debug, clap::Args)]
struct Shown {
    #[command(flatten)]
    instance: InstanceArgs,
    /// How it is printed.
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// What runs, ran and will run.
    #[value(alias = "agent")]
    Agents,
    /// Who is in the world.
    #[value(alias = "entity")]
    Entities,
    /// What the configuration has.
    #[value(alias = "template")]
    Templates,
    /// What happened.
    #[value(alias = "event")]
    Events,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SortBy {
    Name,
    Phase,
    Template,
    /// The most restarts first.
    Restarts,
    /// The youngest first.
    Age,
    /// The most first.
    Cpu,
    /// The most first.
    Memory,
}

pub(super) fn run(args: &GetArgs) -> Ending {
    let output = args.shown.output;
    with(&args.shown.instance, |client| async move {
        match args.what {
            What::Agents if args.watch => watch_agents(client, args).await,
            What::Agents => agents(client, args).await,
            What::Entities => entities(client, &args.selection, output).await,
            What::Templates => templates(client, output).await,
            What::Events => {
                let asked = pb::ListEventsRequest {
                    selector: Some(args.selection.selector()),
                    ..pb::ListEventsRequest::default()
                };
                super::events::show(client, asked, (output, args.watch)).await
            }
        }
    })
}

pub(super) fn status(args: &StatusArgs) -> Ending {
    let output = args.shown.output;
    with(&args.shown.instance, |mut client| async move {
        let status = client.get_status(pb::GetStatusRequest {}).await?.into_inner();
        let asked = agents_request(&args.selection, output);
        let pb::ListAgentsResponse { agents, usage_unknown, in_pods } =
            client.list_agents(asked).await?.into_inner();
        note_unknown(&usage_unknown);
        match output {
            Output::Table | Output::Wide => {
                print(format_args!("{}: {}", status.name, head::line(&status)));
                for condition in &status.conditions {
                    if !condition.message.is_empty() {
                        print(format_args!("{}: {}", condition.r#type, condition.message));
                    }
                }
                print("");
                table_of_agents(&agents, (output, in_pods)).print();
            }
            Output::Json | Output::Yaml => {
                let agents = agents.into_iter().map(Into::into).collect();
                print_for_programs(output, &one("Status", &shape::Status::new(status, agents)));
            }
            Output::Name => agents.iter().for_each(|agent| print(&agent.name)),
        }
        Ok(Ending::Done)
    })
}

fn agents_request(selection: &Selection, output: Output) -> pb::ListAgentsRequest {
    pb::ListAgentsRequest {
        selector: Some(selection.selector()),
        usage: output == Output::Wide,
        pending: false,
    }
}

async fn agents(mut client: Client, args: &GetArgs) -> Result<Ending, Status> {
    let output = args.shown.output;
    let mut asked = agents_request(&args.selection, output);
    asked.usage |= args.usage || matches!(args.sort_by, SortBy::Cpu | SortBy::Memory);
    let pb::ListAgentsResponse { mut agents, usage_unknown, in_pods } =
        client.list_agents(asked).await?.into_inner();
    note_unknown(&usage_unknown);
    sort(&mut agents, args.sort_by);
    let missing = missing(&args.selection, agents.iter().map(|agent| agent.name.as_str()));
    match output {
        Output::Table | Output::Wide => {
            if agents.is_empty() && missing.is_empty() {
                super::say("no agents");
            } else if !agents.is_empty() {
                table_of_agents(&agents, (output, in_pods)).print();
            }
        }
        Output::Json | Output::Yaml => {
            let items: Vec<shape::Agent> = agents.into_iter().map(Into::into).collect();
            print_for_programs(output, &list("AgentList", &items));
        }
        Output::Name => agents.iter().for_each(|agent| print(&agent.name)),
    }
    Ok(tell_missing("agent", &missing))
}

/// What agents take is asked for beside other things: those are shown all the same.
fn note_unknown(why: &str) {
    if let Some(unknown) = usage::unknown(why) {
        super::say(format_args!("note: {unknown}"));
    }
}

/// Those that were named and are not there.
fn missing<'s, 'f>(selection: &'s Selection, found: impl Iterator<Item = &'f str>) -> Vec<&'s str> {
    let found: std::collections::HashSet<_> = found.collect();
    selection.plain_names().filter(|name| !found.contains(name)).collect()
}

fn tell_missing(what: &str, missing: &[&str]) -> Ending {
    for name in missing {
        super::say(format_args!(
            "error: there is no {what} {name:?}; `runner why {name}` says why"
        ));
    }
    if missing.is_empty() { Ending::Done } else { Ending::Failed }
}

fn sort(agents: &mut [pb::Agent], by: SortBy) {
    let used = |agent: &pb::Agent| agent.usage.unwrap_or_default();
    match by {
        SortBy::Name => {}
        SortBy::Phase => agents.sort_by(|a, b| a.phase.cmp(&b.phase)),
        SortBy::Template => agents.sort_by(|a, b| a.template.cmp(&b.template)),
        SortBy::Restarts => agents.sort_by_key(|agent| std::cmp::Reverse(agent.restarts)),
        SortBy::Age => agents.sort_by_key(|agent| std::cmp::Reverse(agent.started_at_ms)),
        SortBy::Cpu => agents.sort_by_key(|agent| {
            let used = used(agent);
            std::cmp::Reverse((used.cpu_millicores, used.cpu_ms))
        }),
        SortBy::Memory => {
            agents.sort_by_key(|agent| std::cmp::Reverse(used(agent).memory_bytes));
        }
    }
}

const HEAD: [&str; 6] = ["NAME", "TEMPLATE", "PHASE", "RESTARTS", "AGE", "REASON"];

/// Where an agent is, and what it takes there.
const OF_PROCESSES: &[&str] = &["PID", "CPU", "MEMORY"];
const OF_PODS: &[&str] = &["POD", "NODE", "CPU", "MEMORY"];

fn table_of_agents(agents: &[pb::Agent], form: (Output, bool)) -> Table {
    let mut table = Table::new(&columns(form));
    for agent in agents {
        table.row(row(agent, form));
    }
    table
}

fn columns((output, in_pods): (Output, bool)) -> Vec<&'static str> {
    if output != Output::Wide {
        return HEAD.to_vec();
    }
    let who: &[_] = &["NAME", "TYPE", "TEMPLATE", "PHASE", "READY", "RESTARTS", "AGE"];
    let place = if in_pods { OF_PODS } else { OF_PROCESSES };
    [who, place, &["LEASE", "LAST EXIT", "REASON"]].concat()
}

fn row(agent: &pb::Agent, (output, in_pods): (Output, bool)) -> Vec<String> {
    let reason = or_dash(&reason(agent, now_ms()));
    let (name, template) = (agent.name.clone(), agent.template.clone());
    let (phase, restarts) = (agent.phase.clone(), agent.restarts.to_string());
    if output != Output::Wide {
        return vec![name, template, phase, restarts, age(agent.started_at_ms), reason];
    }
    let dash = || "-".to_owned();
    let place = if in_pods {
        vec![or_dash(&agent.pod), or_dash(&agent.node)]
    } else {
        vec![if agent.pid == 0 { dash() } else { agent.pid.to_string() }]
    };
    let cpu = agent.usage.as_ref().map(usage::cpu);
    let memory = agent.usage.map(|used| bytes(used.memory_bytes));
    let usage = [cpu, memory].map(|it| it.unwrap_or_else(dash));
    let ready = if agent.ready { "yes" } else { "no" }.to_owned();
    let who = [name, or_dash(&agent.r#type), template, phase, ready, restarts];
    let rest = [or_dash(&agent.lease), or_dash(&agent.last_exit), reason];
    who.into_iter()
        .chain([age(agent.started_at_ms)])
        .chain(place)
        .chain(usage)
        .chain(rest)
        .collect()
}

/// Why it is as it is, and what is done next.
pub(super) fn reason(agent: &pb::Agent, now_ms: i64) -> String {
    if agent.next.is_empty() {
        return agent.reason.clone();
    }
    let left = span((agent.next_at_ms - now_ms).max(0));
    format!("{}; {} in {left}", agent.reason, agent.next)
}

/// One line for each change, as `kubectl get -w` has it; for programs, one JSON object.
async fn watch_agents(mut client: Client, args: &GetArgs) -> Result<Ending, Status> {
    let output = args.shown.output;
    let mut changes =
        client.watch_agents(agents_request(&args.selection, output)).await?.into_inner();
    while let Some(change) = changes.message().await? {
        let (kind, in_pods) = (change.kind(), change.in_pods);
        let gone = kind == pb::agents_changed::Kind::Gone;
        match output {
            Output::Table | Output::Wide => {
                let mut agents = change.agents;
                for agent in agents.iter_mut().filter(|_| gone) {
                    "Gone".clone_into(&mut agent.phase);
                }
                let text =
                    table_of_agents(&agents, (output, in_pods)).render(super::output::colour());
                let lines: Vec<_> = text.lines().collect();
                let first = usize::from(kind != pb::agents_changed::Kind::Sync);
                for line in lines.get(first..).unwrap_or_default() {
                    print(line);
                }
            }
            Output::Json | Output::Yaml => {
                for agent in change.agents {
                    let kind = if gone { "AgentGone" } else { "Agent" };
                    let agent = shape::Agent::from(agent);
                    let line = serde_json::to_string(&one(kind, &agent)).unwrap_or_default();
                    print(line);
                }
            }
            Output::Name => change.agents.iter().for_each(|agent| print(&agent.name)),
        }
    }
    Ok(Ending::Done)
}

async fn entities(
    mut client: Client,
    selection: &Selection,
    output: Output,
) -> Result<Ending, Status> {
    let asked = pb::ListEntitiesRequest { selector: Some(selection.selector()) };
    let entities = client.list_entities(asked).await?.into_inner().entities;
    let missing = missing(selection, entities.iter().map(|entity| entity.name.as_str()));
    match output {
        Output::Table | Output::Wide => {
            let wide = output == Output::Wide;
            let mut head = vec!["NAME", "TYPE", "TEMPLATE", "AGENT", "REASON"];
            if wide {
                head.extend(["TAGS", "ARRIVAL", "PRESENT", "LEASED", "SUSPENDED", "INCARNATION"]);
            }
            let mut table = Table::new(&head);
            for entity in &entities {
                let mut row = vec![
                    entity.name.clone(),
                    or_dash(&entity.r#type),
                    or_dash(&entity.template),
                    or_dash(&entity.phase),
                    or_dash(&entity.reason),
                ];
                if wide {
                    let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
                    row.extend([
                        or_dash(&entity.tags.join(",")),
                        entity.arrival.clone(),
                        word(entity.present),
                        word(entity.leased),
                        word(entity.suspended),
                        entity.incarnation.to_string(),
                    ]);
                }
                table.row(row);
            }
            if !entities.is_empty() {
                table.print();
            }
        }
        Output::Json | Output::Yaml => {
            let items: Vec<shape::Entity> = entities.into_iter().map(Into::into).collect();
            print_for_programs(output, &list("EntityList", &items));
        }
        Output::Name => entities.iter().for_each(|entity| print(&entity.name)),
    }
    Ok(tell_missing("entity", &missing))
}

async fn templates(mut client: Client, output: Output) -> Result<Ending, Status> {
    let templates =
        client.list_templates(pb::ListTemplatesRequest {}).await?.into_inner().templates;
    match output {
        Output::Table | Output::Wide => {
            let mut table = Table::new(&["NAME", "AGENTS", "READY", "RESTART", "MATCH", "COMMAND"]);
            for template in &templates {
                table.row([
                    template.name.clone(),
                    template.agents.to_string(),
                    template.ready.to_string(),
                    template.restart_policy.clone(),
                    or_dash(&template.r#match),
                    template.command.clone(),
                ]);
            }
            table.print();
        }
        Output::Json | Output::Yaml => {
            let items: Vec<shape::Template> = templates.into_iter().map(Into::into).collect();
            print_for_programs(output, &list("TemplateList", &items));
        }
        Output::Name => templates.iter().for_each(|template| print(&template.name)),
    }
    Ok(Ending::Done)
}

/// For other verbs.
pub(super) fn line_of(event: &pb::Event) -> String {
    let name = if event.name.is_empty() { String::new() } else { format!("{}: ", event.name) };
    let reason =
        if event.reason.is_empty() { String::new() } else { format!(": {}", event.reason) };
    super::output::escaped(&format!(
        "{} {:<24} {name}{}{reason}",
        time_of_day(event.at_ms),
        event.kind,
        event.message
    ))
}
