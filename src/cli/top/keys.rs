//! What keys do.

use std::path::PathBuf;

use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};

use super::filter::Filter;
use super::pager::Pager;
use super::roster::Move;
use super::state::{Command, Link, Page, Prompt, State};
use super::wants::LogOf;
use crate::cli::get::SortBy;

/// What `?` shows.
const HELP: &str = "\
Move     ↑ ↓ or k j, PageUp PageDown, Home End or g G
Sort by  N name, T template, P phase, R restarts, A age, C CPU, M memory;
         the same key again turns the order round
Filter   / and names or parts of them, with * and ? as in `runner get`, and
         template=…, type=…, phase=…; Enter keeps it, Esc takes it back

Of the agent that is marked:
d Enter  describe it
w        why it is as it is
l        follow its log
r        restart it; asks first
s        suspend it, or resume it if it is suspended; asks first

e        show or hide events
Ctrl-L   draw the screen anew
q        leave this page, or the program
Esc      leave this page, or show all agents again
Ctrl-C   leave the program

CPU is that of one processor in the last two seconds, memory that of the agent
with all that it started. Only those on the screen are measured, unless all are
sorted by it.";

/// A key that does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Letter(char),
    Move(Move),
    Enter,
    Escape,
    Backspace,
    /// Ctrl-U.
    Clear,
    /// Ctrl-L.
    Redraw,
    /// Ctrl-C.
    Leave,
}

impl Key {
    /// What was pressed, if it does something.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let Event::Key(key) = event else { return None };
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        #[expect(clippy::wildcard_enum_match_arm, reason = "all other keys do nothing")]
        Some(match key.code {
            KeyCode::Char('c') if control => Self::Leave,
            KeyCode::Char('l') if control => Self::Redraw,
            KeyCode::Char('u') if control => Self::Clear,
            KeyCode::Char(letter) if !control => Self::Letter(letter),
            KeyCode::Enter => Self::Enter,
            KeyCode::Esc => Self::Escape,
            KeyCode::Backspace => Self::Backspace,
            KeyCode::Up => Self::Move(Move::Up),
            KeyCode::Down => Self::Move(Move::Down),
            KeyCode::PageUp => Self::Move(Move::PageUp),
            KeyCode::PageDown => Self::Move(Move::PageDown),
            KeyCode::Home => Self::Move(Move::First),
            KeyCode::End => Self::Move(Move::Last),
            _ => return None,
        })
    }
}

impl State {
    /// Takes in a key. What is to be asked of the instance for it, if anything is.
    pub(super) fn press(&mut self, key: Key) -> Option<Command> {
        self.notice = None;
        let prompt = std::mem::replace(&mut self.prompt, Prompt::None);
        let command = match (key, prompt) {
            (Key::Leave, _) => {
                self.is_over = true;
                None
            }
            (_, Prompt::None) => self.press_at_large(key),
            (_, Prompt::Filter { text, before, .. }) => {
                self.type_filter(text, before, key);
                None
            }
            (Key::Letter('y' | 'Y'), Prompt::Confirm(command)) => Some(command),
            (_, Prompt::Confirm(_)) => None,
        };
        self.fit();
        command
    }

    fn press_at_large(&mut self, key: Key) -> Option<Command> {
        match (key, &mut self.page) {
            (Key::Letter('q'), None) => self.is_over = true,
            (Key::Escape, None) => self.roster.show(Filter::default()),
            (Key::Letter('q') | Key::Escape, Some(_)) => self.page = None,
            (Key::Move(to), _) => self.step(to),
            (Key::Enter, _) => return self.press_letter('d'),
            (Key::Letter(letter), _) => return self.press_letter(letter),
            (Key::Backspace | Key::Clear | Key::Redraw | Key::Leave, _) => {}
        }
        None
    }

    fn step(&mut self, to: Move) {
        match &mut self.page {
            Some(page) => page.pager_mut().step(to),
            None => self.roster.step(to),
        }
    }

    fn press_letter(&mut self, letter: char) -> Option<Command> {
        if let Some(to) = movement(letter) {
            self.step(to);
            return None;
        }
        if let Some(by) = sorting(letter).filter(|_| self.page.is_none()) {
            self.roster.sort(by);
            return None;
        }
        match letter {
            '?' => self.page = Some(Page::Help(Pager::of_text(HELP))),
            'e' => self.events = if self.events.is_some() { None } else { Some([].into()) },
            '/' if self.page.is_none() => {
                let before = self.roster.filter().clone();
                let text = before.text().to_owned();
                self.prompt = Prompt::Filter { text, before, wrong: None };
            }
            letter => return self.press_for_selected(letter),
        }
        None
    }

    /// Keys that are about the agent that is marked.
    fn press_for_selected(&mut self, letter: char) -> Option<Command> {
        let agent = self.roster.selected()?;
        let name = agent.name.clone();
        let toggled = if agent.suspended { Command::Resume } else { Command::Suspend };
        match letter {
            'd' => return Some(self.answered_by(Command::Describe(name))),
            'w' => return Some(self.answered_by(Command::Explain(name))),
            'l' => {
                let of = LogOf { dir: PathBuf::from(&self.status.log_dir), name };
                self.page = Some(Page::Log(of, Pager::of_end()));
            }
            'r' => self.confirm(Command::Restart(name)),
            's' => self.confirm(toggled(name)),
            _ => {}
        }
        None
    }

    /// Makes room for what will come of it.
    fn answered_by(&mut self, command: Command) -> Command {
        self.page = Some(Page::Answer(command.clone(), Pager::default()));
        command
    }

    fn confirm(&mut self, command: Command) {
        if self.link == Link::Up {
            self.prompt = Prompt::Confirm(command);
        } else {
            self.notice = Some(Err("nobody is there who could do that".to_owned()));
        }
    }

    fn type_filter(&mut self, mut text: String, before: Filter, key: Key) {
        match key {
            Key::Enter => return,
            Key::Escape => return self.roster.show(before),
            Key::Clear => text.clear(),
            Key::Letter(letter) => text.push(letter),
            Key::Backspace => {
                text.pop();
            }
            Key::Move(to) => self.roster.step(to),
            Key::Redraw | Key::Leave => {}
        }
        // What is not right yet changes nothing.
        let wrong = Filter::parse(&text).map(|filter| self.roster.show(filter)).err();
        self.prompt = Prompt::Filter { text, before, wrong };
    }
}

const fn movement(letter: char) -> Option<Move> {
    Some(match letter {
        'k' => Move::Up,
        'j' => Move::Down,
        ' ' => Move::PageDown,
        'g' => Move::First,
        'G' => Move::Last,
        _ => return None,
    })
}

const fn sorting(letter: char) -> Option<SortBy> {
    Some(match letter {
        'N' => SortBy::Name,
        'T' => SortBy::Template,
        'P' => SortBy::Phase,
        'R' => SortBy::Restarts,
        'A' => SortBy::Age,
        'C' => SortBy::Cpu,
        'M' => SortBy::Memory,
        _ => return None,
    })
}
