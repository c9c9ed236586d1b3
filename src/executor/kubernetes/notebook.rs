//! What the runner was asked for, where its successor on another machine finds it.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::warn;

use super::api::in_time;

/// Under this key of the object that all pods belong to.
pub(super) const ORDERS: &str = "orders";

/// By this name the server knows what of the object is written here.
const MANAGER: &str = "runner-orders";

/// The time between two attempts to write it.
const AGAIN: Duration = Duration::from_secs(1);

/// Writes the latest of what it is given.
#[derive(Debug)]
pub struct Notebook {
    latest: watch::Sender<Option<String>>,
    task: tokio::task::AbortHandle,
}

impl Notebook {
    /// In the object of this name. When `anew` changes it has been made anew, and nothing is in it.
    pub(super) fn new(owners: Api<ConfigMap>, name: String, anew: watch::Receiver<()>) -> Self {
        let (latest, changes) = watch::channel(None);
        let task = tokio::spawn(write(owners, name, (changes, anew))).abort_handle();
        Self { latest, task }
    }

    /// Has this written down instead of what was there, soon.
    pub fn note(&self, text: String) {
        self.latest.send_replace(Some(text));
    }
}

impl Drop for Notebook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn write(
    owners: Api<ConfigMap>,
    name: String,
    (mut latest, mut anew): (watch::Receiver<Option<String>>, watch::Receiver<()>),
) {
    let mut failed = false;
    loop {
        tokio::select! {
            changed = latest.changed() => if changed.is_err() { return },
            Ok(()) = anew.changed() => {}
        }
        loop {
            let Some(text) = latest.borrow_and_update().clone() else { break };
            let object = json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": { "name": name },
                "data": { ORDERS: text },
            });
            let params = PatchParams::apply(MANAGER).force();
            let Err(error) = in_time(owners.patch(&name, &params, &Patch::Apply(&object))).await
            else {
                failed = false;
                break;
            };
            if !std::mem::replace(&mut failed, true) {
                warn!(
                    event = "cluster.orders_failed", %error,
                    "what was asked for is not written down in the cluster yet, and tried again"
                );
            }
            sleep(AGAIN).await;
        }
    }
}
