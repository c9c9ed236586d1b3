//! The head line of a running `reconcile`, kept below its log where that is on a terminal.

use std::future::pending;
use std::time::Duration;

use tokio::time::sleep;

use super::console::Console;
use super::head::{self, Part};
use super::output::now_ms;
use super::waiting::Holdup;
use crate::control::{self, Instance};
use crate::plan::{Intent, Pending, Phase};
use crate::reconcile::Look;

/// The least time from one drawing to the next: what changes within it is seen together.
const REST: Duration = Duration::from_millis(100);

/// How often it is drawn in any case while it says how much time is left.
const COUNTDOWN: Duration = Duration::from_millis(900);

/// Fewer starts are over before anybody could read how far they have come.
const MANY: usize = 20;

/// How long the bar is, in columns.
const BAR: usize = 20;

/// Takes the line away.
struct Shown<'a>(&'a Console);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.show(Vec::new());
    }
}

/// Keeps the line right, as long as the instance runs. Never ends; the line does with it.
pub(super) async fn run(console: &Console, instance: &Instance) {
    if !console.has_line() {
        return pending().await;
    }
    let shown = Shown(console);
    let mut changes = instance.changes.clone();
    while let Some(look) = control::look(instance).await {
        console.show(parts(&look, instance.trouble(), now_ms()));
        sleep(REST).await;
        tokio::select! {
            heard = changes.changed() => if heard.is_err() { break },
            () = sleep(COUNTDOWN), if look.intent != Intent::Run => {}
        }
    }
    drop(shown);
    pending::<()>().await;
}

/// What the line says. What comes first is seen on a narrow terminal, too.
fn parts(look: &Look, trouble: Option<String>, now_ms: i64) -> Vec<Part> {
    let view = control::View::of(look);
    let part = |text, phase: &str| Part { text, phase: phase.to_owned() };
    let first = if look.intent == Intent::Run {
        progress(look).map(|text| part(text, ""))
    } else {
        let holdup = Holdup::of(view.agents(), now_ms);
        holdup.map(|holdup| part(holdup.but_for(trouble).to_string(), "Stopping"))
    };
    first.into_iter().chain(head::parts(&view.status())).collect()
}

/// How many of those that are to run do, while many do not yet.
fn progress(look: &Look) -> Option<String> {
    let agents = || look.observed.agents.values();
    let starting = agents().filter(|agent| matches!(agent.phase, Phase::Starting { .. })).count();
    let running = agents().filter(|agent| matches!(agent.phase, Phase::Running { .. })).count();
    // All others wait for something that may never be.
    let waits = |why: &&Pending| matches!(why, Pending::Turn(_) | Pending::Unsynced(_));
    let left = starting + look.pending.values().filter(waits).count();
    (left >= MANY).then(|| bar(running, running + left))
}

fn bar(done: usize, of: usize) -> String {
    let full = BAR * done / of;
    format!("[{}{}] {done}/{of} started", "#".repeat(full), ".".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_when_all_is_done_and_not_before() {
        assert_eq!(bar(0, 20), "[....................] 0/20 started");
        assert_eq!(bar(412, 1000), "[########............] 412/1000 started");
        assert_eq!(bar(999, 1000), "[###################.] 999/1000 started");
        assert_eq!(bar(1000, 1000), "[####################] 1000/1000 started");
    }
}
