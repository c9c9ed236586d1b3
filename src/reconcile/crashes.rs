//! Tells of many agents that crash alike: once, with what they wrote last, in place of a line for
//! each crash and each restart.

use futures_util::future::join_all;
use tracing::{info, warn};

use super::last_words::{Logs, last_words};
use crate::executor::Executor;
use crate::plan::{
    Agent, Course, EntityId, Exit, Outcome, Start, StartReason, Storm, Storms, Time, Verb,
};

/// How many agents' logs are looked at.
const WITNESSES: usize = 3;

/// The crash storms, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Crashes {
    storms: Storms,
}

impl Crashes {
    /// Takes in what is to be done about an agent, and tells if that makes a storm.
    pub(super) fn take_in<E: Executor>(
        &mut self,
        id: &EntityId,
        (agent, verb): (&Agent, &Verb),
        logs: &Logs<'_, E>,
        now: Time,
    ) {
        let (ended, failed) = match verb {
            Verb::BackOff { ended, .. } => (ended, false),
            Verb::Fail { ended, .. } => (ended, true),
            Verb::Stop { .. }
            | Verb::Kill { .. }
            | Verb::Forget { .. }
            | Verb::AwaitWorld { .. }
            | Verb::Complete { .. }
            | Verb::Start(_) => return,
        };
        match self.storms.crashed(id, (&agent.template, &ended.how), failed, now) {
            Some((Course::Begins, storm)) => begins(storm, logs),
            Some((Course::Lasts, storm)) => lasts(storm),
            None => {}
        }
    }

    /// Tells of the storms that are over.
    pub(super) fn calm_down(&mut self, now: Time) {
        for storm in self.storms.over(now) {
            let Storm { template, how, agents, crashes, failed, .. } = storm;
            let agents = agents.len();
            info!(
                event = "agents.crash_storm_over",
                template, exit = %how, agents, crashes, failed,
                "nobody has crashed so for a while"
            );
        }
    }

    /// When the next storm may be over.
    pub(super) fn over_at(&self) -> Option<Time> {
        self.storms.over_at()
    }

    /// Whether the end of a run is one of many that are told together.
    pub(super) fn cover_exit(&self, agent: &Agent, exit: Exit) -> bool {
        self.cover(agent, &Outcome::Exit(exit))
    }

    /// Whether this end of a run is one of many.
    pub(super) fn cover(&self, agent: &Agent, how: &Outcome) -> bool {
        self.storms.cover(&agent.template, how)
    }

    /// Whether what is told is one of many restarts.
    pub(super) fn cover_restart(&self, agent: &Agent) -> bool {
        agent.attempts > 0 && self.storms.cover_restarts(&agent.template)
    }

    /// Whether a start is one of many restarts.
    pub(super) fn cover_start(&self, start: &Start) -> bool {
        matches!(start.why, StartReason::Restart { .. })
            && self.storms.cover_restarts(&start.template)
    }
}

/// What they wrote is read elsewhere: the loop waits for no disk and no network.
fn begins<E: Executor>(storm: &Storm, logs: &Logs<'_, E>) {
    let (template, exit, agents) = (storm.template.clone(), storm.how.clone(), storm.agents.len());
    let tails = join_all(storm.agents.keys().take(WITNESSES).map(|id| logs.tail(id)));
    tokio::spawn(async move {
        let (last_lines, of) = last_words(&tails.await);
        warn!(
            event = "agents.crash_storm",
            template, count = agents, %exit, last_lines, of,
            "many agents crash alike; their single crashes and restarts are told at debug level only"
        );
    });
}

fn lasts(storm: &Storm) {
    let Storm { template, how, agents, crashes, failed, .. } = storm;
    let agents = agents.len();
    warn!(
        event = "agents.crash_storm_lasts",
        template, exit = %how, agents, crashes, failed,
        "many agents still crash alike"
    );
}
