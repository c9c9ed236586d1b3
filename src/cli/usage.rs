//! What agents take, as people and programs are told of it: of processes how long they ran, of pods how
//! much of a processor they took lately.

use std::time::Duration;

use serde::Serialize;

use super::output::bytes;
use crate::proto::control as pb;

/// For programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Usage {
    /// Of processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_seconds: Option<f64>,
    /// Of pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_cores: Option<f64>,
    memory_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<u32>,
}

impl From<pb::Usage> for Usage {
    fn from(it: pb::Usage) -> Self {
        let of_processes = it.cpu_millicores.is_none();
        Self {
            cpu_seconds: of_processes.then(|| seconds(&it)),
            cpu_cores: it.cpu_millicores.map(|millicores| f64::from(millicores) / 1000.0),
            memory_bytes: it.memory_bytes,
            processes: of_processes.then_some(it.processes),
        }
    }
}

/// The processor, for a column.
pub(super) fn cpu(usage: &pb::Usage) -> String {
    match usage.cpu_millicores {
        Some(millicores) => format!("{millicores}m"),
        None => format!("{:.1}s", seconds(usage)),
    }
}

/// All of it, in a line.
pub(super) fn in_words(usage: &pb::Usage) -> String {
    let memory = bytes(usage.memory_bytes);
    if let Some(cpu) = usage.cpu_millicores {
        return format!("CPU {cpu}m (thousandths of a processor, lately), memory {memory}");
    }
    let (cpu, processes) = (seconds(usage), usage.processes);
    format!("CPU {cpu:.2} s, memory {memory}, {processes} processes")
}

/// That it is not known, if there is a reason why.
pub(super) fn unknown(why: &str) -> Option<String> {
    (!why.is_empty()).then(|| format!("CPU and memory are not known: {why}"))
}

fn seconds(usage: &pb::Usage) -> f64 {
    Duration::from_millis(usage.cpu_ms).as_secs_f64()
}
