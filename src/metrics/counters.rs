//! What has happened since the counting began.

use std::time::UNIX_EPOCH;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry, Result,
    exponential_buckets,
};
use tracing::Level;

use crate::clock::wall_time;

/// A name without the prefix, and the help.
type Family = (&'static str, &'static str);

const STARTS: Family =
    ("agent_starts_total", "Starts of agents, by why. All but no_agent are restarts.");
const SPAWN_FAILURES: Family = ("agent_spawn_failures_total", "Starts that came to no process.");
const SPAWN_DURATION: Family =
    ("agent_spawn_duration_seconds", "From the decision to start an agent until its process ran.");
const EXITS: Family = (
    "agent_exits_total",
    "Ends of agents: how those ended that ended by themselves, why those that were stopped.",
);
const KILLS: Family =
    ("agent_kills_total", "SIGKILLs to agents that outlived their grace, by why they had to end.");
const FAILURES: Family =
    ("agent_failures_total", "Agents that were given up after too many crashes.");
const STORMS: Family = ("crash_storms_total", "Times that many agents crashed alike.");
const PASS_DURATION: Family =
    ("pass_duration_seconds", "What a pass of the loop took: one plan, and carrying it out.");
const WORLD_CALLS: Family = ("world_calls_total", "Questions to the world, by what came of them.");
const WORLD_LOSSES: Family = ("world_losses_total", "Times that contact with the world was lost.");
const RELOADS: Family = (
    "config_reloads_total",
    "Times that the configuration file was read anew, by what came of it.",
);
const LAST_RELOAD_SUCCESSFUL: Family =
    ("config_last_reload_successful", "Whether the file was right when it was last read.");
const LAST_RELOAD_SUCCESS: Family =
    ("config_last_reload_success_timestamp_seconds", "When the file was last read and right.");
const EVENTS: Family =
    ("events_total", "What happened, by its stable name: the same that `runner events` shows.");
const LOG_MESSAGES: Family = ("log_messages_total", "Lines of the runner's own log, by level.");
const DROPPED_LOG_BYTES: Family = (
    "agent_log_dropped_bytes_total",
    "Output of agents that was dropped, as the configuration asks for.",
);

const HOOKS: Family = ("hooks_total", "Events that a hook was to be run for, by what came of it.");

/// What the log said at one time, as far as it is counted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    pub(super) level: Level,
    /// The stable name; empty if it has none.
    pub(super) event: String,
    /// Why, in a stable word.
    pub(super) cause: String,
    pub(super) template: String,
    pub(super) took_ms: Option<f64>,
    pub(super) bytes: u64,
    pub(super) count: u64,
}

impl Said {
    pub(super) const fn new(level: Level) -> Self {
        Self {
            level,
            event: String::new(),
            cause: String::new(),
            template: String::new(),
            took_ms: None,
            bytes: 0,
            count: 0,
        }
    }
}

/// All counters, of a `registry` of their own.
#[derive(Debug)]
pub(super) struct Counters {
    registry: Registry,
    starts: IntCounterVec,
    spawn_failures: IntCounterVec,
    spawn_duration: Histogram,
    exits: IntCounterVec,
    kills: IntCounterVec,
    failures: IntCounterVec,
    storms: IntCounterVec,
    pass_duration: Histogram,
    world_calls: IntCounterVec,
    world_losses: IntCounter,
    reloads: IntCounterVec,
    last_reload_successful: Gauge,
    last_reload_success: Gauge,
    events: IntCounterVec,
    log_messages: IntCounterVec,
    dropped_log_bytes: IntCounter,
    hooks: IntCounterVec,
}

impl Counters {
    pub(super) fn new() -> Result<Self> {
        let registry = Registry::new_custom(Some("runner".to_owned()), None)?;
        let counters = Self {
            starts: vec(&registry, STARTS, &["template", "reason"])?,
            spawn_failures: vec(&registry, SPAWN_FAILURES, &["template"])?,
            // From half a millisecond to a minute.
            spawn_duration: histogram(&registry, SPAWN_DURATION, (0.000_5, 2.0, 18))?,
            exits: vec(&registry, EXITS, &["template", "reason"])?,
            kills: vec(&registry, KILLS, &["template", "reason"])?,
            failures: vec(&registry, FAILURES, &["template"])?,
            storms: vec(&registry, STORMS, &["template"])?,
            // From 10 microseconds to five seconds.
            pass_duration: histogram(&registry, PASS_DURATION, (0.000_01, 4.0, 11))?,
            world_calls: vec(&registry, WORLD_CALLS, &["result"])?,
            world_losses: one(&registry, WORLD_LOSSES)?,
            reloads: vec(&registry, RELOADS, &["result"])?,
            last_reload_successful: last(&registry, LAST_RELOAD_SUCCESSFUL)?,
            last_reload_success: last(&registry, LAST_RELOAD_SUCCESS)?,
            events: vec(&registry, EVENTS, &["kind"])?,
            log_messages: vec(&registry, LOG_MESSAGES, &["level"])?,
            dropped_log_bytes: one(&registry, DROPPED_LOG_BYTES)?,
            hooks: vec(&registry, HOOKS, &["result"])?,
            registry,
        };
        for result in ["answered", "failed"] {
            add(&counters.world_calls, &[result], 0);
        }
        for result in ["applied", "unchanged", "rejected", "unreadable"] {
            add(&counters.reloads, &[result], 0);
        }
        for result in ["done", "failed", "dropped"] {
            add(&counters.hooks, &[result], 0);
        }
        for level in ["info", "warn", "error"] {
            add(&counters.log_messages, &[level], 0);
        }
        // There are counters because a configuration asks for them.
        counters.loaded();
        Ok(counters)
    }

    pub(super) fn families(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    fn loaded(&self) {
        self.last_reload_successful.set(1.0);
        let now = wall_time().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_reload_success.set(now.as_secs_f64());
    }

    /// Takes in what the log says.
    pub(super) fn count(&self, said: &Said) {
        let Said { event, cause, template, .. } = said;
        if said.level <= Level::INFO {
            add(&self.log_messages, &[&said.level.as_str().to_lowercase()], 1);
        }
        if event.is_empty() {
            return;
        }
        match event.as_str() {
            "pass" => return observe(&self.pass_duration, said.took_ms),
            "world.answered" => return add(&self.world_calls, &["answered"], 1),
            "world.call_failed" => return add(&self.world_calls, &["failed"], 1),
            "hook.done" => return add(&self.hooks, &["done"], 1),
            "hook.failed" => add(&self.hooks, &["failed"], 1),
            "hook.dropped" => add(&self.hooks, &["dropped"], said.count),
            "agent.starting" => add(&self.starts, &[template, cause], 1),
            "agent.started" => observe(&self.spawn_duration, said.took_ms),
            "agent.not_started" => add(&self.spawn_failures, &[template], 1),
            "agent.exited" | "agent.gone" => add(&self.exits, &[template, cause], 1),
            "agent.killing" => add(&self.kills, &[template, cause], 1),
            "agent.failed" => add(&self.failures, &[template], 1),
            "agents.crash_storm" => add(&self.storms, &[template], 1),
            // That it stays away is said by the same name.
            "world.lost" if cause != "still_away" => self.world_losses.inc(),
            "config.applied" => {
                add(&self.reloads, &["applied"], 1);
                self.loaded();
            }
            "config.unchanged" => {
                add(&self.reloads, &["unchanged"], 1);
                self.loaded();
            }
            "config.rejected" => {
                add(&self.reloads, &["rejected"], 1);
                self.last_reload_successful.set(0.0);
            }
            "config.unreadable" => {
                add(&self.reloads, &["unreadable"], 1);
                self.last_reload_successful.set(0.0);
            }
            "logs.dropped" => self.dropped_log_bytes.inc_by(said.bytes),
            _ => {}
        }
        add(&self.events, &[event], 1);
    }
}

fn vec(registry: &Registry, (name, help): Family, labels: &[&str]) -> Result<IntCounterVec> {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn one(registry: &Registry, (name, help): Family) -> Result<IntCounter> {
    register(registry, IntCounter::new(name, help)?)
}

fn last(registry: &Registry, (name, help): Family) -> Result<Gauge> {
    register(registry, Gauge::new(name, help)?)
}

/// With `count` buckets, of which the first ends at `first` seconds and each other one at `factor`
/// times that of the one before.
fn histogram(
    registry: &Registry,
    (name, help): Family,
    (first, factor, count): (f64, f64, usize),
) -> Result<Histogram> {
    let buckets = exponential_buckets(first, factor, count)?;
    register(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?)
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn observe(durations: &Histogram, took_ms: Option<f64>) {
    if let Some(ms) = took_ms {
        durations.observe(ms / 1000.0);
    }
}

fn add(counters: &IntCounterVec, labels: &[&str], count: u64) {
    // It fails for another number of labels only, which a test would show.
    if let Ok(counter) = counters.get_metric_with_label_values(labels) {
        counter.inc_by(count);
    }
}
