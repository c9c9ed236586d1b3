//! What there is of an instance, for who only looks: nothing is led, made or watched.

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::ListParams;

use super::api::{Access, ClusterError, client, in_time, namespace};
use super::cluster::Found;
use super::notebook::ORDERS;
use super::seen::Uid;
use super::{labels, name};

/// So many pods in one answer.
const PAGE: u32 = 500;

/// The pods of an instance, and what its runner was asked for, as it wrote that down.
///
/// # Errors
/// If the server does not say.
pub async fn peek(
    access: &Access,
    instance: &str,
) -> Result<(Vec<Found>, Option<String>), ClusterError> {
    let instance = name::instance(instance);
    let client = client(access).await?;
    let namespace = namespace(access, &client);
    let owners: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let Some(owner) = in_time(owners.get_opt(&name::owner(&instance))).await? else {
        return Ok((Vec::new(), None));
    };
    let kept = owner.data.and_then(|mut data| data.remove(ORDERS));
    let owners: Vec<_> = owner.metadata.uid.map(Uid).into_iter().collect();
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let mut page = ListParams::default().labels(&labels::selector(&instance)).limit(PAGE);
    let mut found = Vec::new();
    loop {
        let listed = in_time(pods.list(&page)).await?;
        found.extend(listed.items.iter().filter_map(|pod| Found::of(pod, &owners)));
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok((found, kept)),
        }
    }
}
