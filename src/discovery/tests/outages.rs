use std::time::Duration;

use tokio::net::TcpListener;
use tonic::Status;

use super::script::{RECOVERY, World};
use super::{Subject, ids, reaches, settings};
use crate::discovery::Settings;

#[tokio::test]
async fn a_failed_call_changes_nothing_that_is_known() {
    let world = World::start(&["a"]);
    let mut subject = Subject::start(settings(&world.server()));
    let before = subject.until_answers(1).await;
    world.script.fail(Status::internal("broken"));
    let asked = subject.clock.now();
    subject.discovery.ask();
    let view = subject.until(|view| !view.reachable).await;
    assert!(view.disrupted_at.unwrap() >= asked);
    assert_eq!(view.latest, before.latest);
    assert_eq!(view.latest_asked, before.latest_asked);
    assert_eq!(view.answers, 1);

    world.script.say(&["a", "b"]);
    let view = subject.until(|view| view.reachable).await;
    assert_eq!(ids(&view), ["a", "b"]);
    assert!(view.disrupted_at.unwrap() >= asked, "that is not forgotten");
    assert!(view.latest_asked > view.disrupted_at);
}

#[tokio::test]
async fn a_world_that_comes_back_is_found_soon() {
    let mut world = World::start(&["a"]);
    let mut subject = Subject::start(settings(&world.server()));
    subject.until_answers(1).await;
    world.kill().await;
    subject.discovery.ask();
    let gone = subject.until(|view| !view.reachable).await.disrupted_at.unwrap();
    // Long enough for the waits between attempts to be as long as they get.
    let late = gone + Duration::from_millis(2500);
    subject.until(|view| view.disrupted_at.is_some_and(|time| time > late)).await;
    world.script.say(&["b"]);
    world.revive();
    let back = subject.clock.now();
    let view = subject.until(|view| view.reachable).await;
    let after = view.latest.as_ref().unwrap().at - back;
    assert!(after < RECOVERY, "only after {after:?}");
    assert_eq!(ids(&view), ["b"]);
}

#[tokio::test]
async fn asks_hurry_the_next_attempt_in_reason() {
    let mut world = World::start(&["a"]);
    let mut subject = Subject::start(settings(&world.server()));
    subject.until_answers(1).await;
    world.kill().await;
    subject.discovery.ask();
    subject.until(|view| !view.reachable).await;
    let mut failures = Vec::new();
    while failures.len() < 20 {
        subject.discovery.ask();
        subject.view.changed().await.unwrap();
        failures.push(subject.view.borrow_and_update().disrupted_at.unwrap());
    }
    let took = failures[19] - failures[0];
    assert!(took > Duration::from_millis(1500), "20 attempts in only {took:?}");
    assert!(took < Duration::from_secs(12), "20 attempts, for all the asking, in {took:?}");
}

#[tokio::test]
async fn a_world_that_dies_and_returns_between_two_questions_is_noticed() {
    let mut world = World::start(&["a"]);
    let mut subject = Subject::start(settings(&world.server()));
    subject.until_answers(1).await;
    // With the watch refused and this answered, no call is under way.
    reaches(&world.script.watches, 1).await;
    subject.discovery.ask();
    subject.until_answers(2).await;
    let before = subject.clock.now();
    world.kill().await;
    world.revive();
    // So that the client's connection has seen its end, and no call fails because of it.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    subject.discovery.ask();
    subject.view.changed().await.unwrap();
    let view = subject.view.borrow().clone();
    assert!(view.reachable && view.answers == 3, "it was never seen to be away: {view:?}");
    assert!(view.disrupted_at.unwrap() >= before);
    assert!(view.latest_asked >= view.disrupted_at, "it was there after that");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_no_answer() {
    let world = World::start(&["a"]);
    world.script.hold();
    let timeout = Duration::from_millis(300);
    let mut subject = Subject::start(Settings { timeout, ..settings(&world.server()) });
    let begun = subject.clock.now();
    let view = subject.until(|view| view.disrupted_at.is_some()).await;
    assert!(view.disrupted_at.unwrap() - begun >= timeout);
    assert!(!view.reachable);
    assert_eq!(view.latest, None);
    reaches(&world.script.lists, 3).await;
    world.script.release(1_000);
    let view = subject.until(|view| view.reachable).await;
    assert_eq!(ids(&view), ["a"]);
}

#[tokio::test]
async fn a_server_that_accepts_and_is_silent_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap().to_string();
    let timeout = Duration::from_millis(200);
    let mut subject = Subject::start(Settings { timeout, ..settings(&server) });
    subject.until(|view| view.disrupted_at.is_some()).await;
    // Each deadline gives up its connection: the next attempt comes on another one.
    let (first, _) = listener.accept().await.unwrap();
    let (second, _) = listener.accept().await.unwrap();
    assert_ne!(first.peer_addr().unwrap(), second.peer_addr().unwrap());
}

#[tokio::test]
async fn an_address_that_is_none_is_a_world_that_is_away() {
    for server in ["no port", "", "127.0.0.1:99999", "no-such-host.invalid:1"] {
        let mut subject = Subject::start(settings(server));
        let view = subject.until(|view| view.disrupted_at.is_some()).await;
        assert!(!view.reachable);
        assert_eq!(view.latest, None);

        let world = World::start(&["a"]);
        subject.settings.send_replace(settings(&world.server()));
        assert_eq!(ids(&*subject.until_answers(1).await), ["a"]);
    }
}
