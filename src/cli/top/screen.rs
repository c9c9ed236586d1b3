//! The terminal: taken, drawn to, and given back as it was, however the program ends.

use std::io::{self, BufWriter, Stdout, Write as _, stdout};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::Rect;

use super::state::State;
use super::theme::Theme;
use super::view;

/// A frame is written in one go.
const FRAME_BYTES: usize = 64 * 1024;

/// Whether there is something to give back.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal, as long as this is there.
#[derive(Debug)]
pub(super) struct Taken(());

impl Taken {
    /// Takes the terminal. A panic gives it back before it says what was wrong.
    pub(super) fn take() -> io::Result<Self> {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            give_back();
            report(panic);
        }));
        enable_raw_mode()?;
        IS_TAKEN.store(true, Ordering::SeqCst);
        let taken = Self(());
        execute!(stdout(), EnterAlternateScreen)?;
        Ok(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives it back, once: a second time would put the cursor back to where it was at first, and what
/// was said of a panic since would be written over.
fn give_back() {
    if !IS_TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // A terminal that is gone has nothing to be given back.
    let _ = disable_raw_mode();
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = stdout().flush();
}

/// The terminal, to draw to.
pub(super) fn backend() -> CrosstermBackend<BufWriter<Stdout>> {
    CrosstermBackend::new(BufWriter::with_capacity(FRAME_BYTES, stdout()))
}

/// What is drawn to.
#[derive(Debug)]
pub(super) struct Screen<B: Backend> {
    terminal: Terminal<B>,
    theme: Theme,
    /// What is on it.
    shown: Buffer,
}

impl<B: Backend> Screen<B> {
    pub(super) fn new(backend: B, theme: Theme) -> Result<Self, B::Error> {
        Ok(Self { terminal: Terminal::new(backend)?, theme, shown: Buffer::empty(Rect::ZERO) })
    }

    /// Draws what has changed since the last time; tells whether anything has.
    pub(super) fn draw(&mut self, state: &mut State) -> Result<bool, B::Error> {
        let size = self.terminal.size()?;
        if state.size != size {
            state.resize(size);
        }
        let mut next = Buffer::empty(Rect::from((ratatui::layout::Position::ORIGIN, size)));
        view::render(state, self.theme, &mut next);
        if next == self.shown {
            return Ok(false);
        }
        self.terminal.draw(|frame| {
            // Another size by now: what is there is drawn the next time.
            if frame.area() == next.area {
                frame.buffer_mut().clone_from(&next);
            }
        })?;
        self.shown = next;
        Ok(true)
    }

    /// Forgets what is on it, as others may have written to it.
    pub(super) fn forget(&mut self) -> Result<(), B::Error> {
        self.shown.reset();
        self.terminal.clear()
    }

    #[cfg(test)]
    pub(super) const fn backend(&self) -> &B {
        self.terminal.backend()
    }
}

#[cfg(test)]
mod tests;
