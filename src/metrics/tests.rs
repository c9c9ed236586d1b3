//! The real log, and what is counted of it.

use prometheus::TextEncoder;
use tracing::{debug, info, trace, warn};
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::counters::{Counters, Said};
use super::{Meter, process};
use crate::events::Recorder;

/// What a meter that is on counts of this work, as a scrape shows it.
fn counted(work: impl FnOnce(&Meter)) -> String {
    let (meter, layer) = super::meter();
    // As in the product: one of two that listen, each to what it wants.
    let recorder = Recorder::default().with_filter(Recorder::filter());
    let log = tracing_subscriber::registry().with(Some(layer)).with(Some(recorder));
    tracing::subscriber::with_default(log, || {
        info!(event = "agent.starting", template = "early", cause = "no_agent", "is not counted");
        meter.on().unwrap();
        work(&meter);
    });
    let families = meter.counters().map(|it| it.families()).unwrap_or_default();
    TextEncoder::new().encode_to_string(&families).unwrap()
}

fn has(metrics: &str, line: &str) {
    assert!(metrics.lines().any(|it| it == line), "no {line} in\n{metrics}");
}

#[test]
fn counted_is_what_is_said_from_when_it_is_wanted_until_it_is_not() {
    let start = |cause: &str| {
        info!(event = "agent.starting", template = "wolf".to_owned(), cause, "starting");
    };
    let metrics = counted(|meter| {
        start("no_agent");
        start("crashed");
        start("crashed");
        info!(event = "agent.started", template = "wolf", took_ms = 3.0, pid = 7, "started");
        info!(event = "agent.exited", template = "wolf", cause = "error", "ended");
        debug!(event = "agent.gone", template = "wolf", cause = "changed", "one of many");
        trace!(event = "pass", took_ms = 0.1, "pass");
        debug!(event = "world.call_failed", "failed");
        warn!(event = "world.lost", "lost");
        warn!(event = "world.lost", cause = "still_away", "still lost");
        warn!(event = "logs.dropped", count = 2_u64, bytes = 300_u64, "dropped");
        info!("has no name");
        meter.on().unwrap();
    });
    assert!(!metrics.contains("early"), "{metrics}");
    for line in [
        r#"runner_agent_starts_total{reason="no_agent",template="wolf"} 1"#,
        r#"runner_agent_starts_total{reason="crashed",template="wolf"} 2"#,
        r#"runner_agent_exits_total{reason="error",template="wolf"} 1"#,
        r#"runner_agent_exits_total{reason="changed",template="wolf"} 1"#,
        r#"runner_agent_spawn_duration_seconds_bucket{le="0.004"} 1"#,
        r#"runner_agent_spawn_duration_seconds_bucket{le="0.002"} 0"#,
        "runner_pass_duration_seconds_count 1",
        r#"runner_world_calls_total{result="failed"} 1"#,
        "runner_world_losses_total 1",
        "runner_agent_log_dropped_bytes_total 300",
        r#"runner_events_total{kind="agent.starting"} 3"#,
        r#"runner_log_messages_total{level="info"} 6"#,
        r#"runner_log_messages_total{level="warn"} 3"#,
    ] {
        has(&metrics, line);
    }
    assert!(!metrics.contains(r#"kind="pass""#), "{metrics}");
    assert_eq!(counted(Meter::off), "");
}

#[test]
fn the_file_is_right_or_wrong_as_it_was_last_read() {
    let counters = Counters::new().unwrap();
    let shown = || TextEncoder::new().encode_to_string(&counters.families()).unwrap();
    has(&shown(), "runner_config_last_reload_successful 1");
    let read = |event: &str| {
        counters.count(&Said { event: event.to_owned(), ..Said::new(tracing::Level::INFO) });
    };
    read("config.rejected");
    has(&shown(), "runner_config_last_reload_successful 0");
    read("config.unchanged");
    has(&shown(), "runner_config_last_reload_successful 1");
    has(&shown(), r#"runner_config_reloads_total{result="rejected"} 1"#);
}

#[test]
fn the_process_is_told_of() {
    let metrics = TextEncoder::new().encode_to_string(&process::families().unwrap()).unwrap();
    let value = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap().rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_max_fds") >= value("process_open_fds"));
    assert!(value("process_threads") >= 1.0);
    let now = crate::clock::wall_time().duration_since(std::time::UNIX_EPOCH).unwrap();
    let age = now.as_secs_f64() - value("process_start_time_seconds");
    assert!((-2.0..3600.0).contains(&age), "{age}");
    assert!(value("process_cpu_seconds_total") >= 0.0);
}
