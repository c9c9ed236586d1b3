use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::{BURST, Frames, PER_SECOND, Ration, Rationed};
use crate::clock::Clock;
use crate::plan::Time;

fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, 0, 0, 0, 0, 1], content].concat()
}

#[test]
fn frames_without_content_are_counted_however_they_are_cut() {
    let data = frame(0, &[1; 300]);
    let raw =
        [frame(4, &[]), data.clone(), frame(1, &vec![0; 70_000]), frame(0, &[]), data].concat();
    for size in [1, 2, 8, 9, 10, 4096, raw.len()] {
        let mut frames = Frames::default();
        let idle: u64 = raw.chunks(size).map(|piece| frames.pass(piece)).sum();
        assert_eq!(idle, 3, "SETTINGS, HEADERS and an empty DATA, in pieces of {size}");
    }
}

#[test]
fn a_ration_is_used_up_and_earned_again() {
    let mut ration = Ration::new(Time::default());
    assert!(ration.take(BURST, Time::default()));
    assert!(!ration.take(1, Time::default()));
    let later = Time::default() + Duration::from_secs(1);
    assert!(ration.take(PER_SECOND, later));
    assert!(!ration.take(1, later));
    assert!(!ration.take(BURST + 1, later + Duration::from_secs(3600)), "no more is saved up");
    // In steps too small for one each, nothing is lost.
    let mut ration = Ration::new(Time::default());
    assert!(ration.take(BURST, Time::default()));
    for step in 1..=1000 {
        ration.take(0, Time::from_millis(step));
    }
    assert!(ration.take(PER_SECOND, Time::from_millis(1000)));
}

#[tokio::test]
async fn a_connection_that_floods_is_given_up_and_one_with_content_is_not() {
    let many = usize::try_from(BURST).unwrap() + 1;
    let content = frame(0, b"content").repeat(many);
    let mut read = Vec::new();
    Rationed::new(&content[..], Clock::new()).read_to_end(&mut read).await.unwrap();
    assert_eq!(read, content);
    for kind in [1, 3, 4, 6, 8] {
        // More than can be earned while it is read, on a slow machine too.
        let flood = frame(kind, &[0; 8]).repeat(many * 20);
        let error = Rationed::new(&flood[..], Clock::new()).read_to_end(&mut read).await;
        assert!(error.unwrap_err().to_string().contains("without content"));
    }
}
