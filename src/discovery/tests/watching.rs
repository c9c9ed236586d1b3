use std::time::Duration;

use tonic::Status;

use super::script::{World, entity};
use super::{LONG, NEVER, Subject, ids, reaches, settings};
use crate::discovery::{Settings, View};
use crate::plan::Heard;
use crate::proto::controllable_entities_event::Event;

/// A client that watches this world.
async fn watching(world: &World) -> Subject {
    world.script.offer_watch();
    let mut subject = Subject::start(settings(&world.server()));
    subject.until_answers(1).await;
    reaches(&world.script.watches, 1).await;
    subject
}

fn told(view: &View) -> bool {
    view.latest.as_ref().is_some_and(|answer| answer.heard == Heard::Told)
}

#[tokio::test]
async fn a_world_without_a_watch_is_polled_and_asked_for_it_once_a_connection() {
    let mut world = World::start(&["a"]);
    let interval = Duration::from_millis(100);
    let mut subject = Subject::start(Settings { interval, ..settings(&world.server()) });
    subject.until_answers(5).await;
    assert_eq!(*world.script.watches.borrow(), 1);
    world.kill().await;
    world.revive();
    subject.until(|view| view.reachable && view.disrupted_at.is_some()).await;
    let answers = subject.view.borrow().answers;
    subject.until_answers(answers + 5).await;
    assert_eq!(*world.script.watches.borrow(), 2);
}

#[tokio::test]
async fn changes_are_known_when_they_happen() {
    let world = World::start(&["a"]);
    let mut subject = watching(&world).await;
    let asked = subject.view.borrow().latest_asked;

    let before = subject.clock.now();
    world.script.upsert("b");
    let view = subject.until(|view| ids(view) == ["a", "b"]).await;
    assert_eq!(view.latest.as_ref().unwrap().heard, Heard::Told);
    let after = view.latest.as_ref().unwrap().at - before;
    assert!(after < Duration::from_secs(1), "only after {after:?}");
    assert_eq!(view.latest_asked, asked);
    assert_eq!(view.answers, 2);
    assert!(view.reachable);

    world.script.remove("a");
    let later = subject.until(|view| ids(view) == ["b"]).await;
    assert_eq!(later.answers, 3);
    assert_eq!(ids(&view), ["a", "b"], "a view that somebody holds does not change");
    assert_eq!(*world.script.lists.borrow(), 1, "nothing of this was asked");
}

#[tokio::test]
async fn a_snapshot_replaces_all_and_a_good_answer_too() {
    let world = World::start(&["a"]);
    let mut subject = watching(&world).await;
    world.script.upsert("b");
    world.script.snapshot(&["c", "", "c"]);
    let view = subject.until(|view| ids(view) == ["c"]).await;
    assert!(told(&view));
    assert_eq!(view.latest.as_ref().unwrap().refused.count, 2);

    subject.discovery.ask();
    let view = subject.until(|view| !told(view)).await;
    assert_eq!(ids(&view), ["a"]);
    assert_eq!(view.latest.as_ref().unwrap().refused.count, 0);
}

#[tokio::test]
async fn what_was_told_during_a_call_is_asked_about() {
    let world = World::start(&["a"]);
    let mut subject = watching(&world).await;
    world.script.hold();
    subject.discovery.ask();
    reaches(&world.script.lists, 2).await;
    world.script.upsert("b");
    subject.until(|view| ids(view) == ["a", "b"]).await;
    world.script.release(1);
    subject.until(|view| ids(view) == ["a"]).await;
    world.script.say(&["a", "b"]);
    world.script.release(100);
    subject.until(|view| ids(view) == ["a", "b"] && !told(view)).await;
    assert_eq!(*world.script.lists.borrow(), 3);
}

#[tokio::test]
async fn a_watch_that_ends_is_a_question_and_another_watch() {
    let world = World::start(&["a"]);
    let mut subject = watching(&world).await;
    for (count, status) in [(2, None), (3, Some(Status::unavailable("tired")))] {
        world.script.end_watches(status.as_ref());
        subject.until_answers(count).await;
        reaches(&world.script.watches, count).await;
    }
    world.script.upsert("b");
    subject.until(told).await;
    assert_eq!(subject.view.borrow().disrupted_at, None, "the world was there all the time");
}

#[tokio::test]
async fn a_watch_dies_with_its_world_and_returns_with_it() {
    let mut world = World::start(&["a"]);
    let mut subject = watching(&world).await;
    world.kill().await;
    subject.until(|view| !view.reachable).await;
    world.revive();
    subject.until(|view| view.reachable).await;
    reaches(&world.script.watches, 2).await;
    world.script.upsert("b");
    subject.until(|view| told(view) && ids(view) == ["a", "b"]).await;
}

#[tokio::test]
async fn the_poll_goes_on_beside_the_watch() {
    let world = World::start(&["a"]);
    let mut subject = watching(&world).await;
    world.script.say(&["b"]);
    subject.settings.send_modify(|settings| settings.interval = Duration::from_millis(100));
    subject.until(|view| ids(view) == ["b"]).await;
    reaches(&world.script.lists, 5).await;
    subject.settings.send_modify(|settings| settings.interval = NEVER);
}

#[tokio::test]
async fn a_world_that_tells_of_changes_is_left_alone_while_nothing_hangs_on_an_answer() {
    let world = World::start(&["a"]);
    let mut subject = watching(&world).await;
    subject.discovery.rest(true);
    subject.settings.send_modify(|settings| settings.interval = Duration::from_millis(100));
    world.script.upsert("b");
    subject.until(|view| told(view) && ids(view) == ["a", "b"]).await;
    let lists = *world.script.lists.borrow();
    // Nothing tells that nothing comes.
    tokio::time::sleep(Duration::from_secs(1)).await;
    // One may have been under way.
    assert!(*world.script.lists.borrow() <= lists + 1);
    subject.discovery.rest(false);
    reaches(&world.script.lists, lists + 5).await;
    subject.discovery.rest(true);
    subject.discovery.ask();
    subject.settings.send_modify(|settings| settings.interval = NEVER);
}

#[tokio::test]
async fn a_torrent_of_events_is_followed_to_its_end() {
    let world = World::start(&["a"]);
    let mut subject = watching(&world).await;
    for n in 0..20_000 {
        world.script.upsert(&format!("e{}", n % 500));
    }
    world.script.upsert("last");
    let view = subject.until(|view| ids(view).last().is_some_and(|id| id == "last")).await;
    assert_eq!(view.latest.as_ref().unwrap().entities.len(), 502);
}

#[tokio::test]
async fn a_crowd_is_followed_as_well() {
    let world = World::start(&[]);
    let crowd: Vec<_> = (0..20_000).map(|n| entity(&format!("e{n}"))).collect();
    *world.script.answer.lock().unwrap() = Ok(crowd);
    let mut subject = watching(&world).await;
    let view = subject.view.borrow().clone();
    assert_eq!(view.latest.as_ref().unwrap().entities.len(), 20_000);
    world.script.remove("e7");
    world.script.tell(Event::Upserted(entity("more")));
    let more =
        |view: &View| view.latest.as_ref().is_some_and(|all| all.entities.get("more").is_some());
    let found = tokio::time::timeout(LONG, subject.view.wait_for(|view| more(view))).await;
    let latest = found.unwrap().unwrap().latest.clone().unwrap();
    assert_eq!(latest.entities.len(), 20_000);
    assert_eq!(latest.entities.get("e7"), None);
}
