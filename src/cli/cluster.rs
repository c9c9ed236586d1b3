//! Reaching a cluster before anything is decided.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::config;
use crate::executor::kubernetes::{Access, Cluster, ClusterError, Found, Rate};
use crate::plan::Orders;

/// The time between two attempts.
const AGAIN: Duration = Duration::from_secs(2);

/// How the file says that the cluster is reached.
pub(super) fn access(settings: &config::Cluster) -> Access {
    Access { context: settings.context.clone(), namespace: settings.namespace.clone() }
}

/// How often the file says that it may be asked.
pub(super) fn rate(settings: &config::Cluster) -> Rate {
    Rate { qps: settings.qps, burst: settings.burst }
}

/// What the runner before was asked for, by what it wrote into the cluster.
pub(super) fn orders(kept: &str) -> Option<Orders> {
    let kept = serde_json::from_str(kept);
    if let Err(error) = &kept {
        warn!(event = "cluster.orders_damaged", %error, "what was asked for before cannot be read");
    }
    kept.ok()
}

/// The cluster and all pods of the instance, as soon as this runner leads it and the cluster says
/// which there are: nothing is started before, and nothing stopped.
///
/// # Errors
/// If it will not say, whatever the time.
pub(super) async fn reach(
    how: (&Access, &watch::Sender<Rate>),
    whose: (&str, &str),
    leader: &watch::Sender<String>,
) -> Result<(Cluster, Vec<Found>), ClusterError> {
    let mut told = false;
    loop {
        let reached = async {
            let mut cluster = Cluster::reach(how, whose, leader).await?;
            let found = cluster.find().await?;
            Ok((cluster, found))
        };
        match reached.await {
            Ok((cluster, found)) => {
                let (namespace, pods) = (cluster.namespace(), found.len());
                info!(event = "cluster.reached", namespace, pods, "agents are pods of a cluster");
                return Ok((cluster, found));
            }
            Err(error @ (ClusterError::Config(_) | ClusterError::Refused(_))) => return Err(error),
            Err(error @ ClusterError::Silent(_)) => {
                if !std::mem::replace(&mut told, true) {
                    warn!(event = "cluster.waiting", %error, "waiting for the cluster");
                }
                sleep(AGAIN).await;
            }
        }
    }
}
