//! The log that is on the screen, from its file: it goes on without a runner too. A pod's is read by
//! the runner.

use std::convert::Infallible;
use std::io;
use std::panic::resume_unwind;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, spawn_blocking};

use super::state::Message;
use super::wants::{LogOf, Wants, until};
use crate::cli::logs::{Lines, visible};
use crate::control::client::Client;
use crate::executor::logs::{Follower, Writes};
use crate::plan::EntityId;
use crate::proto::control as pb;

/// How much of what was written before is shown, in bytes.
const BEGINNING: u64 = 256 * 1024;

/// The same in lines, where the cluster counts those.
const BEGINNING_LINES: u32 = 2_000;

/// Columns from one tab stop to the next.
const TAB: usize = 8;

/// Tells what is written to the log that is wanted, until nobody listens.
pub(super) async fn run(
    client: Client,
    mut wants: watch::Receiver<Wants>,
    messages: mpsc::Sender<Message>,
) {
    loop {
        let wanted = until(&mut wants, |wants| wants.log.is_some()).await;
        let Some(of) = wanted.and_then(|wants| wants.log) else { return };
        tokio::select! {
            Err(error) = follow(&client, &of, &messages) => {
                let unreadable = Message::Unreadable(of.clone(), error.to_string());
                if messages.send(unreadable).await.is_err() {
                    return;
                }
            }
            _ = until(&mut wants, |wants| wants.log.as_ref() != Some(&of)) => continue,
        }
        // What cannot be read is not read again until it is asked for again.
        until(&mut wants, |wants| wants.log.as_ref() != Some(&of)).await;
    }
}

async fn follow(
    client: &Client,
    of: &LogOf,
    messages: &mpsc::Sender<Message>,
) -> io::Result<Infallible> {
    let mut shown = Shown { of, lines: Lines::default(), messages };
    if of.dir.as_os_str().is_empty() {
        follow_pod(client.clone(), &mut shown).await
    } else {
        follow_file(&mut shown).await
    }
}

/// What the screen is told of a log.
struct Shown<'s> {
    of: &'s LogOf,
    lines: Lines,
    messages: &'s mpsc::Sender<Message>,
}

impl Shown<'_> {
    async fn add(&mut self, new: &[u8]) -> io::Result<()> {
        let finished = self.lines.finished(new);
        let finished = finished.split_inclusive(|byte| *byte == b'\n');
        let shown: Vec<_> = finished.map(|line| without_tabs(&visible(line))).collect();
        if shown.is_empty() {
            return Ok(());
        }
        self.messages.send(Message::Wrote(self.of.clone(), shown)).await.map_err(io::Error::other)
    }
}

/// The runner reads it from the cluster.
async fn follow_pod(mut client: Client, shown: &mut Shown<'_>) -> io::Result<Infallible> {
    let request = pb::ReadLogRequest {
        name: shown.of.name.clone(),
        follow: true,
        tail: Some(BEGINNING_LINES),
        since_ms: None,
    };
    let said = |status: tonic::Status| io::Error::other(status.message().to_owned());
    let mut parts = client.read_log(request).await.map_err(said)?.into_inner();
    while let Some(part) = parts.message().await.map_err(said)? {
        shown.add(&part.bytes).await?;
    }
    Err(io::Error::other("the runner has ended"))
}

async fn follow_file(shown: &mut Shown<'_>) -> io::Result<Infallible> {
    let of = shown.of;
    let id = EntityId::new(&of.name).map_err(|why| io::Error::other(why.to_string()))?;
    // Before the log is read: what is written after that is told.
    let mut writes = Writes::of(&of.dir, [&id])?;
    let mut follower = Follower::of_end(&of.dir, &id, BEGINNING);
    loop {
        let read = spawn_blocking(move || {
            let new = follower.read();
            (follower, new)
        });
        let (same, new) = match read.await.map_err(JoinError::try_into_panic) {
            Ok(read) => read,
            // The terminal has been given back: there is nothing to go on with.
            Err(Ok(panic)) => resume_unwind(panic),
            Err(Err(cancelled)) => return Err(io::Error::other(cancelled)),
        };
        follower = same;
        shown.add(&new?).await?;
        writes.written().await?;
    }
}

/// Spaces to the next stops, where a screen of cells has no tabs.
fn without_tabs(line: &str) -> String {
    use unicode_width::UnicodeWidthStr as _;
    let mut shown = String::with_capacity(line.len());
    for (place, part) in line.split('\t').enumerate() {
        if place > 0 {
            let gap = TAB - shown.width() % TAB;
            shown.extend(std::iter::repeat_n(' ', gap));
        }
        shown.push_str(part);
    }
    shown
}

#[cfg(test)]
mod tests {
    #[test]
    fn tabs_go_to_the_next_stop() {
        assert_eq!(super::without_tabs("a\tb\t\tc"), "a       b               c");
        assert_eq!(super::without_tabs("狼\tb"), "狼      b");
        assert_eq!(super::without_tabs("12345678\t"), "12345678        ");
    }
}
