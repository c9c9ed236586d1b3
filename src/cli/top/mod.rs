//! `runner top`: a running instance on a whole screen, live.
//!
//! ```text
//! control API ──link──┐                        ┌──view──► screen
//! log file ──follow───┼─ Message ─► State ─────┤
//! keys ───────────────┘     ▲                  └──wants, commands──► link, follow
//! ```
//!
//! The state is plain data, and the view a function of it: what is fetched follows from what the
//! state wants to show, so that nothing is measured, watched or read that nobody sees.

mod columns;
mod filter;
mod follow;
mod keys;
mod link;
mod load;
mod pager;
mod roster;
mod screen;
mod state;
mod theme;
mod view;
mod wants;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Parser;
use ratatui::crossterm::event::EventStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_stream::StreamExt as _;

use super::get::SortBy;
use super::instance::{InstanceArgs, with};
use super::output::now_ms;
use super::select::Selection;
use super::{Ending, fail, say};
use crate::control::client::Client;
use keys::Key;
use link::Link;
use screen::{Screen, Taken};
use state::State;
use theme::Theme;
use wants::Wants;

/// What happens within this time is drawn together.
const FRAME: Duration = Duration::from_millis(40);

/// How often ages and times that are left are drawn anew, where they are seen.
const SECOND: Duration = Duration::from_secs(1);

/// Who tells more than this at once waits until it is taken in.
const MESSAGES: usize = 64;

/// Show agents on a whole screen, live.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
                  runner top\n  \
                  runner top -l template=wolves --sort-by cpu\n\n\
                  `?` shows the keys, `q` leaves.")]
pub(super) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// By what agents are sorted at first.
    #[arg(long, value_enum, default_value = "name")]
    sort_by: SortBy,
    #[command(flatten)]
    instance: InstanceArgs,
}

pub(super) fn run(args: &Args) -> Ending {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if is_dumb || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        say("error: `runner top` needs a terminal that can be drawn on");
        say("  = help: write `runner get agents -w` to have changes line by line");
        return Ending::Wrong;
    }
    with(&args.instance, |client| async move {
        Ok(match show(args, client).await {
            Ok(()) => Ending::Done,
            Err(error) => fail("the screen cannot be shown", &error),
        })
    })
}

async fn show(args: &Args, client: Client) -> io::Result<()> {
    let (messages, mut happens) = mpsc::channel(MESSAGES);
    let (wants, wanted) = watch::channel(Wants::default());
    let selector = args.selection.selector();
    let link = Link { client, selector, messages: messages.clone(), wants: wanted.clone() };
    let mut tasks = JoinSet::new();
    tasks.spawn(link.clone().run());
    tasks.spawn(follow::run(link.client.clone(), wanted, messages));
    let mut state = State::new(args.sort_by);
    let mut ends = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()]
        .map(|kind| signal(kind))
        .into_iter()
        .collect::<io::Result<Vec<_>>>()?;
    let mut second = interval(SECOND);
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);

    let _taken = Taken::take()?;
    let mut screen = Screen::new(screen::backend(), Theme::of_environment())?;
    let mut keys = EventStream::new();
    let mut drawn = Instant::now() - FRAME;
    let mut is_due = true;
    while !state.is_over {
        let [terminate, hangup, interrupt] = &mut ends[..] else { break };
        tokio::select! {
            () = sleep_until(drawn + FRAME), if is_due => {
                state.tick(now_ms());
                screen.draw(&mut state)?;
                (drawn, is_due) = (Instant::now(), false);
            }
            Some(message) = happens.recv() => {
                state.take_in(message);
                is_due = true;
            }
            event = keys.next() => {
                let key = Key::of(&event.ok_or(io::ErrorKind::UnexpectedEof)??);
                if key == Some(Key::Redraw) {
                    screen.forget()?;
                }
                if let Some(command) = key.and_then(|key| state.press(key)) {
                    tasks.spawn(link.clone().carry_out(command));
                }
                is_due = true;
            }
            _ = second.tick() => is_due = true,
            Some(ended) = tasks.join_next() => ended.map_err(io::Error::other)?,
            _ = terminate.recv() => break,
            _ = hangup.recv() => break,
            _ = interrupt.recv() => break,
        }
        wants.send_if_modified(|before| {
            let now = state.wants();
            let changed = *before != now;
            *before = now;
            changed
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
