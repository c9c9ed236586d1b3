//! What agents take. Of processes it is measured here, about pods their cluster is asked.

use tokio::task::spawn_blocking;
use tonic::Status;

use super::service::ending;
use crate::executor::kubernetes::{Inquiry, PodUsage};
use crate::executor::usage;
use crate::proto::control as pb;

/// Agents, with what they take.
pub(super) struct Measured {
    pub(super) agents: Vec<pb::Agent>,
    /// Why it is not known what pods take, if so.
    pub(super) unknown: String,
}

pub(super) async fn measure(
    cluster: Option<&Inquiry>,
    mut agents: Vec<pb::Agent>,
) -> Result<Measured, Status> {
    if let Some(cluster) = cluster {
        let unknown = ask(cluster, &mut agents).await;
        return Ok(Measured { agents, unknown });
    }
    let measured = spawn_blocking(move || {
        for agent in &mut agents {
            agent.usage = of_process(agent.pid);
        }
        agents
    });
    let agents = measured.await.map_err(|_| ending())?;
    Ok(Measured { agents, unknown: String::new() })
}

/// Why it is not known; nothing if it is.
async fn ask(cluster: &Inquiry, agents: &mut [pb::Agent]) -> String {
    let mut in_pods: Vec<_> = agents.iter_mut().filter(|agent| !agent.pod.is_empty()).collect();
    let unknown = match &mut in_pods[..] {
        [] => None,
        [agent] => match cluster.usage(&agent.pod).await {
            Ok(usage) => {
                agent.usage = Some(of_pod(usage));
                None
            }
            Err(unknown) => Some(unknown),
        },
        several => match cluster.usages().await {
            Ok(usages) => {
                for agent in several {
                    agent.usage = usages.get(&agent.pod).copied().map(of_pod);
                }
                None
            }
            Err(unknown) => Some(unknown),
        },
    };
    unknown.map_or_else(String::new, |unknown| unknown.to_string())
}

fn of_process(pid: u32) -> Option<pb::Usage> {
    let usage = usage(pid)?;
    Some(pb::Usage {
        cpu_ms: u64::try_from(usage.cpu.as_millis()).unwrap_or(u64::MAX),
        memory_bytes: usage.memory,
        processes: u32::try_from(usage.processes).unwrap_or(u32::MAX),
        cpu_millicores: None,
    })
}

fn of_pod(usage: PodUsage) -> pb::Usage {
    pb::Usage {
        memory_bytes: usage.memory,
        cpu_millicores: Some(usage.millicores),
        ..pb::Usage::default()
    }
}
