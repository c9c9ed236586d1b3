//! `runner describe` and `runner why`: all about one agent, and how it came to that.

use std::fmt::Write as _;

use clap::{Parser, ValueEnum};
use clap_complete::ArgValueCandidates;

use super::get::line_of;
use super::instance::{InstanceArgs, with};
use super::output::{Output, age, escaped, list, one, print_for_programs, span, time_of_day};
use super::{Ending, candidates, print, shape, usage};
use crate::proto::control as pb;

/// Show all that is known of an agent.
#[derive(Debug, Parser)]
#[command(after_help = "Example: runner describe agent wolf-7")]
pub(super) struct DescribeArgs {
    /// What it is.
    #[arg(value_enum)]
    what: What,
    /// The name of its entity.
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(candidates::everybody))]
    entity: String,
    #[command(flatten)]
    instance: InstanceArgs,
    /// How it is printed.
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
    /// How many of its latest events and log lines are shown.
    #[arg(long, default_value_t = 10, value_name = "NUMBER")]
    last: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// An agent, or an entity that has none.
    #[value(alias = "entity")]
    Agent,
}

/// Show how it came to what is: one line a step.
#[derive(Debug, Parser)]
#[command(after_help = "Example: runner why wolf-7")]
pub(super) struct WhyArgs {
    /// The name of an entity, with an agent or without.
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(candidates::everybody))]
    entity: String,
    #[command(flatten)]
    instance: InstanceArgs,
    /// How it is printed.
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
}

pub(super) fn why(args: &WhyArgs) -> Ending {
    with(&args.instance, |mut client| async move {
        let asked = pb::ExplainRequest { name: args.entity.clone() };
        let steps = client.explain(asked).await?.into_inner().steps;
        match args.output {
            Output::Table | Output::Wide | Output::Name => {
                for step in &steps {
                    print(line_of_step(step));
                }
            }
            Output::Json | Output::Yaml => {
                let items: Vec<shape::Step> = steps.into_iter().map(Into::into).collect();
                print_for_programs(args.output, &list("Explanation", &items));
            }
        }
        Ok(Ending::Done)
    })
}

/// For people.
pub(super) fn line_of_step(step: &pb::Step) -> String {
    let when = match step.at_ms {
        0 => "now".to_owned(),
        at => time_of_day(at),
    };
    format!("{when:<12}  {}", escaped(&step.text))
}

pub(super) fn run(args: &DescribeArgs) -> Ending {
    let What::Agent = args.what;
    with(&args.instance, |mut client| async move {
        let asked = pb::DescribeAgentRequest { name: args.entity.clone(), events: args.last };
        let description = client.describe_agent(asked).await?.into_inner();
        match args.output {
            Output::Table | Output::Wide | Output::Name => {
                print(text(&description, args.last).trim_end());
            }
            Output::Json | Output::Yaml => {
                let shape = shape::Description::from(description);
                print_for_programs(args.output, &one("AgentDescription", &shape));
            }
        }
        Ok(Ending::Done)
    })
}

/// The last of what it wrote; nothing if that cannot be read from here.
fn last_lines(described: &pb::AgentDescription, most: u32) -> Vec<String> {
    let tail = if described.log_path.is_empty() {
        String::from_utf8_lossy(&described.log_tail).into_owned()
    } else {
        let path = std::path::Path::new(&described.log_path);
        crate::executor::logs::tail_of(path, 64 * 1024).unwrap_or_default()
    };
    let mut lines: Vec<_> = tail.lines().rev().take(most as usize).map(escaped).collect();
    lines.reverse();
    lines
}

/// For people, with the last lines of its log.
pub(super) fn text(described: &pb::AgentDescription, last: u32) -> String {
    let last_lines = last_lines(described, last);
    let mut text = String::new();
    // Writing to a string does not fail.
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{:<14} {}", format!("{name}:"), escaped(value));
        }
    };
    let unknown = || match &*described.usage_unknown {
        "" => String::new(),
        why => format!("not known: {why}"),
    };
    let entity = described.entity.clone().unwrap_or_default();
    line("Name", &entity.name);
    line("Type", &entity.r#type);
    line("Tags", &entity.tags.join(", "));
    line("Incarnation", &entity.incarnation.to_string());
    line("Arrival", &entity.arrival);
    match &described.agent {
        None => line("Agent", &format!("none: {}", entity.reason)),
        Some(agent) => {
            line("Template", &format!("{} ({})", agent.template, described.chosen_by));
            line("Phase", &agent.phase);
            line("Reason", &agent.reason);
            if !agent.next.is_empty() {
                let at = time_of_day(agent.next_at_ms);
                line("Next", &format!("{} at {at} ({})", agent.next, age(agent.next_at_ms)));
            }
            if agent.pid != 0 {
                line("Process", &format!("{}, run {}", agent.pid, agent.run));
            }
            if !agent.pod.is_empty() {
                let (pod, node) = (&agent.pod, &agent.node);
                line("Pod", &format!("{pod} on node {node}, run {}", agent.run));
            }
            if agent.started_at_ms != 0 {
                let at = time_of_day(agent.started_at_ms);
                line("Started", &format!("{at} ({} ago)", age(agent.started_at_ms)));
            }
            line("Restarts", &agent.restarts.to_string());
            line("Attempts", &format!("{} of {}", agent.attempts, agent.max_attempts));
            line("Last exit", &agent.last_exit);
            line("Lease", &agent.lease);
            line("Usage", &agent.usage.as_ref().map_or_else(unknown, usage::in_words));
        }
    }
    line("Command", &described.command.join(" "));
    line("Directory", &described.cwd);
    line("Environment", &described.environment.join(", "));
    line("Restart", &described.restart_policy);
    line("Grace", &span_of_grace(described.grace_ms));
    line("Limits", &described.limits);
    line("Log", &described.log_path);
    if !described.conditions.is_empty() {
        let _ = writeln!(text, "Conditions:");
        for it in &described.conditions {
            let message = escaped(&it.message);
            let _ =
                writeln!(text, "  {:<12} {:<6} {:<14} {message}", it.r#type, it.status, it.reason);
        }
    }
    if !described.events.is_empty() {
        let _ = writeln!(text, "Events:");
        for event in &described.events {
            let _ = writeln!(text, "  {}", line_of(event));
        }
    }
    if !last_lines.is_empty() {
        let _ = writeln!(text, "Last lines of its log:");
        for line in last_lines {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

fn span_of_grace(ms: i64) -> String {
    if ms < 120_000 { format!("{ms} ms") } else { span(ms) }
}
