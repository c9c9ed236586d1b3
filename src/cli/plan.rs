//! `runner plan`: what would change, and why.
//!
//! The same decision as the loop's, on what the world says now and on the agents that are found
//! by the markers in their environment. Nothing is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use litemap::LiteMap;
use tokio::sync::watch;
use tokio::time::timeout;

use super::file::{ConfigFile, Loaded};
use super::instance::refused;
use super::output::{Output, escaped, one, print_for_programs};
use super::settings::{discovery_settings, instance, runner, with_absolute_cwds};
use super::{Ending, cluster, fail, print, runtime, say, shape};
use crate::clock::Clock;
use crate::config::{self, Config, ExecutorKind, Server};
use crate::control::client::connect;
use crate::control::preview::response;
use crate::discovery::{self, View};
use crate::executor::kubernetes::peek;
use crate::executor::local::survey::{Found, survey};
use crate::plan::{
    Agent, AgentSpec, Answer, Arrival, Contact, Desired, Entities, Entity, EntityId, Heard, Intent,
    Lease, Membership, Observed, Orders, Phase, Place, Rules, RunId, Site, Spawn, Time, Want,
    Wants, plan,
};
use crate::proto::control as pb;
use crate::reconcile::Inheritance;
use crate::state::{Memory, confinement, restore_pods};
use crate::world::Definition;

/// How long a running instance is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Show what would change, and why; change nothing.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
                  runner plan --config configs/foraging.toml\n  \
                  runner plan --config edited.toml --state-dir state -o json\n\n\
                  Where an instance runs that has the state directory, it says what the file would\n\
                  change there; else the agents are found by their marks, here or in the cluster,\n\
                  and the world is asked.\n\n\
                  With --detailed-exitcode, exits with 0 if nothing would change, with 2 if something\n\
                  would, and with 1 if that cannot be told.")]
pub(super) struct Args {
    #[command(flatten)]
    file: ConfigFile,
    /// Exit with 2 if something would change.
    #[arg(long)]
    detailed_exitcode: bool,
    /// How it is printed: `name` prints those to whom something would be done.
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
}

pub(super) fn run(args: Args) -> Ending {
    let Args { file, detailed_exitcode, output } = args;
    // With the detailed codes, 2 says that something would change.
    let wrong = |ending| if detailed_exitcode { Ending::Failed } else { ending };
    let loaded = match file.load() {
        Ok(loaded) => loaded,
        Err(ending) => return wrong(ending),
    };
    let planned = match runtime().map(|runtime| runtime.block_on(planned(&loaded))) {
        Ok(Ok(planned)) => planned,
        Ok(Err(Refusal::Status(status))) => return wrong(refused(&status)),
        Ok(Err(Refusal::Io(error))) | Err(error) => return fail("cannot plan", &error),
    };
    let changes = !planned.actions.is_empty() || !planned.world.is_empty();
    show(planned, output);
    if detailed_exitcode && changes { Ending::Wrong } else { Ending::Done }
}

/// Why there is no plan.
enum Refusal {
    Io(io::Error),
    Status(tonic::Status),
}

/// As the instance says, if there is one.
async fn planned(loaded: &Loaded) -> Result<pb::PlanResponse, Refusal> {
    let state_dir = loaded.state_dir().map_err(Refusal::Io)?;
    let Ok(mut client) = connect(&state_dir) else {
        return plan_alone(loaded).await.map_err(Refusal::Io);
    };
    let asked = pb::PlanRequest { config: loaded.bytes.clone() };
    if let Ok(answer) = timeout(PATIENCE, client.plan(asked)).await {
        return Ok(answer.map_err(Refusal::Status)?.into_inner());
    }
    say("the runner does not answer; this is what can be seen without it");
    plan_alone(loaded).await.map_err(Refusal::Io)
}

fn show(planned: pb::PlanResponse, output: Output) {
    match output {
        Output::Table | Output::Wide => {
            if !planned.world.is_empty() {
                print(format_args!("{:<11} {}", "world", escaped(&planned.world)));
            }
            for pb::Planned { verb, name, reason } in planned.actions.iter().chain(&planned.pending)
            {
                print(format_args!("{verb:<11} {}: {}", escaped(name), escaped(reason)));
            }
            print(format_args!("{:<11} {}", "unchanged", planned.unchanged));
            for note in &planned.notes {
                print(format_args!("{:<11} {}", "note", escaped(note)));
            }
        }
        Output::Json | Output::Yaml => {
            print_for_programs(output, &one("Plan", &shape::Plan::from(planned)));
        }
        Output::Name => planned.actions.iter().for_each(|action| print(escaped(&action.name))),
    }
}

/// Where no instance runs.
async fn plan_alone(loaded: &Loaded) -> io::Result<pb::PlanResponse> {
    match &loaded.config.executor {
        ExecutorKind::Local => plan_on_this_machine(loaded).await,
        ExecutorKind::Kubernetes(settings) => plan_in_cluster(loaded, settings).await,
    }
}

async fn plan_on_this_machine(loaded: &Loaded) -> io::Result<pb::PlanResponse> {
    let config = &loaded.config;
    let state_dir = loaded.state_dir()?;
    let found = found(&state_dir)?;
    let orders = Memory::peek(&state_dir)?.orders;
    let arrival = |id: &EntityId| match found.get(id) {
        _ if found.is_empty() => Arrival::First,
        Some(found) if found.marker("RUNNER_ARRIVAL") == Some("first") => Arrival::First,
        Some(_) | None => Arrival::Late,
    };
    let heard = hear(config, server(config, &found)).await?;
    let observed = |desired: &Desired| observed(&found, desired, heard.now);
    respond(config, &heard, (&orders, arrival), observed)
}

async fn plan_in_cluster(
    loaded: &Loaded,
    settings: &config::Cluster,
) -> io::Result<pb::PlanResponse> {
    let config = &loaded.config;
    let peeked = peek(&cluster::access(settings), &loaded.name()).await;
    let (found, kept) = peeked.map_err(io::Error::other)?;
    let heard = hear(config, config.server.address().map(str::to_owned)).await?;
    let memory = Memory::peek(&loaded.state_dir()?)?;
    let Inheritance { observed, arrivals, orders, .. } = restore_pods(memory, found, heard.now);
    let orders = kept.as_deref().and_then(cluster::orders).unwrap_or(orders);
    let arrival = |id: &EntityId| match &arrivals {
        Some(known) => known.get(id).copied().unwrap_or(Arrival::Late),
        None => Arrival::First,
    };
    respond(config, &heard, (&orders, arrival), |_| observed)
}

/// What the world says now.
struct HeardNow {
    answer: Answer,
    server: Option<String>,
    now: Time,
}

async fn hear(config: &Config, server: Option<String>) -> io::Result<HeardNow> {
    let clock = Clock::new();
    let answer = match &server {
        Some(server) => ask(config, (server, config.connection_timeout), clock).await?,
        None => first_answer_of_demo(config, clock.now())?,
    };
    Ok(HeardNow { answer, server, now: clock.now() })
}

/// What would be done about the agents that are observed, beside what the world says.
fn respond(
    config: &Config,
    heard: &HeardNow,
    (orders, arrival): (&Orders, impl Fn(&EntityId) -> Arrival),
    observe: impl FnOnce(&Desired) -> Observed,
) -> io::Result<pb::PlanResponse> {
    let HeardNow { answer, server, now } = heard;
    // What would change, not how soon.
    let rules = Arc::new(Rules { spawn: Spawn::UNBOUNDED, ..with_absolute_cwds(config) });
    let site = Site { server: server.clone().unwrap_or_else(demo_address), runner: runner()? };
    let mut membership = Membership::first(answer, &rules);
    membership.recall(arrival);
    let desired = Desired::new(Intent::Run, &rules, &site, Some(&membership), orders);
    let mut observed = observe(&desired);
    observed.contact = Contact { reachable: true, asked: Some(answer.at), ..Contact::default() };
    // They would be made ready before anything is started in them.
    observed.synced = rules.projects();
    Ok(response(&plan(&desired, &observed, *now)))
}

/// The agents of this configuration, by entity. Of two for one entity, the older one.
fn found(state_dir: &Path) -> io::Result<BTreeMap<EntityId, Found>> {
    let mut agents = BTreeMap::new();
    for found in survey(&instance(state_dir), &BTreeSet::new())?.found {
        if let Some(id) = found.marker("RUNNER_ENTITY_ID").and_then(|id| EntityId::new(id).ok()) {
            agents.entry(id).or_insert(found);
        }
    }
    Ok(agents)
}

/// The address of the world; none for a demo world that does not run.
fn server(config: &Config, found: &BTreeMap<EntityId, Found>) -> Option<String> {
    let running = || found.values().find_map(|found| found.marker("RUNNER_SERVER"));
    config.server.address().or_else(running).map(str::to_owned)
}

fn demo_address() -> String {
    "127.0.0.1:<free port>".to_owned()
}

/// Asks the world once, within this time.
pub(super) async fn ask(
    config: &Config,
    (server, patience): (&str, Duration),
    clock: Clock,
) -> io::Result<Answer> {
    let settings = discovery_settings(config, server.to_owned());
    let (_settings, seen) = watch::channel(settings);
    let world = discovery::start(seen, clock);
    let mut view = world.view();
    let answered = view.wait_for(|view: &Arc<View>| view.latest.is_some());
    let latest = match timeout(patience, answered).await {
        Ok(view) => view.map_err(io::Error::other)?.latest.clone(),
        Err(_elapsed) => None,
    };
    if let Some(answer) = latest {
        return Ok(answer);
    }
    let why = view.borrow().trouble.clone();
    let why = why.map_or_else(String::new, |trouble| format!(": {trouble}"));
    let message = format!("the world at {server} gave no answer within {patience:?}{why}");
    Err(io::Error::new(io::ErrorKind::TimedOut, message))
}

/// What the demo world would say if it were started.
fn first_answer_of_demo(config: &Config, now: Time) -> io::Result<Answer> {
    let entities = match &config.server {
        Server::Embedded(definition) => at_start(definition).map_err(io::Error::other)?,
        Server::Address(_) => Entities::default(),
    };
    let entities = Arc::new(entities);
    Ok(Answer { heard: Heard::Asked(now), at: now, entities, refused: Arc::default() })
}

fn at_start(definition: &Definition) -> Result<Entities, crate::plan::BadEntity> {
    let there = definition.entities.iter().filter(|entity| entity.arrives_after.is_zero());
    there
        .map(|defined| {
            let tags = defined.tags.clone();
            Ok(Entity { tags, ..Entity::new(&defined.id, &defined.kind)? })
        })
        .collect()
}

fn observed(found: &BTreeMap<EntityId, Found>, desired: &Desired, now: Time) -> Observed {
    let wants = match &desired.wants {
        Wants::Unknown => None,
        Wants::Known { agents, .. } => Some(agents),
    };
    let agents = found.iter().zip(0..).map(|((id, found), run)| {
        let want = wants.and_then(|wants| wants.get(id));
        let agent = Agent {
            incarnation: found
                .marker("RUNNER_INCARNATION")
                .and_then(|n| n.parse().ok())
                .unwrap_or(0),
            template: found.marker("RUNNER_TEMPLATE").unwrap_or_default().to_owned(),
            spec: spec(found, want),
            grace: grace(&desired.rules, found),
            attempts: 0,
            restarts: 0,
            last_end: None,
            waits: None,
            phase: Phase::Running {
                run: RunId(run),
                place: Place::Process { pid: found.identity.pid },
                since: now,
                lease: Lease::Held,
            },
        };
        (id.clone(), agent)
    });
    Observed { agents: agents.collect(), ..Observed::default() }
}

/// What the agent was started as. Its own word for it may be out of date (a process can rename
/// itself), so the digest in its markers decides whether it is what is wanted.
fn spec(found: &Found, want: Option<&Want>) -> Arc<AgentSpec> {
    let running = AgentSpec {
        argv: found.argv.clone(),
        env: LiteMap::new(),
        cwd: found.cwd.clone(),
        confinement: confinement(found),
        pod: None,
    };
    let Some(want) = want else { return Arc::new(running) };
    if found.marker("RUNNER_SPEC") == Some(&want.spec.digest()) {
        return Arc::clone(&want.spec);
    }
    // If none of the others differs, it is the environment.
    let with_env = AgentSpec { env: want.spec.env.clone(), ..running.clone() };
    Arc::new(if with_env == *want.spec { running } else { with_env })
}

fn grace(rules: &Rules, found: &Found) -> Duration {
    let name = found.marker("RUNNER_TEMPLATE");
    let template = rules.templates.iter().find(|template| Some(template.name.as_str()) == name);
    template.map_or(Duration::ZERO, |template| template.grace)
}
