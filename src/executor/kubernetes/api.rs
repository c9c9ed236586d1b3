//! The API server: how it is reached, what is asked of it about one pod, and how it can fail.

use std::time::Duration;

use http::Request;
use http::header::{HeaderValue, USER_AGENT};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::time::timeout;
use tower::filter::FilterLayer;

use super::contact::Contact;
use super::lead::Fence;
use super::pace::Pace;
use super::pods::{Answer, Call};
use super::seen::{Seen, Uid};

/// How long one call may take.
pub(super) const CALL: Duration = Duration::from_secs(10);

/// How long a write may take after the time for which the lease may be acted upon: half of what
/// passes before somebody else may.
const WRITE_AFTER: Duration = Duration::from_secs(1);

/// By this name the server knows what of an object is the runner's.
pub(super) const MANAGER: &str = "runner";

/// Who asks, for those who look after the server.
const AGENT: &str = concat!("runner/", env!("CARGO_PKG_VERSION"));

/// How a cluster is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The context of the kubeconfig; none: the current one, or the service account of the pod that
    /// this is.
    pub context: Option<String>,
    /// The namespace of the pods; none: the context's.
    pub namespace: Option<String>,
}

/// Why a cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// It is not known where it is, or who we are.
    #[error("cannot use the kubeconfig: {0}")]
    Config(String),
    /// It does not answer, or not with what was asked for.
    #[error("the Kubernetes API server does not answer: {0}")]
    Silent(String),
    /// It does not let us.
    #[error("the Kubernetes API server refuses: {0}")]
    Refused(String),
}

/// Two ways to the server: one for the lease, and one for all else, whose rate is bounded and whose
/// writes the fence lets through or not.
pub(super) async fn clients(
    access: &Access,
    pace: &Pace,
    fence: Fence,
    contact: Contact,
) -> Result<(Client, Client), ClusterError> {
    let config = config(access).await?;
    let direct = Client::try_from(config.clone()).map_err(wrong)?;
    let builder = ClientBuilder::try_from(config).map_err(wrong)?;
    // Innermost: what waits for its turn is held against the fence when that comes.
    let fenced = FilterLayer::new(move |request: Request<Body>| {
        if request.method().is_safe() || fence.is_open() { Ok(request) } else { Err(Expired) }
    });
    Ok((direct, builder.with_layer(&fenced).with_layer(&contact).with_layer(pace).build()))
}

/// A way to the server for who only looks.
pub(super) async fn client(access: &Access) -> Result<Client, ClusterError> {
    Client::try_from(config(access).await?).map_err(wrong)
}

async fn config(access: &Access) -> Result<Config, ClusterError> {
    let options = KubeConfigOptions { context: access.context.clone(), ..Default::default() };
    let mut config = match Kubeconfig::read() {
        Ok(file) => Config::from_custom_kubeconfig(file, &options).await.map_err(wrong)?,
        Err(error) if access.context.is_some() => return Err(wrong(error)),
        Err(_) => Config::infer().await.map_err(wrong)?,
    };
    config.connect_timeout = Some(CALL);
    config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
    Ok(config)
}

fn wrong(error: impl std::error::Error) -> ClusterError {
    ClusterError::Config(innermost(&error))
}

/// The namespace of the pods.
pub(super) fn namespace(access: &Access, client: &Client) -> String {
    access.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned())
}

/// Why a write is not made.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the lease has expired")]
struct Expired;

/// What a call about one pod comes to.
pub(super) async fn ask(
    pods: Api<Pod>,
    owners: Vec<Uid>,
    fence: Fence,
    call: Call,
) -> (String, Answer) {
    // What is not answered when the lease is over is given up, so that it is not heard much later.
    let write = CALL.min(fence.left() + WRITE_AFTER);
    match call {
        Call::Create(manifest) => {
            let params = PatchParams::apply(MANAGER);
            let patch = Patch::Apply(&manifest.pod);
            let made = timeout(write, pods.patch(&manifest.name, &params, &patch)).await;
            let answer = answer(made, |pod| {
                let other =
                    || Answer::Refused("what was made is not what was asked for".to_owned());
                Seen::of(&pod, &owners).map_or_else(other, Answer::Pod)
            });
            (manifest.name, answer)
        }
        Call::Delete { name, uid, grace } => {
            let params = DeleteParams {
                grace_period_seconds: grace,
                preconditions: Some(Preconditions { uid: Some(uid.0), resource_version: None }),
                ..DeleteParams::default()
            };
            let deleted = timeout(write, pods.delete(&name, &params)).await;
            let conflict =
                matches!(&deleted, Ok(Err(kube::Error::Api(status))) if status.code == 409);
            let answer = answer(deleted, |_| Answer::Done);
            (name, if conflict { answer } else { in_doubt(answer) })
        }
        Call::Look { name } => {
            let looked = timeout(CALL, pods.get(&name)).await;
            let shown = |pod| Seen::of(&pod, &owners).map_or(Answer::Foreign, Answer::Pod);
            (name, in_doubt(answer(looked, shown)))
        }
    }
}

/// A refusal that says nothing of the pod.
fn in_doubt(answer: Answer) -> Answer {
    if let Answer::Refused(why) = answer { Answer::Unknown(why) } else { answer }
}

fn answer<T>(
    result: Result<kube::Result<T>, tokio::time::error::Elapsed>,
    good: impl FnOnce(T) -> Answer,
) -> Answer {
    let error = match result {
        Ok(Ok(value)) => return good(value),
        Ok(Err(error)) => error,
        Err(_) => return Answer::Unknown("no answer in time".to_owned()),
    };
    let kube::Error::Api(status) = &error else { return Answer::Unknown(innermost(&error)) };
    let message = status.message.clone();
    match status.code {
        404 if status.reason == "NotFound" && message.contains("namespaces") => {
            Answer::Refused(message)
        }
        404 => Answer::None,
        403 if message.contains("exceeded quota") => Answer::Full(message),
        // A field that an old server does not know.
        500 if message.contains("field not declared in schema") => Answer::Refused(message),
        400 | 403 | 405 | 409 | 413 | 415 | 422 => Answer::Refused(message),
        _ => Answer::Unknown(message),
    }
}

pub(super) async fn in_time<T>(
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, ClusterError> {
    match timeout(CALL, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status)))
            if (400..500).contains(&status.code) && status.code != 429 =>
        {
            Err(ClusterError::Refused(status.message.clone()))
        }
        Ok(Err(error)) => Err(ClusterError::Silent(innermost(&error))),
        Err(_) => Err(ClusterError::Silent("no answer in time".to_owned())),
    }
}

/// The root of an error, in words.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    crate::text::printable(&root.to_string())
}
