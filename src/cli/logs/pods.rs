//! What agents wrote that are pods: the runner reads it from the cluster.

use std::io::{self, Write as _};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Status;

use super::Args;
use crate::cli::{Ending, say};
use crate::control::client::Client;
use crate::plan::EntityId;
use crate::proto::control as pb;

/// How many parts may wait to be printed.
const AHEAD: usize = 64;

/// What one of several agents wrote, or why that cannot be told.
type Part = (usize, Result<Vec<u8>, Status>);

/// Shows what they wrote, and goes on where that is asked for.
pub(super) async fn show(args: &Args, client: &Client, names: &[String]) -> io::Result<Ending> {
    if args.previous {
        say("error: the log of a pod is gone with it, and the run before has no pod any more");
        say("  = help: collect the logs of the cluster, or look at `runner why NAME`");
        return Ok(Ending::Failed);
    }
    let ids: Vec<_> = names.iter().filter_map(|name| EntityId::new(name).ok()).collect();
    let mut sources = super::sources(args, &ids, |_| ());
    let (parts, mut told) = mpsc::channel::<Part>(AHEAD);
    let mut reading = JoinSet::new();
    for (number, id) in ids.iter().enumerate() {
        let request = pb::ReadLogRequest {
            name: id.to_string(),
            follow: args.follow,
            tail: args.tail.map(|lines| u32::try_from(lines).unwrap_or(u32::MAX)),
            since_ms: args.since.map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        };
        reading.spawn(read(client.clone(), request, (number, parts.clone())));
    }
    drop(parts);
    let mut out = io::stdout().lock();
    let (mut any, mut failed) = (false, false);
    while let Some((number, part)) = told.recv().await {
        match (part, sources.get_mut(number)) {
            (Ok(bytes), Some(source)) => {
                any |= !bytes.is_empty();
                source.print(&mut out, &bytes, bytes.is_empty())?;
                if told.is_empty() {
                    out.flush()?;
                }
            }
            (Err(status), _) => {
                failed = true;
                let name = names.get(number).map_or("", String::as_str);
                say(format!("error: {}: {}", crate::cli::output::escaped(name), status.message()));
            }
            (Ok(_), None) => {}
        }
    }
    out.flush()?;
    if !any && !failed {
        say("no logs");
    }
    Ok(if any && !failed { Ending::Done } else { Ending::Failed })
}

/// Hands on what is read; nothing more, once that is all.
async fn read(
    mut client: Client,
    request: pb::ReadLogRequest,
    (number, parts): (usize, mpsc::Sender<Part>),
) {
    let read = async {
        let mut log = client.read_log(request).await?.into_inner();
        while let Some(part) = log.message().await? {
            if parts.send((number, Ok(part.bytes))).await.is_err() {
                break;
            }
        }
        Ok(Vec::new())
    };
    let last = read.await;
    // Who printed it may have ended.
    let _ = parts.send((number, last)).await;
}
