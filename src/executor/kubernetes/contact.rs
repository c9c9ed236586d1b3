//! Whether the cluster answers.
//!
//! The watch of the pods tells, by its errors and by what it shows. That it has begun again it does
//! not tell, and nothing may happen to any pod for hours: so what its request is answered with is
//! looked at too.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use kube::runtime::watcher;
use tokio::sync::watch;
use tower::{Layer, Service};
use tracing::{info, warn};

use super::api::innermost;

/// HTTP's word for a history that the server does not have any more: the watch begins anew.
const GONE: u16 = 410;

/// Whether the server was last heard. Clones are of the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Contact(watch::Sender<Option<String>>);

impl Contact {
    pub(super) fn heard(&self) {
        if self.0.send_if_modified(|trouble| trouble.take().is_some()) {
            info!(event = "cluster.back", "the Kubernetes API server answers again");
        }
    }

    /// The watch says that it has failed.
    pub(super) fn failed(&self, error: &watcher::Error) {
        if is_answer(error) {
            return;
        }
        let error = innermost(error);
        if self.0.send_replace(Some(error.clone())).is_none() {
            warn!(
                event = "cluster.lost",
                %error,
                "the Kubernetes API server does not answer; the agents run on, and none is started or stopped"
            );
        }
    }

    /// Why it was not heard, while it is not.
    pub(super) fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.0.subscribe()
    }
}

/// Whether the server has answered all the same.
fn is_answer(error: &watcher::Error) -> bool {
    let (watcher::Error::WatchError(status)
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))) = error
    else {
        return false;
    };
    status.code == GONE
}

/// Sees to it that a watch that is begun counts.
impl<S> Layer<S> for Contact {
    type Service = Hearing<S>;

    fn layer(&self, inner: S) -> Hearing<S> {
        Hearing { inner, contact: self.clone() }
    }
}

/// What is asked, and what of the answers counts.
#[derive(Clone, Debug)]
pub(super) struct Hearing<S> {
    inner: S,
    contact: Contact,
}

impl<S, A, B> Service<Request<A>> for Hearing<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let mut pairs = request.uri().query().unwrap_or_default().split('&');
        let watch = pairs.any(|pair| pair == "watch=true").then(|| self.contact.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            if let Some(contact) = watch.filter(|_| answer.status().is_success()) {
                contact.heard();
            }
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::ready;

    use kube::core::Status;
    use tower::{ServiceExt, service_fn};

    use super::*;

    fn failure(code: u16) -> watcher::Error {
        watcher::Error::WatchError(Box::new(Status { code, ..Status::default() }))
    }

    async fn ask(contact: &Contact, path: &'static str, code: u16) {
        let answer = service_fn(|_: Request<()>| {
            ready(Ok::<_, Infallible>(Response::builder().status(code).body(()).unwrap()))
        });
        let request = Request::get(path).body(()).unwrap();
        contact.layer(answer).oneshot(request).await.unwrap();
    }

    #[tokio::test]
    async fn a_watch_that_has_begun_again_is_the_server_heard_again() {
        let contact = Contact::default();
        let trouble = contact.trouble();
        contact.failed(&failure(500));
        for (path, code) in [
            ("/api/v1/pods?&limit=500", 200),
            ("/api/v1/pods/a/log?follow=true", 200),
            ("/api/v1/pods?&watch=true&timeoutSeconds=290", 429),
        ] {
            ask(&contact, path, code).await;
            assert!(trouble.borrow().is_some(), "{path} {code}");
        }
        ask(&contact, "/api/v1/pods?&watch=true&timeoutSeconds=290", 200).await;
        assert_eq!(*trouble.borrow(), None);
    }

    #[test]
    fn a_history_that_is_not_there_any_more_is_no_silence() {
        let contact = Contact::default();
        contact.failed(&failure(GONE));
        assert_eq!(*contact.trouble().borrow(), None);
    }
}
