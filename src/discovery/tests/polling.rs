use std::time::Duration;

use super::script::World;
use super::{LONG, NEVER, Subject, ids, reaches, settings};
use crate::discovery::Settings;
use crate::plan::Heard;

#[tokio::test]
async fn the_first_answer_comes_at_once() {
    let world = World::start(&["b", "a"]);
    let mut subject = Subject::start(settings(&world.server()));
    let before = subject.clock.now();
    let view = subject.until_answers(1).await;
    assert_eq!(ids(&view), ["b", "a"]);
    assert_eq!(view.server, world.server());
    assert!(view.reachable);
    assert_eq!(view.disrupted_at, None);
    let latest = view.latest.as_ref().unwrap();
    let asked = view.latest_asked.unwrap();
    assert_eq!(latest.heard, Heard::Asked(asked));
    assert!(latest.at >= asked && latest.at >= before);
    assert_eq!(world.script.timeout.lock().unwrap().as_deref(), Some("10000000u"));
}

#[tokio::test]
async fn asks_again_an_interval_after_each_answer() {
    let world = World::start(&["a"]);
    let interval = Duration::from_millis(200);
    let mut subject = Subject::start(Settings { interval, ..settings(&world.server()) });
    let mut before = subject.until_answers(1).await;
    for answers in 2..5 {
        let view = subject.until_answers(answers).await;
        assert_eq!(view.answers, answers);
        let pause = view.latest_asked.unwrap() - before.latest.as_ref().unwrap().at;
        assert!(pause >= interval, "asked after only {pause:?}");
        before = view;
    }
}

#[tokio::test]
async fn asks_during_a_call_are_one_call_after_it() {
    let world = World::start(&["a"]);
    world.script.hold();
    let mut subject = Subject::start(settings(&world.server()));
    reaches(&world.script.lists, 1).await;
    let asked = subject.clock.now();
    for _ in 0..5 {
        subject.discovery.ask();
        tokio::task::yield_now().await;
    }
    world.script.release(1);
    let first = subject.until_answers(1).await;
    assert!(first.latest_asked.unwrap() <= asked);
    reaches(&world.script.lists, 2).await;
    world.script.release(100);
    let second = subject.until_answers(2).await;
    assert!(second.latest_asked.unwrap() >= asked);
    subject.discovery.ask();
    subject.until_answers(3).await;
    assert_eq!(*world.script.lists.borrow(), 3, "no call that nobody asked for");
}

#[tokio::test]
async fn an_ask_while_idle_is_put_at_once() {
    let world = World::start(&["a"]);
    let mut subject = Subject::start(settings(&world.server()));
    for answers in 1..20 {
        subject.until_answers(answers).await;
        let asked = subject.clock.now();
        subject.discovery.ask();
        let view = subject.until_answers(answers + 1).await;
        assert!(view.latest_asked.unwrap() >= asked);
    }
}

#[tokio::test]
async fn an_interval_or_timeout_changes_without_a_new_connection() {
    let world = World::start(&["a"]);
    let mut subject = Subject::start(settings(&world.server()));
    subject.until_answers(1).await;
    reaches(&world.script.watches, 1).await;
    subject.settings.send_modify(|settings| {
        settings.interval = Duration::from_millis(100);
        settings.timeout = Duration::from_secs(7);
    });
    let view = subject.until_answers(3).await;
    assert_eq!(view.disrupted_at, None);
    assert_eq!(world.script.timeout.lock().unwrap().as_deref(), Some("7000000u"));
    subject.settings.send_modify(|settings| settings.interval = NEVER);
    drop(subject.settings);
    subject.discovery.ask();
    let asked = subject.clock.now();
    let found = tokio::time::timeout(
        LONG,
        subject.view.wait_for(|view| view.latest_asked.is_some_and(|time| time >= asked)),
    );
    assert_eq!(found.await.unwrap().unwrap().disrupted_at, None);
    assert_eq!(*world.script.watches.borrow(), 1, "one attempt a connection, so one connection");
}

#[tokio::test]
async fn another_server_is_another_world() {
    let (one, other) = (World::start(&["a"]), World::start(&["b"]));
    other.script.hold();
    let mut subject = Subject::start(settings(&one.server()));
    subject.until_answers(1).await;
    subject.settings.send_replace(settings(&other.server()));
    let view = subject.until(|view| view.server == other.server()).await;
    let fresh = crate::discovery::View { server: other.server(), ..Default::default() };
    assert_eq!(*view, fresh, "nothing is known of it");
    other.script.release(1);
    let view = subject.until_answers(1).await;
    assert_eq!(ids(&view), ["b"]);
    assert_eq!(view.disrupted_at, None);
    assert_eq!(*one.script.lists.borrow(), 1);
}

#[tokio::test]
async fn ends_when_it_is_dropped() {
    let world = World::start(&["a"]);
    let mut subject = Subject::start(settings(&world.server()));
    subject.until_answers(1).await;
    drop(subject.discovery);
    let ended = async { while subject.view.changed().await.is_ok() {} };
    tokio::time::timeout(LONG, ended).await.expect("nobody publishes any more");
}
