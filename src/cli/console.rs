//! Where the log goes: stderr, and on a terminal a line below it that is always the last one.
//!
//! ```text
//! a line of the log ──► erase · write it · draw, in one go        a change ──► erase · draw
//! ```
//!
//! The cursor stays at the beginning of the line, never hidden: whatever ends the program leaves
//! nothing to be put right, and a terminal that is made narrower wraps the line below the cursor,
//! where it is erased.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _, stderr};
use std::panic;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use anstyle::{AnsiColor, Style};
use rustix::process::getpgrp;
use rustix::termios::{tcgetpgrp, tcgetwinsize};
use tracing_subscriber::fmt::MakeWriter;
use unicode_width::UnicodeWidthStr as _;

use super::head::Part;
use super::output::{colour_of, cut, escaped, wants_colour};

/// Goes to the beginning of the line and erases what is there and below.
const ERASE: &str = "\r\x1b[J";

/// Between two parts of the line.
const GAP: &str = " · ";

/// How wide a terminal is that does not say so.
const USUAL_WIDTH: u16 = 80;

/// Where the log goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Console(Option<Arc<Mutex<LastLine>>>);

/// The line below the log.
#[derive(Debug, Default)]
struct LastLine {
    /// What it says; nothing: there is none.
    parts: Vec<Part>,
    is_drawn: bool,
}

impl Console {
    /// Stderr, with a line below the log if somebody is there to see it.
    pub(super) fn new() -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let has_line = stderr().is_terminal() && !is_dumb;
        Self(has_line.then(Arc::default))
    }

    /// Whether there can be a line below the log.
    pub(super) const fn has_line(&self) -> bool {
        self.0.is_some()
    }

    /// Has the line say this from now on; nothing: there is no line any more.
    pub(super) fn show(&self, parts: Vec<Part>) {
        let Some(mut line) = self.line() else { return };
        if line.parts != parts {
            line.parts = parts;
            line.redraw();
        }
    }

    /// Draws the line anew, as the terminal has changed.
    pub(super) fn redraw(&self) {
        if let Some(mut line) = self.line() {
            line.redraw();
        }
    }

    /// Does something while nothing of the line is to be seen, and no log is written.
    pub(super) fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut line = self.line();
        if let Some(line) = &mut line {
            line.erase();
        }
        let done = work();
        if let Some(line) = &mut line {
            line.redraw();
        }
        done
    }

    /// Has a panic erase the line before it says what was wrong.
    pub(super) fn make_way_for_panics(&self) {
        let Some(line) = self.0.clone() else { return };
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            match line.try_lock() {
                Ok(mut line) => line.erase(),
                Err(TryLockError::Poisoned(line)) => line.into_inner().erase(),
                // Who panics may be the one who writes.
                Err(TryLockError::WouldBlock) => {}
            }
            report(panic);
        }));
    }

    fn line(&self) -> Option<MutexGuard<'_, LastLine>> {
        self.0.as_ref().map(|line| line.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl LastLine {
    fn redraw(&mut self) {
        // What cannot be drawn is not missed: it is said elsewhere as well.
        let _ = self.write(&[]);
    }

    fn erase(&mut self) {
        if std::mem::take(&mut self.is_drawn) && is_ours() {
            let _ = stderr().write_all(ERASE.as_bytes());
        }
    }

    /// Writes to the log, in the place of the line, and the line below it.
    fn write(&mut self, log: &[u8]) -> io::Result<()> {
        let is_ours = is_ours();
        let mut all = Vec::with_capacity(log.len() + 256);
        if is_ours && self.is_drawn {
            all.extend_from_slice(ERASE.as_bytes());
        }
        all.extend_from_slice(log);
        self.is_drawn = is_ours && !self.parts.is_empty();
        if self.is_drawn {
            all.extend_from_slice(rendered(&self.parts, width(), wants_colour()).as_bytes());
            all.push(b'\r');
        }
        stderr().write_all(&all)
    }
}

/// A line of the log comes as a whole: nobody writes between two parts of it.
impl io::Write for &Console {
    fn write(&mut self, log: &[u8]) -> io::Result<usize> {
        match self.line() {
            Some(mut line) => line.write(log)?,
            None => stderr().write_all(log)?,
        }
        Ok(log.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Console {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

/// Whether the terminal is ours to draw on. In the background it is another program's, most often
/// that of a shell at its prompt.
fn is_ours() -> bool {
    // Where nobody knows, there is no other.
    tcgetpgrp(stderr()).ok().is_none_or(|group| group == getpgrp())
}

fn width() -> usize {
    let told = tcgetwinsize(stderr()).map_or(0, |size| size.ws_col);
    usize::from(if told == 0 { USUAL_WIDTH } else { told })
}

/// The parts in a row, as much of them as the width has room for. The last column is left free, so
/// that no terminal goes on to the next row.
fn rendered(parts: &[Part], width: usize, colour: bool) -> String {
    let mut left = width.saturating_sub(1);
    let mut line = String::new();
    for (place, part) in parts.iter().enumerate() {
        let gap = if place == 0 { "" } else { GAP };
        let text = escaped(&part.text);
        let shown = cut(&text, left.saturating_sub(gap.width()));
        if shown.is_empty() {
            break;
        }
        let style = colour_of(&part.phase)
            .filter(|_| colour)
            .map_or_else(Style::new, AnsiColor::on_default);
        // Writing to a string does not fail.
        let _ = write!(line, "{gap}{style}{shown}{style:#}");
        if shown != text {
            break;
        }
        left -= gap.width() + shown.width();
    }
    line
}

#[cfg(test)]
mod tests;
