use std::time::Duration;

use super::{Contact, Notice};
use crate::discovery::failure::Failure;
use crate::plan::Time;

const PATIENCE: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1000)
}

fn refused() -> Failure {
    Failure::Connection("connection refused".to_owned())
}

fn error() -> String {
    "connection refused".to_owned()
}

#[test]
fn the_first_answer_is_said_once_and_a_new_connection_again() {
    let mut contact = Contact::new(at(0));
    assert_eq!(contact.answered(at(1), 3, false), Some(Notice::Connected { entities: 3 }));
    assert_eq!(contact.answered(at(2), 3, false), None);
    assert_eq!(contact.remind_at(PATIENCE), None);
    assert_eq!(contact.answered(at(3), 4, true), Some(Notice::Connected { entities: 4 }));
}

#[test]
fn at_start_patience_comes_first_and_then_a_rhythm() {
    let mut contact = Contact::new(at(100));
    assert_eq!(contact.failed(at(100), &refused()), None);
    assert_eq!(contact.remind(at(129), PATIENCE), None);
    assert_eq!(contact.remind_at(PATIENCE), Some(at(130)));
    let waiting = |seconds| {
        Some(Notice::Waiting { waited: Duration::from_secs(seconds), error: Some(error()) })
    };
    assert_eq!(contact.remind(at(130), PATIENCE), waiting(30));
    assert_eq!(contact.remind(at(131), PATIENCE), None);
    assert_eq!(contact.remind_at(PATIENCE), Some(at(160)));
    assert_eq!(contact.remind(at(160), PATIENCE), waiting(60));
    assert_eq!(contact.answered(at(170), 0, false), Some(Notice::Connected { entities: 0 }));
}

#[test]
fn a_loss_is_said_at_once_and_then_every_minute_until_the_world_is_back() {
    let mut contact = Contact::new(at(0));
    contact.answered(at(1), 3, false);
    assert_eq!(contact.failed(at(10), &refused()), Some(Notice::Lost { error: error() }));
    assert_eq!(contact.failed(at(11), &refused()), None);
    assert_eq!(contact.remind_at(PATIENCE), Some(at(70)));
    let other = Failure::Deadline(Duration::from_secs(5));
    assert_eq!(contact.failed(at(69), &other), None);
    let away = Notice::Away {
        away: Duration::from_secs(60),
        error: "deadline of 5000 ms exceeded".to_owned(),
    };
    assert_eq!(contact.remind(at(70), PATIENCE), Some(away));
    assert_eq!(contact.remind_at(PATIENCE), Some(at(130)));
    let back = Notice::Back { away: Duration::from_secs(65), entities: 3 };
    assert_eq!(contact.answered(at(75), 3, true), Some(back));
    assert_eq!(contact.failed(at(80), &refused()), Some(Notice::Lost { error: error() }));
}
