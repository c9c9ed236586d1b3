//! The view that everybody sees, and the only ways in which it changes.

use std::sync::Arc;

use prost::bytes::Bytes;
use tokio::sync::watch;

use super::View;
use super::convert::{self, MAX_ENTITIES, Reading, Unusable};
use super::failure::Failure;
use super::offload::{MANY_BYTES, MANY_ENTITIES, offload};
use crate::plan::{Answer, Heard, Time};

/// Owns the view.
#[derive(Debug)]
pub(super) struct Publisher(watch::Sender<Arc<View>>);

impl Publisher {
    pub(super) fn new(server: &str) -> Self {
        Self(watch::Sender::new(Arc::new(unknown(server))))
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<View>> {
        self.0.subscribe()
    }

    /// Another server from now on, of which nothing is known.
    pub(super) fn server(&self, server: &str) {
        self.put(unknown(server));
    }

    /// A call failed. What is known stays known.
    pub(super) fn failed(&self, failure: &Failure, now: Time) {
        self.0.send_modify(|shared| {
            let view = Arc::make_mut(shared);
            view.reachable = false;
            view.trouble = Some(failure.to_string());
            view.disrupted_at = Some(now);
        });
    }

    /// A question, asked then, was answered now; and at `disrupted` the connection for it had to
    /// be made anew.
    pub(super) fn asked(
        &self,
        reading: &Reading,
        (asked, now): (Time, Time),
        disrupted: Option<Time>,
    ) {
        let answer = Answer {
            heard: Heard::Asked(asked),
            at: now,
            entities: Arc::clone(&reading.entities),
            refused: Arc::clone(&reading.refused),
        };
        let mut view = View::clone(&self.0.borrow());
        view.answers += 1;
        view.latest = Some(answer);
        view.latest_asked = Some(asked);
        view.reachable = true;
        view.trouble = None;
        view.disrupted_at = disrupted.or(view.disrupted_at);
        self.put(view);
    }

    /// Events were streamed to us. They are published as far as they are usable.
    pub(super) async fn told(&self, events: Vec<Bytes>, now: Time) -> Result<(), Unusable> {
        let Some(latest) = self.0.borrow().latest.clone() else { return Ok(()) };
        let bytes: usize = events.iter().map(Bytes::len).sum();
        if bytes > MANY_BYTES || latest.entities.len() > MANY_ENTITIES {
            return self.told_at_length(latest, events, now).await;
        }
        // Without our own handle on it, so that it is copied only where a reader has one.
        drop(latest);
        let mut result = Ok(());
        self.0.send_modify(|shared| {
            let view = Arc::make_mut(shared);
            if let Some(answer) = &mut view.latest {
                result = tell(answer, events, now);
                view.answers += 1;
            }
        });
        result
    }

    async fn told_at_length(
        &self,
        mut latest: Answer,
        events: Vec<Bytes>,
        now: Time,
    ) -> Result<(), Unusable> {
        let work = move || {
            let result = tell(&mut latest, events, now);
            (latest, result)
        };
        let (latest, result) = offload(true, work).await?;
        let mut view = View::clone(&self.0.borrow());
        view.answers += 1;
        view.latest = Some(latest);
        self.put(view);
        result
    }

    fn put(&self, view: View) {
        let old = self.0.send_replace(Arc::new(view));
        if old.latest.as_ref().is_some_and(|latest| latest.entities.len() > MANY_ENTITIES) {
            tokio::task::spawn_blocking(move || drop(old));
        }
    }
}

fn tell(answer: &mut Answer, events: Vec<Bytes>, now: Time) -> Result<(), Unusable> {
    answer.heard = Heard::Told;
    answer.at = now;
    let refused = Arc::make_mut(&mut answer.refused);
    convert::apply(events, Arc::make_mut(&mut answer.entities), refused, MAX_ENTITIES)
}

fn unknown(server: &str) -> View {
    View { server: server.to_owned(), ..View::default() }
}
