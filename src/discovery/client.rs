//! The loop: waits for what happens, and puts the next question when it is due.

use std::future::{Future, pending};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::contact::Contact;
use super::convert::{MAX_ENTITIES, Reading, Unusable};
use super::failure::Failure;
use super::link::{Connections, Link, Made};
use super::offload::{MANY_BYTES, offload};
use super::publish::Publisher;
use super::retry::Retry;
use super::watcher::{News, Watcher};
use super::{Settings, View, Wishes};
use crate::clock::Clock;
use crate::plan::Time;

/// How long after a failed call the next one is made: the first time, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// The least time from one question to the next where nobody asks for it, or where the last
/// one failed.
const MIN_GAP: Duration = Duration::from_millis(100);

/// The time from one answer to the next question where events tell of changes and nothing hangs on
/// the answer. Events can be lost, and a world can be wrong about what it told of.
const RESYNC: Duration = Duration::from_secs(60);

/// The longest answer that is kept to tell whether the next one says the same, in bytes.
const MAX_KEPT_BYTES: usize = 1024 * 1024;

type Call = Pin<Box<dyn Future<Output = Result<Reading, Failure>> + Send>>;

/// The task that owns it all.
pub(super) struct Client {
    clock: Clock,
    settings: Settings,
    changes: Option<watch::Receiver<Settings>>,
    wishes: watch::Receiver<Wishes>,
    /// As they were last.
    heeded: Wishes,
    publisher: Publisher,
    session: Session,
}

/// What is going on with one server.
struct Session {
    connections: Connections,
    link: Result<Link, String>,
    /// The latest good answer, unless events have changed it since.
    known: Option<Reading>,
    /// The connection of the latest good answer.
    connection: Option<u64>,
    retry: Retry,
    contact: Contact,
    watcher: Watcher,
    call: Option<Call>,
    /// When the latest call began.
    started: Time,
    next: Next,
    /// Somebody has asked since the latest call began.
    asked: bool,
    /// Events were published since the latest call began, that its answer may not know of.
    told: bool,
}

/// When the next question is due.
#[derive(Clone, Copy)]
enum Next {
    /// At this time.
    At(Time),
    /// The latest call failed: try again at this time.
    Retry(Time),
    /// At the interval after this answer.
    After(Time),
}

impl Session {
    fn new(settings: &Settings, clock: Clock) -> Self {
        let connections = Connections::default();
        Self {
            link: link(settings, clock, &connections),
            connections,
            known: None,
            connection: None,
            retry: Retry::new(RETRY.0, RETRY.1),
            contact: Contact::new(clock.now()),
            watcher: Watcher::new(),
            call: None,
            started: Time::default(),
            next: Next::At(Time::default()),
            asked: false,
            told: false,
        }
    }

    /// Connects anew, and asks at once: what is known of the world stays.
    fn reconnect(&mut self, settings: &Settings, clock: Clock) {
        self.link = link(settings, clock, &self.connections);
        self.watcher.close();
        self.call = None;
        self.retry.reset();
        self.next = Next::At(clock.now());
    }

    /// When the next call is to be made. None: one is being made.
    fn call_at(&self, interval: Duration) -> Option<Time> {
        if self.call.is_some() {
            return None;
        }
        let (usually, if_asked) = match self.next {
            Next::At(time) => (time, Time::default()),
            Next::Retry(time) => (time, self.started + MIN_GAP),
            Next::After(answer) => (answer + interval.max(MIN_GAP), Time::default()),
        };
        Some(if self.asked { usually.min(if_asked) } else { usually })
    }

    /// The time from an answer to the next question.
    fn interval(&self, settings: &Settings, wishes: Wishes) -> Duration {
        let told = wishes.resting && self.watcher.is_open();
        if told { settings.interval.max(RESYNC) } else { settings.interval }
    }

    /// When the watch is to be opened: not before the world has answered again.
    fn watch_at(&self) -> Option<Time> {
        match self.next {
            Next::After(_) => self.watcher.open_at(self.connection?),
            Next::At(_) | Next::Retry(_) => None,
        }
    }

    /// The watch ended, perhaps because the world did.
    fn watch_ended(&mut self, now: Time) {
        self.watcher.ended(now);
        self.asked = true;
        if let Next::After(_) = self.next {
            self.next = Next::At(now);
        }
    }
}

impl Client {
    pub(super) fn new(
        mut changes: watch::Receiver<Settings>,
        wishes: watch::Receiver<Wishes>,
        clock: Clock,
    ) -> Self {
        let settings = changes.borrow_and_update().clone();
        let publisher = Publisher::new(&settings.server);
        let session = Session::new(&settings, clock);
        let heeded = Wishes::default();
        Self { clock, settings, changes: Some(changes), wishes, heeded, publisher, session }
    }

    pub(super) fn view(&self) -> watch::Receiver<Arc<View>> {
        self.publisher.subscribe()
    }

    /// Runs until nobody can ask any more.
    pub(super) async fn run(mut self) {
        loop {
            let wake_at = self.do_what_is_due();
            tokio::select! {
                change = changed(&mut self.changes) => self.configure(change),
                more = self.wishes.changed() => match more {
                    Ok(()) => self.heed(),
                    Err(_) => return,
                },
                outcome = finished(&mut self.session.call) => self.answered(outcome),
                news = self.session.watcher.next() => self.heard(news).await,
                () = sleep_until(self.clock, wake_at) => {}
            }
        }
    }

    /// Does what is due now, and says when something will be due next.
    fn do_what_is_due(&mut self) -> Option<Time> {
        let now = self.clock.now();
        let session = &mut self.session;
        let interval = session.interval(&self.settings, self.heeded);
        if session.call_at(interval).is_some_and(|at| at <= now) {
            // What was asked up to here is answered by this call.
            self.heeded.asks = self.wishes.borrow().asks;
            session.asked = false;
            session.told = false;
            session.started = now;
            let known = session.known.clone();
            session.call = Some(call(&session.link, self.settings.timeout, known));
        }
        if session.watch_at().is_some_and(|at| at <= now)
            && let Ok(link) = &session.link
        {
            session.watcher.open(Box::pin(link.watch(self.settings.timeout)));
        }
        if let Some(notice) = session.contact.remind(now, self.settings.connection_timeout) {
            notice.log(&self.settings.server);
        }
        let next = [
            session.call_at(interval),
            session.watch_at(),
            session.contact.remind_at(self.settings.connection_timeout),
        ];
        next.into_iter().flatten().min()
    }

    fn heed(&mut self) {
        let before = mem::replace(&mut self.heeded, *self.wishes.borrow_and_update());
        self.session.asked |= before.asks != self.heeded.asks;
    }

    fn configure(&mut self, change: Option<Settings>) {
        let Some(settings) = change else {
            self.changes = None;
            return;
        };
        let before = mem::replace(&mut self.settings, settings);
        if before.server != self.settings.server {
            let server = &self.settings.server;
            info!(server, before = before.server, "another world from now on");
            self.publisher.server(server);
            self.session = Session::new(&self.settings, self.clock);
        } else if before.credentials != self.settings.credentials {
            let server = &self.settings.server;
            info!(server, "the world is connected to anew, as its TLS or token settings changed");
            self.session.reconnect(&self.settings, self.clock);
        }
    }

    fn answered(&mut self, outcome: Result<Reading, Failure>) {
        let now = self.clock.now();
        self.session.call = None;
        match outcome {
            Ok(reading) => self.succeeded(reading, now),
            Err(failure) => self.failed(&failure, now),
        }
    }

    fn succeeded(&mut self, reading: Reading, now: Time) {
        let session = &mut self.session;
        let Made { count, last } = session.connections.made();
        let reconnected = session.connection.replace(count).is_some_and(|before| before != count);
        let entities = reading.entities.len();
        let refused = reading.refused.count;
        // The question was sent when there was a connection to send it on.
        let asked = session.started.max(last);
        self.publisher.asked(&reading, (asked, now), reconnected.then_some(last));
        session.known = reading.kept(MAX_KEPT_BYTES).filter(|_| !session.told);
        session.retry.reset();
        session.next =
            if session.told { Next::At(session.started + MIN_GAP) } else { Next::After(now) };
        debug!(
            event = "world.answered",
            server = self.settings.server,
            entities,
            refused,
            "the world answered"
        );
        if let Some(notice) = session.contact.answered(now, entities, reconnected) {
            notice.log(&self.settings.server);
        }
    }

    fn failed(&mut self, failure: &Failure, now: Time) {
        let session = &mut self.session;
        self.publisher.failed(failure, now);
        session.next = Next::Retry(now + session.retry.next_wait());
        if let Failure::Deadline(_) = failure {
            // The connection may be dead without our knowing it: a host that vanished, or a
            // handshake that was lost and that the kernel repeats ever more rarely.
            session.link = link(&self.settings, self.clock, &session.connections);
            session.watcher.close();
        }
        debug!(event = "world.call_failed", server = self.settings.server, error = %failure, "a call to the world failed");
        if let Some(notice) = session.contact.failed(now, failure) {
            notice.log(&self.settings.server);
        }
    }

    async fn heard(&mut self, news: News) {
        let now = self.clock.now();
        let connection = self.session.connections.made().count;
        let server = &self.settings.server;
        let session = &mut self.session;
        match news {
            News::Opened(events) => {
                if session.watcher.opened(events, connection, now) {
                    info!(server, "the world tells of changes as they happen");
                }
                // It is news that there is another connection.
                session.asked |= session.connection != Some(connection);
            }
            News::Told(events) => {
                session.told = true;
                session.known = None;
                match self.publisher.told(events, now).await {
                    Ok(()) => {}
                    Err(error @ Unusable::TooMany(_)) => {
                        warn!(server, %error, "the world's events are left unread: it is polled");
                        session.watcher.refused(connection);
                    }
                    Err(error) => {
                        debug!(server, %error, "the world's events cannot be used");
                        session.watch_ended(now);
                    }
                }
            }
            News::Ended(failure) if failure.is_unimplemented() => {
                session.watcher.refused(connection);
                info!(
                    server,
                    interval_ms = self.settings.interval.as_millis(),
                    "the world does not tell of changes: it is polled"
                );
            }
            News::Ended(error) => {
                debug!(server, %error, "the world's events ended");
                session.watch_ended(now);
            }
        }
    }
}

fn link(settings: &Settings, clock: Clock, connections: &Connections) -> Result<Link, String> {
    Link::new(&settings.server, &settings.credentials, clock, connections.clone())
}

/// One question: sent, awaited, and its answer read.
fn call(link: &Result<Link, String>, timeout: Duration, known: Option<Reading>) -> Call {
    let listed = match link {
        Ok(link) => link.list(timeout),
        Err(why) => {
            let failure = Failure::Address(why.clone());
            return Box::pin(async { Err(failure) });
        }
    };
    Box::pin(async move {
        let response = listed.await?;
        if let Some(known) = known.filter(|known| known.is_of(&response)) {
            return Ok(known);
        }
        let long = response.len() > MANY_BYTES;
        Ok(offload(long, || Reading::of(response, MAX_ENTITIES)).await??)
    })
}

/// The settings when they have changed. None: they will not change any more.
async fn changed(changes: &mut Option<watch::Receiver<Settings>>) -> Option<Settings> {
    match changes {
        Some(changes) => {
            changes.changed().await.ok()?;
            Some(changes.borrow_and_update().clone())
        }
        None => pending().await,
    }
}

/// What came of the call, if there is one.
async fn finished(call: &mut Option<Call>) -> Result<Reading, Failure> {
    match call {
        Some(call) => call.await,
        None => pending().await,
    }
}

async fn sleep_until(clock: Clock, time: Option<Time>) {
    match time {
        Some(time) => tokio::time::sleep_until(clock.instant(time)).await,
        None => pending().await,
    }
}
