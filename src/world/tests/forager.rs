//! The forager against a world, from end to end.

use std::io::{self, Write};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{acquire, channel, definition, entity, next, open, soon, watch};
use crate::world::agent::{AgentOptions, Exit, run_until};

/// Hands over each line as it is written.
struct Lines(mpsc::UnboundedSender<String>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes).trim_end().to_owned();
        self.0.send(line).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Forager {
    lines: mpsc::UnboundedReceiver<String>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Exit>,
}

impl Forager {
    fn start(server: String, crash_after: Option<Duration>) -> Self {
        let (sender, lines) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let options = AgentOptions { server, entity: "a".to_owned(), crash_after };
        let ended = tokio::spawn(run_until(options, Lines(sender), async {
            let _dropped = stopped.await;
        }));
        Self { lines, stop, ended }
    }

    async fn line_with(&mut self, part: &str) -> String {
        loop {
            let line = soon(self.lines.recv()).await.expect("the forager goes on");
            if line.contains(part) {
                return line;
            }
        }
    }
}

#[tokio::test]
async fn it_leases_collects_eats_and_gives_the_lease_back() {
    let world = open(vec![entity("a")]).await;
    let mut events = watch(&channel(&world).await).await;
    assert_eq!(next(&mut events).await, "all: a");
    let mut forager = Forager::start(world.address().to_string(), None);
    assert_eq!(next(&mut events).await, "a leased");
    assert_eq!(forager.line_with("leased").await, "leased a");
    let line = forager.line_with(": collected a berry").await;
    assert!(line.starts_with("tick ") && line.contains(" at ("), "{line}");
    forager.line_with(": ate a berry").await;
    forager.stop.send(()).unwrap();
    assert_eq!(soon(forager.ended).await.unwrap(), Exit::Finished);
    assert_eq!(next(&mut events).await, "a free");
}

#[tokio::test]
async fn it_takes_over_the_lease_of_its_former_self() {
    let world = open(vec![entity("a")]).await;
    acquire(&channel(&world).await, "a", "forager-a").await;
    let mut forager = Forager::start(world.address().to_string(), None);
    forager.line_with("tick ").await;
}

#[tokio::test]
async fn a_refused_lease_is_no_failure() {
    let world = open(vec![entity("a")]).await;
    acquire(&channel(&world).await, "a", "somebody").await;
    let mut forager = Forager::start(world.address().to_string(), None);
    forager.line_with(r#"no lease: "a" is leased to "somebody""#).await;
    assert_eq!(soon(forager.ended).await.unwrap(), Exit::Finished);
}

#[tokio::test]
async fn the_end_of_the_world_is_no_failure() {
    let world = open(vec![entity("a")]).await;
    let mut forager = Forager::start(world.address().to_string(), None);
    forager.line_with("tick ").await;
    soon(world.shutdown()).await;
    assert_eq!(soon(forager.ended).await.unwrap(), Exit::Finished);
}

#[tokio::test]
async fn losing_its_entity_is_no_failure() {
    let world = open(vec![entity("a")]).await;
    let mut forager = Forager::start(world.address().to_string(), None);
    forager.line_with("tick ").await;
    world.apply(definition(Vec::new()));
    assert_eq!(soon(forager.ended).await.unwrap(), Exit::Finished);
}

#[tokio::test]
async fn no_world_is_a_failure() {
    let world = open(Vec::new()).await;
    let address = world.address().to_string();
    soon(world.shutdown()).await;
    let mut forager = Forager::start(address.clone(), None);
    forager.line_with(&format!("cannot reach the world at {address}")).await;
    assert_eq!(soon(forager.ended).await.unwrap(), Exit::Failed);
}

#[tokio::test]
async fn it_crashes_when_told_to() {
    let world = open(vec![entity("a")]).await;
    let mut events = watch(&channel(&world).await).await;
    assert_eq!(next(&mut events).await, "all: a");
    let crash_after = Some(Duration::from_millis(200));
    let mut forager = Forager::start(world.address().to_string(), crash_after);
    assert_eq!(next(&mut events).await, "a leased");
    forager.line_with("demo crash").await;
    assert_eq!(soon(forager.ended).await.unwrap(), Exit::Failed);
    let again = acquire(&channel(&world).await, "a", "somebody").await;
    assert!(!again.success, "a crash leaves the lease behind");
}

#[tokio::test]
async fn it_stops_promptly_while_it_waits_for_a_world_that_does_not_answer() {
    // Takes connections (the kernel does), and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let forager = Forager::start(silent.local_addr().unwrap().to_string(), None);
    let (_connection, _) = soon(silent.accept()).await.unwrap();
    forager.stop.send(()).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(3), forager.ended).await;
    assert_eq!(ended.expect("promptly").unwrap(), Exit::Finished);
}
