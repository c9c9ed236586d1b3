//! The state as a screen of any size. Draws what is seen and nothing else.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::columns::{Column, Placed, columns};
use super::roster::Row;
use super::state::{Command, Link, Page, Prompt, State};
use super::theme::{BOLD, DIM, REVERSED, Theme};
use crate::cli::get::{SortBy, line_of, reason};
use crate::cli::head;
use crate::cli::output::{age_at, bytes, cut, escaped};
use crate::cli::usage;

/// With fewer rows there is no room for what is odd about the instance.
const ROOM_FOR_NOTE: u16 = 8;

/// With fewer rows there is no room for events beside the table.
const ROOM_FOR_EVENTS: u16 = 9;

/// What keys do, for the last line: as many of them as there is room for.
const KEYS: [&str; 10] = [
    "? keys",
    "q quit",
    "/ filter",
    "NTPRACM sort",
    "l log",
    "d describe",
    "w why",
    "r restart",
    "s suspend",
    "e events",
];

/// What is where. What there is no room for is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Areas {
    head: Rect,
    note: Rect,
    titles: Rect,
    pub(super) rows: Rect,
    /// The title and the text of what covers the table.
    page_title: Rect,
    pub(super) page: Rect,
    events: Rect,
    foot: Rect,
}

/// Shares out the screen.
pub(super) fn areas(state: &State, size: Size) -> Areas {
    let mut rest = Rect::from((ratatui::layout::Position::ORIGIN, size));
    let asks = state.prompt != Prompt::None || state.notice.is_some();
    let mut areas = Areas::default();
    if rest.height >= 4 || (asks && rest.height > 0) {
        (rest, areas.foot) = split(rest, rest.height - 1);
    }
    if rest.height > 0 {
        (areas.head, rest) = split(rest, 1);
    }
    if size.height >= ROOM_FOR_NOTE && note(state).is_some() {
        (areas.note, rest) = split(rest, 1);
    }
    (areas.page_title, areas.page) = split(rest, 1);
    if size.height >= ROOM_FOR_EVENTS && state.events.is_some() {
        (rest, areas.events) = split(rest, rest.height - (size.height / 3).clamp(3, 12));
    }
    (areas.titles, areas.rows) = split(rest, 1);
    areas
}

/// The upper rows and the others.
fn split(area: Rect, upper: u16) -> (Rect, Rect) {
    let upper = upper.min(area.height);
    let rest = Rect { y: area.y + upper, height: area.height - upper, ..area };
    (Rect { height: upper, ..area }, rest)
}

/// Draws all of it.
pub(super) fn render(state: &State, theme: Theme, screen: &mut Buffer) {
    let areas = areas(state, screen.area.as_size());
    head_line(state, theme, (areas.head, screen));
    if let Some(note) = note(state) {
        put(screen, areas.note, 0, &Line::styled(escaped(&note), theme.note()));
    }
    if let Some(page) = &state.page {
        show_page(page, (&areas, screen));
    } else {
        table(state, theme, (&areas, screen));
        events(state, theme, (areas.events, screen));
    }
    foot(state, theme, (areas.foot, screen));
}

/// A line in a row of an area, if it has such a row.
fn put(screen: &mut Buffer, area: Rect, row: u16, line: &Line<'_>) {
    if row < area.height {
        screen.set_line(area.x, area.y + row, line, area.width);
    }
}

/// What is odd about the instance, or that nobody knows.
fn note(state: &State) -> Option<Cow<'_, str>> {
    if let Link::Away(why) = &state.link {
        return Some(why.into());
    }
    let odd = state.status.conditions.iter().find(|condition| !condition.message.is_empty());
    let unmeasured = || usage::unknown(&state.unmeasured).map(Cow::Owned);
    odd.map(|condition| (&*condition.message).into()).or_else(unmeasured)
}

fn head_line(state: &State, theme: Theme, (area, screen): (Rect, &mut Buffer)) {
    let mut line = Line::default();
    match &state.link {
        Link::Connecting => line.push_span("asking the runner …"),
        Link::Away(_) => {
            let said =
                format!(" AWAY {}: {} ", escaped(&state.status.name), head::line(&state.status));
            line.push_span(Span::styled(said, theme.away()));
        }
        Link::Up => {
            line.push_span(Span::styled(escaped(&state.status.name), BOLD));
            for (place, part) in head::parts(&state.status).into_iter().enumerate() {
                line.push_span(if place == 0 { ": " } else { " · " });
                line.push_span(Span::styled(part.text, theme.phase(&part.phase)));
            }
        }
    }
    put(screen, area, 0, &line);
}

fn table(state: &State, theme: Theme, (areas, screen): (&Areas, &mut Buffer)) {
    let columns = columns(areas.rows.width, state.roster.widths());
    let is_away = matches!(state.link, Link::Away(_));
    for placed in &columns {
        let title = title(placed.column, state);
        let text = fitted(&title, *placed);
        let at = Rect { x: areas.titles.x + placed.x, width: placed.width, ..areas.titles };
        put(screen, at, 0, &Line::styled(text, BOLD));
    }
    let rows = areas.rows.rows();
    for (area, (row, is_selected)) in rows.zip(state.roster.visible()) {
        let base = if is_away { DIM } else { Style::new() };
        for placed in &columns {
            let text = fitted(&escaped(&word(row, *placed, state.now_ms)), *placed);
            let style = match placed.column {
                Column::Phase if !is_away => theme.phase(&row.agent.phase),
                Column::History if !is_away => theme.bars(),
                Column::Name
                | Column::Template
                | Column::Phase
                | Column::Restarts
                | Column::Age
                | Column::Cpu
                | Column::Memory
                | Column::History
                | Column::Reason => base,
            };
            let at = Rect { x: area.x + placed.x, width: placed.width, ..area };
            put(screen, at, 0, &Line::styled(text, style));
        }
        if is_selected {
            screen.set_style(area, REVERSED);
        }
    }
    if state.roster.counts().0 == 0 && state.link != Link::Connecting {
        let none =
            if state.roster.filter().is_empty() { "no agents" } else { "none fits the filter" };
        put(screen, areas.rows, 0, &Line::styled(none, DIM));
    }
}

/// The title of a column, with the order if it is the one that they are in.
fn title(column: Column, state: &State) -> String {
    let sorted = match state.roster.sort_by {
        SortBy::Name => Column::Name,
        SortBy::Phase => Column::Phase,
        SortBy::Template => Column::Template,
        SortBy::Restarts => Column::Restarts,
        SortBy::Age => Column::Age,
        SortBy::Cpu => Column::Cpu,
        SortBy::Memory => Column::Memory,
    };
    let mark = match (column == sorted, state.roster.reversed) {
        (false, _) => "",
        (true, false) => "▾",
        (true, true) => "▴",
    };
    format!("{}{mark}", column.title())
}

/// What a column says of an agent.
fn word(row: &Row, Placed { column, width, .. }: Placed, now_ms: i64) -> String {
    let Row { agent, load } = row;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    match column {
        Column::Name => agent.name.clone(),
        Column::Template => agent.template.clone(),
        Column::Phase => agent.phase.clone(),
        Column::Restarts => agent.restarts.to_string(),
        Column::Age => age_at(agent.started_at_ms, now_ms),
        Column::Cpu => or_dash(load.share.map(percent)),
        Column::Memory => or_dash(load.memory.map(bytes)),
        Column::History => load.bars(usize::from(width)),
        Column::Reason => reason(agent, now_ms),
    }
}

/// Of tenths of a percent.
fn percent(tenths: u32) -> String {
    let (whole, tenth) = (tenths / 10, tenths % 10);
    if whole < 1000 { format!("{whole}.{tenth}") } else { whole.to_string() }
}

/// A word as wide as its column: cut, or filled up on the side where it should be.
fn fitted(word: &str, Placed { column, width, .. }: Placed) -> String {
    let width = usize::from(width);
    let word = cut(word, width);
    let gap = " ".repeat(width.saturating_sub(word.width()));
    if column.is_number() { gap + &word } else { word + &gap }
}

fn events(state: &State, theme: Theme, (area, screen): (Rect, &mut Buffer)) {
    let Some(events) = &state.events else { return };
    let (title, area) = split(area, 1);
    put(screen, title, 0, &Line::styled("EVENTS", BOLD));
    let skipped = events.len().saturating_sub(usize::from(area.height));
    for (area, event) in area.rows().zip(events.iter().skip(skipped)) {
        put(screen, area, 0, &Line::styled(line_of(event), theme.level(&event.level)));
    }
}

fn show_page(page: &Page, (areas, screen): (&Areas, &mut Buffer)) {
    let pager = page.pager();
    let title = match page {
        Page::Help(_) => "KEYS".to_owned(),
        Page::Answer(Command::Explain(name), _) => format!("WHY {}", escaped(name)),
        Page::Answer(command, _) => format!("AGENT {}", escaped(name_in(command))),
        Page::Log(of, pager) => {
            let follows = if pager.follows() { "followed" } else { "End goes on following" };
            format!("LOG OF {} ({follows})", escaped(&of.name))
        }
    };
    put(screen, areas.page_title, 0, &Line::styled(title, BOLD));
    if pager.is_empty() {
        put(screen, areas.page, 0, &Line::styled("nothing yet", DIM));
    }
    for (area, row) in areas.page.rows().zip(pager.rows()) {
        put(screen, area, 0, &Line::raw(row));
    }
}

const fn name_in(command: &Command) -> &String {
    match command {
        Command::Describe(name)
        | Command::Explain(name)
        | Command::Restart(name)
        | Command::Suspend(name)
        | Command::Resume(name) => name,
    }
}

fn foot(state: &State, theme: Theme, (area, screen): (Rect, &mut Buffer)) {
    let line = match (&state.prompt, &state.notice) {
        (Prompt::Filter { text, wrong, .. }, _) => {
            let wrong = wrong.as_ref().map(|wrong| format!("  {wrong}")).unwrap_or_default();
            Line::from(vec![
                Span::styled(format!("/{}", escaped(text)), BOLD),
                Span::styled(" ", REVERSED),
                Span::styled(escaped(&wrong), theme.phase("Failed")),
            ])
        }
        (Prompt::Confirm(command), _) => {
            let verb = match command {
                Command::Restart(_) => "restart",
                Command::Suspend(_) => "suspend",
                Command::Resume(_) => "resume",
                Command::Describe(_) | Command::Explain(_) => "ask about",
            };
            let asked = format!("{verb} {}? [y/N]", escaped(name_in(command)));
            Line::styled(asked, theme.question())
        }
        (Prompt::None, Some(Ok(done))) => Line::styled(escaped(done), BOLD),
        (Prompt::None, Some(Err(error))) => {
            Line::styled(format!("error: {}", escaped(error)), theme.phase("Failed"))
        }
        (Prompt::None, None) => {
            let filter = state.roster.filter();
            let (shown, all) = state.roster.counts();
            let mut line = Line::default();
            if !filter.is_empty() {
                let filtered = format!("/{}  {shown} of {all}  ", escaped(filter.text()));
                line.push_span(Span::styled(filtered, BOLD));
            }
            let mut left = usize::from(area.width).saturating_sub(line.width());
            for key in KEYS {
                let Some(rest) = left.checked_sub(key.len()) else { break };
                line.push_span(Span::styled(format!("{key}  "), DIM));
                left = rest.saturating_sub(2);
            }
            line
        }
    };
    put(screen, area, 0, &line);
}
