//! What agents wrote that are pods. Of others it is in their files.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Status;

use super::Instance;
use super::feed::look;
use crate::executor::kubernetes::{Unread, Wanted, Words};
use crate::plan::{EntityId, Phase, RunId};
use crate::proto::control as pb;

/// The most bytes in one part.
const PART: usize = 64 << 10;

/// How many lines the end of a log has.
const LAST_LINES: i64 = 100;

type Parts = mpsc::Sender<Result<pb::LogPart, Status>>;

/// How long the end of a log may take.
const SOON: Duration = Duration::from_secs(2);

/// The end of what the agent of this incarnation of an entity wrote; nothing if that cannot be told
/// soon.
pub(super) async fn tail(words: &Words, id: &EntityId, incarnation: i64) -> Vec<u8> {
    let wanted = Wanted { follow: false, tail: Some(LAST_LINES), since: None };
    let read = async {
        let mut read = pin!(words.read(id, incarnation, wanted).await.ok()?);
        let mut bytes = Vec::new();
        read.read_to_end(&mut bytes).await.ok()?;
        Some(bytes)
    };
    timeout(SOON, read).await.ok().flatten().unwrap_or_default()
}

/// Sends what the agent of an entity wrote; where more is waited for, through its restarts.
pub(super) async fn send(
    (instance, words): (Arc<Instance>, Words),
    (id, mut wanted): (EntityId, Wanted),
    parts: Parts,
) {
    let mut changes = instance.changes.clone();
    let mut shown = None;
    loop {
        changes.mark_unchanged();
        let Some((incarnation, now)) = agent(&instance, &id).await else { return };
        let is_new = match now {
            // The pod of its name may be the one before.
            Now::Begins => !wanted.follow,
            Now::Runs(_) => shown != Some(now),
            Now::Over => shown.is_none(),
        };
        if is_new {
            match words.read(&id, incarnation, wanted).await {
                Ok(read) => {
                    if pass_on(read, &parts).await.is_err() {
                        return;
                    }
                    shown = Some(now);
                    // Of the next one all is new.
                    (wanted.tail, wanted.since) = (None, None);
                }
                // It is about to begin.
                Err(Unread::Nothing(_)) if wanted.follow => {}
                Err(why) => {
                    // Who asked may have gone away.
                    let _ = parts.send(Err(Status::unavailable(why.to_string()))).await;
                    return;
                }
            }
        }
        if !wanted.follow {
            return;
        }
        tokio::select! {
            more = changes.changed() => if more.is_err() { return },
            () = parts.closed() => return,
        }
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

/// An error says that nobody reads any more.
async fn pass_on(read: impl futures_util::AsyncBufRead, parts: &Parts) -> Result<(), ()> {
    let mut read = pin!(read);
    let mut buffer = vec![0; PART];
    loop {
        let got = tokio::select! {
            got = read.read(&mut buffer) => got,
            () = parts.closed() => return Err(()),
        };
        // It has ended, or its node has gone away: what follows is told by what becomes of the agent.
        let Ok(count @ 1..) = got else { return Ok(()) };
        let bytes = buffer.get(..count).unwrap_or_default().to_vec();
        parts.send(Ok(pb::LogPart { bytes })).await.map_err(|_| ())?;
    }
}
