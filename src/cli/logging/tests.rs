use std::io;
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;

use super::*;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Buffer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// What is logged, without the time.
fn logged(log: impl FnOnce()) -> String {
    let buffer = Buffer::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(buffer.clone())
        .with_ansi(false)
        .event_format(Lines)
        .finish();
    tracing::subscriber::with_default(subscriber, log);
    let bytes = buffer.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    text.split_once(' ').unwrap().1.to_owned()
}

#[test]
fn a_line_names_the_entity_what_is_done_and_why() {
    let line = logged(|| {
        tracing::info!(event = "agent.starting", entity = %"alice", run = 3, reason = %"it has none", "starting");
    });
    assert_eq!(line, " INFO alice: starting: it has none  run=3\n");
}

#[test]
fn control_characters_of_others_are_escaped() {
    let line = logged(|| {
        tracing::warn!(entity = %"a\u{1b}[31mb", error = %"no\nINFO fake", kind = "x\r", "refused");
    });
    assert_eq!(line, " WARN a\\u{1b}[31mb: refused: no\\nINFO fake  kind=x\\r\n");
}
