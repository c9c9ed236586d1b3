//! What a cluster lets a runner do, tried by who only looks: nothing in it is changed.

use futures_util::future::join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};

use super::api::{Access, ClusterError, MANAGER, client, in_time, namespace};
use super::cluster::owner;
use super::meter::{Meter, Unmeasured};
use super::name;

/// Something that the executor asks of the API server.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// The API group; empty: the first one.
    pub group: &'static str,
    /// What it is asked about, with the part of it after a slash.
    pub resource: &'static str,
    /// What is done.
    pub verbs: &'static [&'static str],
    /// Whether it is done to the object of the instance's name only.
    pub of_own: bool,
    /// Whether agents are looked after without it too.
    pub is_spared: bool,
}

/// All that it asks, and no more. What is made has no name yet to the one who allows it, and an apply
/// of what is not there needs `create` beside `patch`.
pub const NEEDS: [Need; 7] = [
    need("", "pods", &["create", "delete", "get", "list", "patch", "watch"]),
    need("", "pods/log", &["get"]).spared(),
    need("metrics.k8s.io", "pods", &["get", "list"]).spared(),
    need("", "configmaps", &["create"]),
    need("", "configmaps", &["patch"]).own(),
    need("coordination.k8s.io", "leases", &["create"]),
    need("coordination.k8s.io", "leases", &["get", "list", "update", "watch"]).own(),
];

const fn need(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Need {
    Need { group, resource, verbs, of_own: false, is_spared: false }
}

impl Need {
    const fn own(self) -> Self {
        Self { of_own: true, ..self }
    }

    const fn spared(self) -> Self {
        Self { is_spared: true, ..self }
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The version of the API server.
    pub version: String,
    /// Where agents would be.
    pub namespace: String,
    /// What is refused that agents cannot be looked after without: a verb and a resource each.
    pub refused: Vec<String>,
    /// What else is.
    pub spared: Vec<String>,
    /// Why it is not known what pods take, if so.
    pub unmeasured: Option<Unmeasured>,
}

/// Tries what an instance of this name needs of a cluster.
///
/// # Errors
/// If there is no answer, or nothing can be made where the agents would be.
pub async fn survey(access: &Access, instance: &str) -> Result<Survey, ClusterError> {
    let instance = name::instance(instance);
    let client = client(access).await?;
    let namespace = namespace(access, &client);
    let version = in_time(client.apiserver_version()).await?.git_version;
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let asked: Vec<_> =
        NEEDS.iter().flat_map(|need| need.verbs.iter().map(move |verb| (need, *verb))).collect();
    let own = name::owner(&instance);
    let allowed = join_all(asked.iter().map(|(need, verb)| {
        let review = review(need, verb, (&namespace, &own));
        let reviews = &reviews;
        async move { in_time(reviews.create(&PostParams::default(), &review)).await }
    }));
    let (mut refused, mut spared) = (Vec::new(), Vec::new());
    for ((need, verb), allowed) in asked.iter().zip(allowed.await) {
        if !allowed?.status.is_some_and(|status| status.allowed) {
            let which = if need.is_spared { &mut spared } else { &mut refused };
            which.push(format!("{verb} {}", named(need)));
        }
    }
    let owners: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    if refused.is_empty() {
        // Only whether it could be: a namespace that is not there is found by this, and a quota.
        let tried = PatchParams { dry_run: true, ..PatchParams::apply(MANAGER) };
        in_time(owners.patch(&own, &tried, &Patch::Apply(&owner(&instance)))).await?;
    }
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let unmeasured = Meter::new(&pods, &instance).all().await.err();
    Ok(Survey { version, namespace, refused, spared, unmeasured })
}

fn named(need: &Need) -> String {
    let dot = if need.group.is_empty() { "" } else { "." };
    format!("{}{dot}{}", need.resource, need.group)
}

fn review(need: &Need, verb: &str, (namespace, own): (&str, &str)) -> SelfSubjectAccessReview {
    let (resource, part) = match need.resource.split_once('/') {
        Some((resource, part)) => (resource, Some(part)),
        None => (need.resource, None),
    };
    let attributes = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        group: Some(need.group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: part.map(str::to_owned),
        verb: Some(verb.to_owned()),
        name: need.of_own.then(|| own.to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(attributes),
        ..SelfSubjectAccessReviewSpec::default()
    };
    SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() }
}
