//! All that the screen shows, and what keys and answers make of it. Knows no terminal, no clock and
//! no socket: time comes with what happens.

use std::collections::VecDeque;
use std::time::Duration;

use ratatui::layout::Size;

use super::filter::Filter;
use super::pager::Pager;
use super::roster::{Roster, Row};
use super::view;
use super::wants::{LogOf, Measured, Wants};
use crate::cli::get::SortBy;
use crate::proto::control as pb;

/// How many events are kept for their pane.
pub(super) const MOST_EVENTS: u32 = 100;

/// What happened.
#[derive(Debug)]
pub(super) enum Message {
    /// The instance as a whole is so now.
    Status(Box<pb::Status>),
    /// Agents changed.
    Agents(pb::AgentsChanged),
    /// So much was taken by some of them at that time, which has any origin.
    Measured(Duration, pb::ListAgentsResponse),
    /// Something that is told as an event.
    Happened(pb::EventHappened),
    /// The instance cannot be asked any more, and why.
    Away(String),
    /// What came of a command.
    Answered(Command, Result<String, String>),
    /// What an agent wrote.
    Wrote(LogOf, Vec<String>),
    /// Its log cannot be read.
    Unreadable(LogOf, String),
}

/// What is asked of the instance, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Describe(String),
    Explain(String),
    Restart(String),
    Suspend(String),
    Resume(String),
}

/// Whether the instance can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Not yet.
    Connecting,
    Up,
    /// Not any more, and why.
    Away(String),
}

/// What the last line is for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Prompt {
    None,
    /// A filter is typed; the one before it, and what is wrong with this one.
    Filter {
        text: String,
        before: Filter,
        wrong: Option<String>,
    },
    /// Is this to be done?
    Confirm(Command),
}

/// What covers the table.
#[derive(Debug)]
pub(super) enum Page {
    Help(Pager),
    /// What comes, or came, of a command.
    Answer(Command, Pager),
    Log(LogOf, Pager),
}

impl Page {
    pub(super) const fn pager(&self) -> &Pager {
        match self {
            Self::Help(pager) | Self::Answer(_, pager) | Self::Log(_, pager) => pager,
        }
    }

    pub(super) const fn pager_mut(&mut self) -> &mut Pager {
        match self {
            Self::Help(pager) | Self::Answer(_, pager) | Self::Log(_, pager) => pager,
        }
    }
}

/// All that the screen shows.
#[derive(Debug)]
pub(super) struct State {
    pub(super) size: Size,
    /// Milliseconds since 1970.
    pub(super) now_ms: i64,
    pub(super) link: Link,
    pub(super) status: pb::Status,
    pub(super) roster: Roster,
    pub(super) prompt: Prompt,
    pub(super) page: Option<Page>,
    /// The latest ones, if they are to be seen.
    pub(super) events: Option<VecDeque<pb::Event>>,
    /// What came of the last command, or why there can be none.
    pub(super) notice: Option<Result<String, String>>,
    /// Why it is not known what agents take, if so.
    pub(super) unmeasured: String,
    pub(super) is_over: bool,
}

impl State {
    pub(super) fn new(sort_by: SortBy) -> Self {
        Self {
            size: Size::default(),
            now_ms: 0,
            link: Link::Connecting,
            status: pb::Status::default(),
            roster: Roster::new(sort_by),
            prompt: Prompt::None,
            page: None,
            events: None,
            notice: None,
            unmeasured: String::new(),
            is_over: false,
        }
    }

    /// Takes in what happened.
    pub(super) fn take_in(&mut self, message: Message) {
        match message {
            Message::Status(status) => {
                self.status = *status;
                self.link = Link::Up;
            }
            Message::Agents(change) => self.roster.take_in(change),
            Message::Measured(at, measured) => {
                self.roster.measured(&measured.agents, at);
                self.unmeasured = measured.usage_unknown;
            }
            Message::Happened(happened) => self.happened(happened),
            Message::Away(why) => self.link = Link::Away(why),
            Message::Answered(command, answer) => self.answered(&command, answer),
            Message::Wrote(of, lines) => {
                if let Some(pager) = self.log(&of) {
                    pager.push(lines);
                }
            }
            Message::Unreadable(of, why) => {
                if let Some(pager) = self.log(&of) {
                    pager.push([format!("the log cannot be read: {why}")]);
                }
            }
        }
        self.fit();
    }

    fn happened(&mut self, happened: pb::EventHappened) {
        let (Some(events), Some(event)) = (&mut self.events, happened.event) else { return };
        // A new watch tells again what the one before it told.
        if events.back().is_some_and(|last| last.sequence >= event.sequence) {
            return;
        }
        if events.len() >= MOST_EVENTS as usize {
            events.pop_front();
        }
        events.push_back(event);
    }

    fn answered(&mut self, command: &Command, answer: Result<String, String>) {
        match command {
            Command::Describe(_) | Command::Explain(_) => {
                // Who asked may have turned to something else.
                let Some(Page::Answer(asked, pager)) = &mut self.page else { return };
                if asked == command {
                    let text = answer.unwrap_or_else(|error| format!("error: {error}"));
                    *pager = Pager::of_text(&text);
                }
            }
            Command::Restart(_) | Command::Suspend(_) | Command::Resume(_) => {
                self.notice = Some(answer);
            }
        }
    }

    fn log(&mut self, of: &LogOf) -> Option<&mut Pager> {
        match &mut self.page {
            Some(Page::Log(log, pager)) if log == of => Some(pager),
            Some(Page::Log(..) | Page::Help(_) | Page::Answer(..)) | None => None,
        }
    }

    /// It is that late. What was known last is shown as it was then.
    pub(super) fn tick(&mut self, now_ms: i64) {
        if !matches!(self.link, Link::Away(_)) {
            self.now_ms = now_ms;
        }
    }

    /// The screen is so large.
    pub(super) fn resize(&mut self, size: Size) {
        self.size = size;
        self.fit();
    }

    /// Has everything know how much room there is for it.
    pub(super) fn fit(&mut self) {
        let areas = view::areas(self, self.size);
        self.roster.resize(usize::from(areas.rows.height));
        if let Some(page) = &mut self.page {
            page.pager_mut().resize(usize::from(areas.page.width), usize::from(areas.page.height));
        }
    }

    /// What the screen needs at the moment.
    pub(super) fn wants(&self) -> Wants {
        let log = match &self.page {
            Some(Page::Log(of, _)) => Some(of.clone()),
            Some(Page::Help(_) | Page::Answer(..)) | None => None,
        };
        let name = |(row, _): (&Row, bool)| row.agent.name.clone();
        let measured = match (&self.page, self.roster.sorts_by_load()) {
            (Some(_), _) => Measured::default(),
            (None, true) => Measured::All,
            (None, false) => Measured::Of(self.roster.visible().map(name).collect()),
        };
        Wants { events: self.events.is_some(), log, measured }
    }
}
