//! `[hooks]`: a command that is run for events.

use super::keys::Table;
use super::mistakes::Mistake;
use super::near::nearest;
use super::section::{Fallback, Section, Word};
use super::{Hooks, command};
use crate::events::KINDS;
use crate::glob::matches;

/// What somebody wants to be woken for, and that it is over.
const USUAL: [&str; 14] = [
    "agent.failed",
    "agent.hung",
    "agent.not_started",
    "agents.crash_storm",
    "config.rejected",
    "config.unreadable",
    "journal.failed",
    "logs.disk_full",
    "project.sync_failed",
    "removal.held",
    "rollout.failed",
    "tree.oom",
    "world.back",
    "world.lost",
];

pub(super) fn read(root: &Section<'_>) -> Option<Hooks> {
    let hooks = root.table("hooks", Table::Hooks);
    let example = ["./notify", "--urgent"];
    let argv = hooks.words("on_event", None, &example);
    // What holds for a command that is not there is nothing to tell of.
    let usual = USUAL.map(str::to_owned);
    let usual = argv.span().is_some().then_some(&usual[..]);
    let kinds = hooks.words("kinds", usual, &["agent.failed", "world.*"]);
    let timeout = Fallback { default: argv.span().map(|_| 10_000), example: 10_000 };
    let timeout = hooks.millis("timeout_ms", 1, timeout).value;
    if kinds.span().is_some() {
        kinds.value.iter().for_each(|kind| check(&hooks, kind));
    }
    let Some(span) = argv.span() else {
        if hooks.exists() && !argv.is_wrong() {
            let title = "`[hooks]` has no command to run";
            let help = format!("write, for example, `on_event = {example:?}`");
            hooks.sink.note_absence(Mistake::at(hooks.span(), title).help(help));
        }
        return None;
    };
    command::program(&hooks, "on_event", &argv.value, span, &example);
    let words = |words: Vec<Word>| words.into_iter().map(|(word, _)| word).collect();
    Some(Hooks { on_event: words(argv.value), kinds: words(kinds.value), timeout })
}

/// A hook that never runs would be missed when it is needed.
fn check(hooks: &Section<'_>, (kind, span): &Word) {
    if KINDS.iter().any(|known| matches(kind, known)) {
        return;
    }
    let title = format!("`{}` names no kind of event: {kind:?}", hooks.name("kinds"));
    let help = match nearest(kind, KINDS) {
        Some(near) => format!("write {near:?}"),
        None => "write a kind that `runner events` shows, or a pattern such as \"agent.*\"".into(),
    };
    hooks.sink.note(Mistake::at(span, title).label("no such kind").help(help));
}
