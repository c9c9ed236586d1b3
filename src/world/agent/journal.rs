//! What the agent says: plain lines, each written out at once.

use std::fmt::Arguments;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

pub(super) struct Journal<W> {
    /// None once nobody reads any more: an agent goes on without an audience.
    output: Mutex<Option<W>>,
}

impl<W: Write> Journal<W> {
    pub(super) fn new(output: W) -> Self {
        Self { output: Mutex::new(Some(output)) }
    }

    pub(super) fn line(&self, line: Arguments<'_>) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = output.as_mut()
            && let Err(error) = write_line(writer, line)
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            *output = None;
        }
    }
}

/// One write a line, so that lines of processes that share a file are not torn.
fn write_line(output: &mut impl Write, line: Arguments<'_>) -> io::Result<()> {
    output.write_all(format!("{line}\n").as_bytes())?;
    output.flush()
}
