//! How things look. Nothing is told by a colour alone.

use anstyle::AnsiColor;
use ratatui::style::{Color, Modifier, Style};

use crate::cli::output::{colour_of, wants_colour};

pub(super) const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
pub(super) const DIM: Style = Style::new().add_modifier(Modifier::DIM);
pub(super) const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Whether there are colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    colour: bool,
}

impl Theme {
    pub(super) const fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// As the user wants it: without colours where `NO_COLOR` is set.
    pub(super) fn of_environment() -> Self {
        Self::new(wants_colour())
    }

    fn coloured(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    /// Of what is not known any more.
    pub(super) fn away(self) -> Style {
        self.coloured(Color::Yellow).patch(REVERSED)
    }

    pub(super) fn note(self) -> Style {
        self.coloured(Color::Yellow)
    }

    pub(super) fn question(self) -> Style {
        self.coloured(Color::Yellow).patch(BOLD)
    }

    pub(super) fn bars(self) -> Style {
        self.coloured(Color::Cyan)
    }

    /// As other tables have it.
    pub(super) fn phase(self, phase: &str) -> Style {
        colour_of(phase).map_or_else(Style::new, |colour| self.coloured(of_ansi(colour)))
    }

    /// Of an event.
    pub(super) fn level(self, level: &str) -> Style {
        match level {
            "error" => self.coloured(Color::Red),
            "warn" => self.coloured(Color::Yellow),
            "debug" => DIM,
            _ => Style::new(),
        }
    }
}

const fn of_ansi(colour: AnsiColor) -> Color {
    match colour {
        AnsiColor::Black => Color::Black,
        AnsiColor::Red => Color::Red,
        AnsiColor::Green => Color::Green,
        AnsiColor::Yellow => Color::Yellow,
        AnsiColor::Blue => Color::Blue,
        AnsiColor::Magenta => Color::Magenta,
        AnsiColor::Cyan => Color::Cyan,
        AnsiColor::White => Color::Gray,
        AnsiColor::BrightBlack => Color::DarkGray,
        AnsiColor::BrightRed => Color::LightRed,
        AnsiColor::BrightGreen => Color::LightGreen,
        AnsiColor::BrightYellow => Color::LightYellow,
        AnsiColor::BrightBlue => Color::LightBlue,
        AnsiColor::BrightMagenta => Color::LightMagenta,
        AnsiColor::BrightCyan => Color::LightCyan,
        AnsiColor::BrightWhite => Color::White,
    }
}
