//! What is kept in memory of entities that are gone, when they come and go under ever new names.

use std::process::exit;

use super::harness::{Runner, misbehave};
use super::scripted::{Scripted, controllable};
use super::vitals::Memory;

const AT_ONCE: usize = 100;
/// Names after which what is kept for a hundred agents has come together, and as many as are
/// counted after that.
const NAMES: (usize, usize) = (1000, 10_000);
/// Bytes for each: what has to be known of its log, which stays, and what is lost between pieces
/// of memory.
const MOST: u64 = 512;

/// Ends with 1 if a name costs more than it may.
pub(crate) fn names() {
    let world = Scripted::start(Vec::new());
    let config = format!(
        "[runner]\nserver = \"{}\"\n[agents.default]\ncommand = [{:?}]\n\
         [jit]\nwatch_interval_ms = 100\n\
         [discovery]\nremoval_confirmations = 1\nhold_fraction = 1.0\n",
        world.address,
        misbehave(),
    );
    let runner = Runner::start(&config);
    replace_all(&runner, &world, 0..NAMES.0);
    let before = Memory::of(runner.process.id()).unwrap().anonymous;
    replace_all(&runner, &world, NAMES.0..NAMES.0 + NAMES.1);
    let after = Memory::of(runner.process.id()).unwrap().anonymous;
    runner.stop();
    let each = after.saturating_sub(before) / u64::try_from(NAMES.1).unwrap();
    println!(
        "names: {} KiB of anonymous memory after {} names, {} KiB after {} more: {each} bytes each, \
         of at most {MOST}",
        before >> 10,
        NAMES.0,
        after >> 10,
        NAMES.1
    );
    if each > MOST {
        exit(1);
    }
}

/// A hundred entities with these names, and then a hundred others in their place.
fn replace_all(runner: &Runner, world: &Scripted, names: std::ops::Range<usize>) {
    for first in names.step_by(AT_ONCE) {
        let mark = runner.process.mark();
        let ids: Vec<_> = (first..first + AT_ONCE).map(|number| format!("e{number}")).collect();
        world.set(ids.iter().map(|id| controllable(id)).collect());
        for id in &ids {
            runner.process.event(mark, "agent.started", id);
        }
    }
}
