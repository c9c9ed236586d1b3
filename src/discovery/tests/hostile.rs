use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::script::{World, entity};
use super::{Subject, ids, reaches, settings};
use crate::discovery::link::MAX_MESSAGE_BYTES;
use crate::proto::ControllableEntity;

#[tokio::test]
async fn what_cannot_be_used_is_counted_and_the_rest_is_used() {
    let world = World::start(&["a", "", "b\n", "a", "../c"]);
    let mut subject = Subject::start(settings(&world.server()));
    let view = subject.until_answers(1).await;
    assert_eq!(ids(&view), ["a", "../c"]);
    let refused = &view.latest.as_ref().unwrap().refused;
    assert_eq!(refused.count, 3);
    assert_eq!(refused.examples[1].0, "b\\n");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_a_failure() {
    let world = World::start(&["a"]);
    let mut subject = Subject::start(settings(&world.server()));
    let before = subject.until_answers(1).await;
    let huge = "x".repeat(MAX_MESSAGE_BYTES);
    *world.script.answer.lock().unwrap() =
        Ok(vec![ControllableEntity { entity_type: huge, ..entity("b") }]);
    subject.discovery.ask();
    let view = subject.until(|view| !view.reachable).await;
    assert_eq!(view.latest, before.latest);
    world.script.say(&["b"]);
    assert_eq!(ids(&*subject.until(|view| view.reachable).await), ["b"]);
}

#[tokio::test]
async fn a_large_answer_that_fits_is_used() {
    let world = World::start(&[]);
    let tags: Vec<_> = (0..1000).map(|n| format!("tag {n}")).collect();
    let large: Vec<_> = (0..400)
        .map(|n| ControllableEntity { tags: tags.clone(), ..entity(&n.to_string()) })
        .collect();
    *world.script.answer.lock().unwrap() = Ok(large);
    let mut subject = Subject::start(settings(&world.server()));
    let view = subject.until_answers(1).await;
    let latest = view.latest.as_ref().unwrap();
    assert_eq!(latest.entities.len(), 400);
    assert_eq!(latest.entities.get("399").unwrap().tags.len(), 1000);
}

#[tokio::test]
async fn a_world_that_talks_nonsense_is_away() {
    for nonsense in [&b"HTTP/1.1 200 OK\r\n\r\nhello"[..], &[0xff; 4096], &[0; 64], b""] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap().to_string();
        let talk = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.write_all(nonsense).await;
                let _ = stream.read(&mut [0; 1024]).await;
            }
        });
        let mut subject = Subject::start(settings(&server));
        let first = subject.until(|view| view.disrupted_at.is_some()).await.disrupted_at;
        let view = subject.until(|view| view.disrupted_at > first).await;
        assert!(!view.reachable);
        assert_eq!(view.latest, None);
        talk.abort();
    }
}

#[tokio::test]
async fn a_watch_of_nonsense_is_left_and_the_poll_goes_on() {
    let world = World::start(&["a"]);
    world.script.offer_watch();
    let mut subject = Subject::start(settings(&world.server()));
    subject.until_answers(1).await;
    reaches(&world.script.watches, 1).await;
    world.script.upsert("esc\u{1b}");
    let view = subject.until_answers(2).await;
    assert_eq!(ids(&view), ["a"]);
    assert_eq!(view.latest.as_ref().unwrap().refused.count, 1);
    let huge = ControllableEntity { entity_type: "x".repeat(MAX_MESSAGE_BYTES), ..entity("b") };
    world.script.tell(crate::proto::controllable_entities_event::Event::Upserted(huge));
    let view = subject.until_answers(3).await;
    assert!(view.reachable);
    reaches(&world.script.watches, 2).await;
}

#[tokio::test]
async fn several_messages_or_none_are_no_answer() {
    let frame = |kind: u8, flags: u8, stream: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], content].concat()
    };
    // As HPACK has them: status 200 and the type of the content, then the status of the call.
    let headers = [&b"\x88\x0f\x10\x10"[..], b"application/grpc"].concat();
    let trailers = [&b"\x00\x0bgrpc-status\x01"[..], b"0"].concat();
    let alice = [&b"\0\0\0\0\x09\x0a\x07\x0a\x05"[..], b"alice"].concat();
    for (messages, good) in [(0, false), (1, true), (2, false)] {
        let talk = [
            frame(4, 0, 0, &[]),
            frame(1, 4, 1, &headers),
            frame(0, 0, 1, &alice.repeat(messages)),
            frame(1, 5, 1, &trailers),
        ];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap().to_string();
        let talk = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(&talk[0]).await.unwrap();
                // There is a call once its headers came, after the preface and two frames or three.
                let mut heard = Vec::new();
                while !heard.windows(5).any(|window| window == [1, 4, 0, 0, 0]) {
                    let mut some = [0; 1024];
                    let count = stream.read(&mut some).await.unwrap();
                    assert!(count > 0, "it ended without a call");
                    heard.extend_from_slice(&some[..count]);
                }
                let _ = stream.write_all(&talk[1..].concat()).await;
                let _ = stream.read_to_end(&mut heard).await;
            }
        });
        let mut subject = Subject::start(settings(&server));
        let view = subject.until(|view| view.reachable || view.disrupted_at.is_some()).await;
        assert_eq!(view.reachable, good, "{messages} messages");
        assert_eq!(ids(&view), ["alice"][..usize::from(good)]);
        talk.abort();
    }
}
