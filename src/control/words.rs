//! What agents wrote that are pods. Of others it is in their files.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tonic::Status;
use tracing::debug;

use super::Instance;
use super::feed::look;
use crate::executor::kubernetes::{Inquiry, Log, Unread, Wanted};
use crate::plan::{EntityId, Phase, RunId};
use crate::proto::control as pb;

type Parts = mpsc::Sender<Result<pb::LogPart, Status>>;

/// How long it takes until a log is looked at again that was cut off.
const AGAIN: Duration = Duration::from_secs(2);

/// The log that is shown.
struct Shown {
    /// Of which run; none if that had ended before anybody asked.
    run: Option<RunId>,
    log: Log,
    /// Whether nothing follows.
    whole: bool,
}

/// Sends what the agent of an entity wrote; where more is waited for, through its restarts.
pub(super) async fn send(
    (instance, cluster): (Arc<Instance>, Inquiry),
    (id, mut wanted): (EntityId, Wanted),
    parts: Parts,
) {
    let mut changes = instance.changes.clone();
    let mut shown: Option<Shown> = None;
    loop {
        changes.mark_unchanged();
        let Some((incarnation, now)) = agent(&instance, &id).await else { return };
        let run = match now {
            Now::Runs(run) => Some(run),
            Now::Begins | Now::Over => None,
        };
        let is_another =
            run.is_some_and(|run| shown.as_ref().is_some_and(|it| it.run != Some(run)));
        if is_another {
            // Of the next one all is new.
            (wanted.tail, wanted.since) = (None, None);
        }
        let mut was_cut = false;
        // While it begins, the pod of its name may be the one before.
        if now != Now::Begins || !wanted.follow {
            let log = || cluster.log(&id, incarnation, wanted);
            let it = match &mut shown {
                Some(it) if !is_another => it,
                _ => shown.insert(Shown { run, log: log(), whole: false }),
            };
            if !it.whole {
                match pass_on(&mut it.log, &parts).await {
                    Ok(()) => it.whole = true,
                    Err(Unsent::Unread(why)) if wanted.follow && it.may_go_on(&why) => {
                        debug!(entity = %id, %why, "a log was cut off");
                        was_cut = now != Now::Over;
                        it.whole = now == Now::Over;
                    }
                    Err(Unsent::Unread(why)) => {
                        // Who asked may have gone away.
                        let _ = parts.send(Err(Status::unavailable(why.to_string()))).await;
                        return;
                    }
                    Err(Unsent::Unwanted) => return,
                }
            }
        }
        if !wanted.follow {
            return;
        }
        tokio::select! {
            () = sleep(AGAIN), if was_cut => {}
            more = changes.changed(), if !was_cut => if more.is_err() { return },
            () = parts.closed() => return,
        }
    }
}

impl Shown {
    /// Whether more of it may be had later: it is about to begin, or its node or the API server is
    /// away for a while.
    fn may_go_on(&self, why: &Unread) -> bool {
        matches!(why, Unread::Nothing(_)) || self.log.has_begun()
    }
}

/// How an agent fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Now {
    Begins,
    Runs(RunId),
    Over,
}

/// The latest incarnation that an agent is there for, and how it fares.
async fn agent(instance: &Instance, id: &EntityId) -> Option<(i64, Now)> {
    let look = look(instance).await?;
    let Some(agent) = look.observed.agents.get(id) else { return Some((0, Now::Over)) };
    let now = match agent.run() {
        Some(_) if matches!(agent.phase, Phase::Starting { .. }) => Now::Begins,
        Some(run) => Now::Runs(run),
        None => Now::Over,
    };
    Some((agent.incarnation, now))
}

/// Why not all of a log was sent.
enum Unsent {
    Unread(Unread),
    /// Nobody reads any more.
    Unwanted,
}

async fn pass_on(log: &mut Log, parts: &Parts) -> Result<(), Unsent> {
    loop {
        let more = tokio::select! {
            more = log.more() => more.map_err(Unsent::Unread)?,
            () = parts.closed() => return Err(Unsent::Unwanted),
        };
        let Some(bytes) = more else { return Ok(()) };
        parts.send(Ok(pb::LogPart { bytes })).await.map_err(|_| Unsent::Unwanted)?;
    }
}
