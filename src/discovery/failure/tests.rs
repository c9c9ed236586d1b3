use std::io;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};

use super::Failure;
use crate::text::{MAX_TEXT, printable};

const TIMEOUT: Duration = Duration::from_secs(5);

fn words(status: &Status) -> String {
    Failure::of_call(status, TIMEOUT).to_string()
}

#[test]
fn says_what_a_person_understands() {
    let deadline = Status::deadline_exceeded("whatever");
    assert_eq!(words(&deadline), "deadline of 5000 ms exceeded");

    let mut expired = Status::cancelled("Timeout expired");
    expired.set_source(Arc::new(tonic::TimeoutExpired(())));
    assert_eq!(words(&expired), "deadline of 5000 ms exceeded");

    let mut refused = Status::unavailable("tcp connect error");
    refused.set_source(Arc::new(io::Error::from_raw_os_error(111)));
    assert_eq!(words(&refused), "connection refused");

    let mut unknown = Status::unknown("transport error");
    unknown.set_source(Arc::new(io::Error::other("no address for name")));
    assert_eq!(words(&unknown), "no address for name");

    let said = Status::unavailable("warming up\u{1b}[31m");
    assert_eq!(words(&said), "the world answered Unavailable: warming up\\u{1b}[31m");
}

#[test]
fn knows_an_unknown_method() {
    assert!(Failure::of_stream(&Status::unimplemented("no")).is_unimplemented());
    assert!(!Failure::of_stream(&Status::new(Code::Internal, "no")).is_unimplemented());
}

#[test]
fn bounds_and_escapes_what_others_wrote() {
    assert_eq!(printable("it's \"öde\" \\ here"), "it's \"öde\" \\ here");
    assert_eq!(printable("a\nb\0c\u{202e}d"), "a\\nb\\0c\\u{202e}d");
    assert_eq!(printable(&"\n".repeat(1000)).chars().count(), MAX_TEXT);
    assert_eq!(printable(&"ö".repeat(1000)).chars().count(), MAX_TEXT);
}
