//! Who holds a shutdown up: in what words that is said, and how often.

use std::fmt::{self, Write as _};
use std::future::pending;
use std::time::Duration;

use itertools::Itertools as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::output::{escaped, now_ms, span};
use crate::control::{self, Instance, View};
use crate::plan::Intent;
use crate::proto::control as pb;

/// How many are named; of the others it is said how many they are.
const MOST_NAMES: usize = 3;

/// Who ends within this time is not waited for.
const FIRST: Duration = Duration::from_secs(1);

/// The longest time between two tellings.
const LONGEST: Duration = Duration::from_secs(60);

/// Those who live on, and what will become of them:
/// `waiting for alice, bob, carol and 10 more: SIGKILL in 4s`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holdup {
    /// How many.
    count: usize,
    /// Some of their names.
    who: String,
    /// When they are killed; none: they were not told to end yet.
    until: Option<String>,
}

impl Holdup {
    /// Those of the agents that have processes; none: nobody holds anything up.
    pub(super) fn of(agents: impl IntoIterator<Item = pb::Agent>, now_ms: i64) -> Option<Self> {
        let lives =
            |agent: &pb::Agent| ["Starting", "Running", "Stopping"].contains(&&*agent.phase);
        let agents: Vec<_> = agents.into_iter().filter(lives).collect();
        let count = agents.len();
        let mut who = agents.iter().take(MOST_NAMES).map(|agent| escaped(&agent.name)).join(", ");
        if count > MOST_NAMES {
            // Writing to a string does not fail.
            let _ = write!(who, " and {} more", count - MOST_NAMES);
        }
        (count > 0).then(|| Self { count, who, until: until(&agents, now_ms) })
    }

    /// The same, where nobody of them can be reached for this reason, if any.
    pub(super) fn but_for(self, trouble: Option<String>) -> Self {
        let silent = |trouble| {
            format!(
                "the cluster does not answer ({trouble}); told once more, the runner leaves them"
            )
        };
        Self { until: trouble.map(silent).or(self.until), ..self }
    }
}

/// When those are killed who will be, if anybody is told to end.
fn until(agents: &[pb::Agent], now_ms: i64) -> Option<String> {
    let killed_at = agents.iter().filter(|agent| agent.next == "SIGKILL").map(|it| it.next_at_ms);
    // Rounded up: when the time is over, it is not "in 0s" any more.
    let left = |at: i64| span((at - now_ms).max(0) + 999);
    match killed_at.minmax().into_option() {
        Some((first, last)) if left(first) == left(last) => {
            Some(format!("SIGKILL in {}", left(first)))
        }
        Some((first, last)) => Some(format!("SIGKILL in {} to {}", left(first), left(last))),
        None => {
            let all_killed = agents.iter().all(|agent| agent.phase == "Stopping");
            all_killed.then(|| "SIGKILL was sent".to_owned())
        }
    }
}

impl fmt::Display for Holdup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waiting for {}", self.who)?;
        self.until.iter().try_for_each(|until| write!(f, ": {until}"))
    }
}

/// When it is said: a while after it began, then less and less often.
#[derive(Debug)]
pub(super) struct Pace {
    next: Instant,
    rest: Duration,
}

impl Pace {
    /// That of something that begins now.
    pub(super) fn new() -> Self {
        Self { next: Instant::now() + FIRST, rest: FIRST }
    }

    /// Whether it is time to say it, which is then taken as done.
    pub(super) fn is_due(&mut self) -> bool {
        let is_due = Instant::now() >= self.next;
        if is_due {
            self.rest = (self.rest * 2).min(LONGEST);
            self.next += self.rest;
        }
        is_due
    }
}

/// Tells the log, from when the runner was told to end. Never ends.
pub(super) async fn run(instance: &Instance, mut intent: watch::Receiver<Intent>) {
    let ends = |intent: &Intent| matches!(intent, Intent::Stop | Intent::Kill);
    // It fails once nobody can tell the runner to end any more.
    if intent.wait_for(ends).await.is_err() {
        return pending().await;
    }
    let mut pace = Pace::new();
    loop {
        sleep_until(pace.next).await;
        let Some(look) = control::look(instance).await else { return pending().await };
        if pace.is_due()
            && let Some(holdup) = Holdup::of(View::of(&look).agents(), now_ms())
        {
            let Holdup { count, who, until } = holdup.but_for(instance.trouble());
            info!(event = "runner.waiting", count, reason = until, "waiting for {who}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopping(name: &str, killed_at_ms: i64) -> pb::Agent {
        pb::Agent {
            name: name.to_owned(),
            phase: "Stopping".to_owned(),
            next: if killed_at_ms == 0 { "" } else { "SIGKILL" }.to_owned(),
            next_at_ms: killed_at_ms,
            ..pb::Agent::default()
        }
    }

    fn said<const N: usize>(agents: [pb::Agent; N]) -> String {
        Holdup::of(agents, 10_000).map_or_else(String::new, |holdup| holdup.to_string())
    }

    #[test]
    fn some_are_named_with_when_they_are_killed() {
        assert_eq!(said([]), "");
        assert_eq!(said([stopping("a", 13_001)]), "waiting for a: SIGKILL in 4s");
        assert_eq!(said([stopping("a", 13_000)]), "waiting for a: SIGKILL in 3s");
        assert_eq!(said([stopping("a", 9000)]), "waiting for a: SIGKILL in 0s");
        assert_eq!(said([stopping("a\n", 0)]), "waiting for a\\n: SIGKILL was sent");
        assert_eq!(
            said([stopping("a", 14_000), stopping("b", 0), stopping("c", 200_000)]),
            "waiting for a, b, c: SIGKILL in 4s to 3m10s"
        );
        let five = ["a", "b", "c", "d", "e"].map(|name| stopping(name, 12_000));
        assert_eq!(said(five), "waiting for a, b, c and 2 more: SIGKILL in 2s");
    }

    #[test]
    fn of_those_whose_cluster_is_silent_nothing_else_is_said() {
        let holdup = Holdup::of([stopping("a", 13_000)], 10_000).unwrap();
        assert_eq!(holdup.clone().but_for(None), holdup);
        assert_eq!(
            holdup.but_for(Some("connection refused".to_owned())).to_string(),
            "waiting for a: the cluster does not answer (connection refused); told once more, the \
             runner leaves them"
        );
    }

    #[test]
    fn who_has_no_process_holds_nothing_up() {
        let is = |phase: &str| pb::Agent { phase: phase.to_owned(), ..stopping("a", 0) };
        assert_eq!(said(["Failed", "Pending", "Suspended", "BackingOff"].map(is)), "");
        // It was not told to end yet.
        assert_eq!(said([is("Running")]), "waiting for a");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_said_less_and_less_often() {
        let (begun, mut pace, mut said) = (Instant::now(), Pace::new(), Vec::new());
        assert!(!pace.is_due());
        while said.len() < 9 {
            sleep_until(pace.next).await;
            assert!(pace.is_due() && !pace.is_due());
            said.push(begun.elapsed().as_secs());
        }
        assert_eq!(said, [1, 3, 7, 15, 31, 63, 123, 183, 243]);
    }
}
