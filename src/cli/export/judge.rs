//! What of a file cannot be so in a cluster, and what would not work there.

use std::net::SocketAddr;
use std::path::Path;

use super::Deployed;
use crate::config::{Cluster, Config, ExecutorKind, Server, ServerName};

/// The most that a ConfigMap holds, in bytes.
const MOST_BYTES: usize = 1 << 20;

/// The cluster of the agents, as a pod can reach it.
///
/// # Errors
/// Why there is none, and what to write.
pub(super) fn cluster(config: &Config) -> Result<&Cluster, String> {
    let ExecutorKind::Kubernetes(cluster) = &config.executor else {
        return Err(
            "`runner.executor` is \"local\": agents would be processes in the runner's own \
                    pod; write `executor = \"kubernetes\"` in `[runner]`"
                .to_owned(),
        );
    };
    match &cluster.context {
        None => Ok(cluster),
        Some(context) => Err(format!(
            "`kubernetes.context` is {context:?}, and a pod has no kubeconfig; leave it out: the \
             runner uses the service account of its pod, and `kubectl --context {context} apply` \
             chooses the cluster"
        )),
    }
}

/// The name of a file and its text, as a ConfigMap can hold them.
///
/// # Errors
/// Why not, and what to do.
pub(super) fn file<'a>(path: &'a Path, bytes: &'a [u8]) -> Result<(&'a str, &'a str), String> {
    let name = path.file_name().and_then(|name| name.to_str());
    let is_key = |name: &&str| {
        let allowed = |it: u8| it.is_ascii_alphanumeric() || b"-_.".contains(&it);
        name.bytes().all(allowed) && !name.starts_with("..") && name.len() <= 253
    };
    let Some(name) = name.filter(is_key) else {
        return Err(format!(
            "{} cannot be a key of a ConfigMap; rename it: letters, digits, `-`, `_` and `.` are \
             allowed",
            path.display()
        ));
    };
    if bytes.len() > MOST_BYTES {
        return Err(format!("{} is longer than a ConfigMap can be (1 MiB)", path.display()));
    }
    std::str::from_utf8(bytes).map(|text| (name, text)).map_err(|error| error.to_string())
}

/// What would not work in a pod, and what to write.
pub(super) fn warnings(deployed: &Deployed<'_>) -> Vec<String> {
    let config = deployed.config;
    let metrics = config.metrics.filter(|_| deployed.metrics_port().is_none());
    [
        world(&config.server, deployed.namespace),
        metrics.map(unreachable),
        files(config, deployed.name()),
        hook(config),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn world(server: &Server, namespace: &str) -> Option<String> {
    let write = format!(
        "write where pods reach the world, such as `server = \"world.{namespace}.svc:50051\"`"
    );
    match server {
        Server::Embedded(_) => Some(format!(
            "`runner.server` is \"embedded\": the world is in the pod of the runner that leads, \
             where no agent reaches it, and ends with it; {write}"
        )),
        Server::Address(address) => address
            .parse::<ServerName>()
            .is_ok_and(|name| name.is_here())
            .then(|| format!("`runner.server` is {address}, which to each pod is itself; {write}")),
    }
}

fn unreachable(listen: SocketAddr) -> String {
    let port = if listen.port() == 0 { 9464 } else { listen.port() };
    format!(
        "`metrics.listen` is {listen}, where nobody finds it outside its pod: there are no probes \
         and no Service; write `listen = \"0.0.0.0:{port}\"`"
    )
}

fn files(config: &Config, name: &str) -> Option<String> {
    let tls = config.credentials.tls.as_ref();
    let identity = tls.and_then(|tls| tls.identity.as_ref());
    let named = [
        tls.and_then(|tls| tls.ca.as_ref()),
        identity.map(|it| &it.cert),
        identity.map(|it| &it.key),
        config.credentials.token_file.as_ref(),
    ];
    let named: Vec<_> = named.into_iter().flatten().map(|it| it.display().to_string()).collect();
    (!named.is_empty()).then(|| {
        format!(
            "no pod has the files of this machine: {}; make a Secret of them (`kubectl create \
             secret generic {name} --from-file=…`), and mount it there in the Deployment, with \
             `defaultMode: 0440`",
            named.join(", ")
        )
    })
}

fn hook(config: &Config) -> Option<String> {
    let program = config.hooks.as_ref()?.on_event.first()?;
    Some(format!(
        "`hooks.on_event` runs {program:?}, which the image must have: the runner's own has no \
         program but `runner`, so write one that begins with `FROM` it, or leave out `on_event`"
    ))
}
