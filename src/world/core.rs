//! The running world: the state behind a lock, the clock that drives it, and who is told.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, broadcast, watch};
use tokio::time::{Instant, sleep_until};

use super::definition::Definition;
use super::state::{Change, State};

/// How many changes a watcher may be behind before it is sent a snapshot in their place.
const CHANGES_KEPT: usize = 256;

pub(super) struct Core {
    state: Mutex<State>,
    started: Instant,
    changes: broadcast::Sender<Change>,
    /// Sent to when a tick starts or something changed, as long as somebody streams.
    pulse: watch::Sender<()>,
    /// Told when the clock may have to wake earlier than it meant to.
    wake: Notify,
    closing: watch::Sender<bool>,
}

impl Core {
    pub(super) fn new(definition: Definition) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let epoch_ms = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        Self {
            state: Mutex::new(State::new(definition, epoch_ms)),
            started: Instant::now(),
            changes: broadcast::Sender::new(CHANGES_KEPT),
            pulse: watch::Sender::new(()),
            wake: Notify::new(),
            closing: watch::Sender::new(false),
        }
    }

    /// Runs `job` on the state of this moment, and tells the watchers what changed by it.
    pub(super) fn with<T>(&self, job: impl FnOnce(&mut State, Duration) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.started.elapsed();
        state.advance(now);
        let result = job(&mut state, now);
        let changes = state.take_changes();
        if !changes.is_empty() {
            self.publish(changes);
        }
        result
    }

    /// Replaces the definition while the world runs.
    pub(super) fn apply(&self, definition: Definition) {
        self.with(|state, now| state.apply(definition, now));
        self.wake.notify_one();
    }

    /// What changes after this moment, and what `job` sees at it: nothing falls in between.
    pub(super) fn watch<T>(
        &self,
        job: impl FnOnce(&State) -> T,
    ) -> (T, broadcast::Receiver<Change>) {
        let mut changes = None;
        let seen = self.with(|state, _now| {
            // What the state did just now must not reach the new watcher a second time.
            let earlier = state.take_changes();
            if !earlier.is_empty() {
                self.publish(earlier);
            }
            changes = Some(self.changes.subscribe());
            job(state)
        });
        (seen, changes.unwrap_or_else(|| self.changes.subscribe()))
    }

    /// Changes at every tick and every change of an entity. Ticks are driven only as long as
    /// somebody holds one of these.
    pub(super) fn pulse(&self) -> watch::Receiver<()> {
        let pulse = self.pulse.subscribe();
        self.wake.notify_one();
        pulse
    }

    /// Turns true when the world ends.
    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    pub(super) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Drives the clock until the world closes: it sleeps to the next thing due, and to the next
    /// tick only while somebody streams.
    pub(super) async fn run(self: Arc<Self>) {
        let mut closing = self.closing();
        let mut last_tick = 0;
        loop {
            let streaming = self.pulse.receiver_count() > 0;
            let (tick, wake_at) = self.with(|state, now| {
                let next_tick = streaming.then(|| state.next_tick_at(now));
                (state.tick(now), [next_tick, state.next_due()].into_iter().flatten().min())
            });
            if streaming && tick != last_tick {
                last_tick = tick;
                self.pulse.send_replace(());
            }
            let due = async {
                match wake_at.and_then(|at| self.started.checked_add(at)) {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.wake.notified() => {}
                () = closed(&mut closing) => return,
            }
        }
    }

    fn publish(&self, changes: Vec<Change>) {
        for change in changes {
            match &change {
                Change::Upserted(entity) => tracing::info!(
                    entity = %entity.entity_id,
                    spawn_tick = entity.spawn_tick,
                    leased = entity.has_active_lease,
                    "entity present"
                ),
                Change::Removed(id) => tracing::info!(entity = %id, "entity left"),
            }
            // An error only says that nobody watches.
            let _unwatched = self.changes.send(change);
        }
        self.pulse.send_replace(());
        self.wake.notify_one();
    }
}

/// Returns when the world closes.
pub(super) async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error says that the world is gone altogether.
    let _gone = closing.wait_for(|closing| *closing).await;
}
