//! The client against real servers over loopback, which say and do as they are told.

mod hostile;
mod outages;
mod polling;
mod private;
mod script;
mod watching;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Discovery, Settings, View, start};
use crate::clock::Clock;
use crate::credentials::Credentials;

/// Longer than anything here takes, on a busy machine too.
const LONG: Duration = Duration::from_secs(20);

/// An interval that does not come to pass in a test.
const NEVER: Duration = Duration::from_secs(3600);

/// A running client.
struct Subject {
    discovery: Discovery,
    view: watch::Receiver<Arc<View>>,
    settings: watch::Sender<Settings>,
    clock: Clock,
}

fn settings(server: &str) -> Settings {
    Settings {
        server: server.to_owned(),
        credentials: Credentials::default(),
        timeout: Duration::from_secs(10),
        interval: NEVER,
        connection_timeout: Duration::from_secs(30),
    }
}

impl Subject {
    fn start(settings: Settings) -> Self {
        let clock = Clock::new();
        let (settings, receiver) = watch::channel(settings);
        let discovery = start(receiver, clock);
        Self { view: discovery.view(), discovery, settings, clock }
    }

    /// Waits for a view like this.
    async fn until(&mut self, wanted: impl Fn(&View) -> bool) -> Arc<View> {
        let mut reader = self.view.clone();
        let found = tokio::time::timeout(LONG, reader.wait_for(|view| wanted(view))).await;
        let Ok(found) = found else { panic!("this is all that came: {:?}", self.view.borrow()) };
        let view = Arc::clone(&found.unwrap());
        self.view.mark_unchanged();
        view
    }

    async fn until_answers(&mut self, count: u64) -> Arc<View> {
        self.until(|view| view.answers >= count).await
    }
}

/// Waits until a counter has at least this value.
async fn reaches(counter: &watch::Sender<u64>, value: u64) {
    let mut counter = counter.subscribe();
    let reached = tokio::time::timeout(LONG, counter.wait_for(|&count| count >= value)).await;
    reached.expect("the counter gets there in time").unwrap();
}

fn ids(view: &View) -> Vec<String> {
    let latest = view.latest.iter();
    latest.flat_map(|answer| answer.entities.iter()).map(|entity| entity.id.to_string()).collect()
}
