//! All agents that are known, which of them are shown, in what order, and which one is meant.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use unicode_width::UnicodeWidthStr as _;

use super::filter::Filter;
use super::load::Load;
use crate::cli::get::SortBy;
use crate::cli::output::escaped;
use crate::proto::control as pb;
use crate::proto::control::agents_changed::Kind;

/// An agent, and how much it takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    pub(super) agent: pb::Agent,
    pub(super) load: Load,
}

/// All agents.
#[derive(Clone, Debug)]
pub(super) struct Roster {
    rows: BTreeMap<String, Row>,
    /// The names of those that are shown, in order.
    shown: Vec<String>,
    /// How wide the longest name and the longest template of these are.
    widths: (usize, usize),
    /// The place of the one that is meant.
    cursor: usize,
    /// Who that is; none: whoever is the first, as nobody was chosen.
    chosen: Option<String>,
    /// The place of the first one on the screen, and how many are on it.
    window: (usize, usize),
    pub(super) sort_by: SortBy,
    pub(super) reversed: bool,
    filter: Filter,
}

/// Where the cursor is moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

impl Roster {
    pub(super) fn new(sort_by: SortBy) -> Self {
        Self {
            rows: BTreeMap::new(),
            shown: Vec::new(),
            widths: (0, 0),
            cursor: 0,
            chosen: None,
            window: (0, 0),
            sort_by,
            reversed: false,
            filter: Filter::default(),
        }
    }

    /// Takes in what a watch tells.
    pub(super) fn take_in(&mut self, change: pb::AgentsChanged) {
        let kind = change.kind();
        if kind == Kind::Sync {
            // How much they take is still known of those that are there.
            let there: HashSet<_> = change.agents.iter().map(|agent| &agent.name).collect();
            self.rows.retain(|name, _| there.contains(name));
        }
        for agent in change.agents {
            match kind {
                Kind::Gone => {
                    self.rows.remove(&agent.name);
                }
                Kind::Sync | Kind::Changed | Kind::Unspecified => {
                    let row = self.rows.entry(agent.name.clone()).or_default();
                    let is_nowhere = agent.pid == 0 && agent.pod.is_empty();
                    if row.agent.run != agent.run || is_nowhere {
                        row.load = Load::default();
                    }
                    row.agent = agent;
                }
            }
        }
        self.arrange();
    }

    /// Takes in how much some of them have taken by now.
    pub(super) fn measured(&mut self, agents: &[pb::Agent], at: Duration) {
        for agent in agents {
            if let Some(row) = self.rows.get_mut(&agent.name) {
                row.load.take_in(agent, at);
            }
        }
        if self.sorts_by_load() {
            self.arrange();
        }
    }

    /// Whether the order depends on how much they take.
    pub(super) fn sorts_by_load(&self) -> bool {
        match self.sort_by {
            SortBy::Cpu | SortBy::Memory => true,
            SortBy::Name | SortBy::Phase | SortBy::Template | SortBy::Restarts | SortBy::Age => {
                false
            }
        }
    }

    /// Sorts by something else, or the other way round, and goes to the first.
    pub(super) fn sort(&mut self, by: SortBy) {
        self.reversed = by == self.sort_by && !self.reversed;
        self.sort_by = by;
        self.step(Move::First);
        self.arrange();
    }

    /// Shows those only that fit.
    pub(super) fn show(&mut self, filter: Filter) {
        self.filter = filter;
        self.arrange();
    }

    pub(super) const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Moves the cursor.
    pub(super) fn step(&mut self, to: Move) {
        let (last, page) = (self.shown.len().saturating_sub(1), self.window.1.max(1));
        self.cursor = match to {
            Move::Up => self.cursor.saturating_sub(1),
            Move::Down => self.cursor + 1,
            Move::PageUp => self.cursor.saturating_sub(page),
            Move::PageDown => self.cursor + page,
            Move::First => 0,
            Move::Last => last,
        }
        .min(last);
        // At the very top it stays with the place, which is that of the first of an order.
        self.chosen = self.shown.get(self.cursor).filter(|_| self.cursor > 0).cloned();
        self.scroll();
    }

    /// There is room for so many.
    pub(super) fn resize(&mut self, height: usize) {
        self.window.1 = height;
        self.scroll();
    }

    /// Keeps the cursor on the screen, and the screen full.
    fn scroll(&mut self) {
        let (first, height) = self.window;
        let first = first.min(self.cursor).max((self.cursor + 1).saturating_sub(height));
        self.window.0 = first.min(self.shown.len().saturating_sub(height));
    }

    fn arrange(&mut self) {
        let mut shown: Vec<&Row> =
            self.rows.values().filter(|row| self.filter.fits(&row.agent)).collect();
        shown.sort_by(|one, other| self.compare(one, other));
        let width = |of: &dyn Fn(&pb::Agent) -> &str| {
            shown.iter().map(|row| escaped(of(&row.agent)).width()).max().unwrap_or(0)
        };
        self.widths = (width(&|agent| &agent.name), width(&|agent| &agent.template));
        self.shown = shown.into_iter().map(|row| row.agent.name.clone()).collect();
        let place = match &self.chosen {
            Some(chosen) => self.shown.iter().position(|name| name == chosen),
            None => Some(0),
        };
        // Who has gone leaves the cursor where it is.
        self.cursor = place.unwrap_or(self.cursor).min(self.shown.len().saturating_sub(1));
        if place.is_none() {
            self.chosen = self.shown.get(self.cursor).cloned();
        }
        self.scroll();
    }

    fn compare(&self, one: &Row, other: &Row) -> Ordering {
        let (a, b) = (&one.agent, &other.agent);
        let order = match self.sort_by {
            SortBy::Name => a.name.cmp(&b.name),
            SortBy::Phase => a.phase.cmp(&b.phase),
            SortBy::Template => a.template.cmp(&b.template),
            SortBy::Restarts => b.restarts.cmp(&a.restarts),
            SortBy::Age => b.started_at_ms.cmp(&a.started_at_ms),
            SortBy::Cpu => other.load.share.cmp(&one.load.share),
            SortBy::Memory => other.load.memory.cmp(&one.load.memory),
        };
        if self.reversed { order.reverse() } else { order }.then_with(|| a.name.cmp(&b.name))
    }

    /// The one that is meant.
    pub(super) fn selected(&self) -> Option<&pb::Agent> {
        self.shown.get(self.cursor).and_then(|name| self.rows.get(name)).map(|row| &row.agent)
    }

    /// Those on the screen, each with whether it is meant.
    pub(super) fn visible(&self) -> impl Iterator<Item = (&Row, bool)> {
        let (first, height) = self.window;
        let names = self.shown.iter().enumerate().skip(first).take(height);
        names.filter_map(|(place, name)| Some((self.rows.get(name)?, place == self.cursor)))
    }

    /// How many are shown, and of how many.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.shown.len(), self.rows.len())
    }

    /// How wide the longest name and the longest template are.
    pub(super) const fn widths(&self) -> (usize, usize) {
        self.widths
    }
}
