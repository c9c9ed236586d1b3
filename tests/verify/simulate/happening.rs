//! What may happen, drawn by chance.

use fastrand::Rng;
use runner::plan::{Exit, Steer};
use runner::reconcile::Order;

/// Entities that there may be.
pub(crate) const ENTITIES: usize = 5;

/// One thing that happens. Numbers without a bound mean one of those that are there then, so that
/// a list of these makes sense with any of them left out.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// Time passes, and each timer rings when it should.
    Pass(u64),
    /// Time has passed, and no timer rang meanwhile: the machine slept, or was too busy.
    Jump(u64),
    /// The executor does one of the things that it was told.
    Do(usize),
    /// It cannot.
    FailTo(usize),
    /// The runner is told of the next thing that happened to a process.
    Hear,
    Exit(usize, Exit),
    LeaderExits(usize),
    /// One that was asked to end does.
    Obey(usize),
    /// One stops doing its work, and lives on.
    Hang(usize),
    /// One overwrites its environment.
    Hide(usize),
    Come(usize),
    Leave(usize),
    /// It is another one under the same name.
    Reincarnate(usize),
    /// Somebody else takes the lease, for so many seconds.
    TakeLease(usize, u64),
    WorldEnds,
    WorldReturns,
    /// The world is asked.
    Poll,
    /// It says that only those with a bit are there.
    Lie(u8),
    /// It tells of itself, be it late.
    Tell,
    /// What it said last arrives.
    Deliver,
    /// An older word of it arrives, after newer ones, or twice.
    DeliverOld(usize),
    /// A question or its answer is lost.
    Lose,
    /// The file is saved as this one.
    Configure(u32),
    Order(usize, Order),
    Steer(Steer),
    /// Nothing can be written down from now on.
    FillDisk,
    /// It can again.
    FreeDisk,
    /// The runner is killed.
    Die,
    /// It is started.
    Begin,
    /// It is told to leave its agents alone, and ends.
    LeaveAgents,
    /// It is asked for all that it knows.
    Look,
}

/// A kind of happening.
type Kind = fn(&mut Rng) -> Happening;

/// How often each kind comes, in relation.
const WEIGHTS: &[(u32, Kind)] = &[
    (60, |rng| Happening::Pass(rng.u64(0..1500))),
    (2, |rng| Happening::Pass(rng.u64(0..40_000))),
    (1, |rng| Happening::Jump(rng.u64(0..100_000))),
    (120, |rng| Happening::Do(rng.usize(..))),
    (4, |rng| Happening::FailTo(rng.usize(..))),
    (100, |_| Happening::Hear),
    (12, |rng| Happening::Exit(rng.usize(..), exit(rng))),
    (3, |rng| Happening::LeaderExits(rng.usize(..))),
    (60, |rng| Happening::Obey(rng.usize(..))),
    (2, |rng| Happening::Hang(rng.usize(..))),
    (2, |rng| Happening::Hide(rng.usize(..))),
    (8, |rng| Happening::Come(rng.usize(..))),
    (4, |rng| Happening::Leave(rng.usize(..))),
    (2, |rng| Happening::Reincarnate(rng.usize(..))),
    (1, |rng| Happening::TakeLease(rng.usize(..), rng.u64(0..40))),
    (2, |_| Happening::WorldEnds),
    (8, |_| Happening::WorldReturns),
    (50, |_| Happening::Poll),
    (4, |rng| Happening::Lie(rng.u8(..))),
    (5, |_| Happening::Tell),
    (60, |_| Happening::Deliver),
    (4, |rng| Happening::DeliverOld(rng.usize(..))),
    (4, |_| Happening::Lose),
    (6, |rng| Happening::Configure(rng.u32(..))),
    (6, |rng| Happening::Order(rng.usize(..), order(rng))),
    (2, |rng| Happening::Steer(steer(rng))),
    (1, |_| Happening::FillDisk),
    (3, |_| Happening::FreeDisk),
    (3, |_| Happening::Die),
    (10, |_| Happening::Begin),
    (1, |_| Happening::LeaveAgents),
    (2, |_| Happening::Look),
];

fn exit(rng: &mut Rng) -> Exit {
    match rng.u8(0..6) {
        0 | 1 => Exit::Code(0),
        2 => Exit::Signal(9),
        3 => Exit::OutOfMemory { limit: 1 },
        _ => Exit::Code(1),
    }
}

fn order(rng: &mut Rng) -> Order {
    match rng.u8(0..4) {
        0 => Order::Suspend,
        1 | 2 => Order::Resume,
        _ => Order::Restart,
    }
}

fn steer(rng: &mut Rng) -> Steer {
    match rng.u8(0..4) {
        0 => Steer::Pause,
        1 => Steer::Undo,
        _ => Steer::Resume,
    }
}

/// So many, that follow from the seed alone.
pub(crate) fn draw(seed: u64, events: usize) -> Vec<Happening> {
    let mut rng = Rng::with_seed(seed);
    let all: u32 = WEIGHTS.iter().map(|(weight, _)| weight).sum();
    let one = |_| {
        let mut rest = rng.u32(0..all);
        let chosen = WEIGHTS.iter().find(|(weight, _)| {
            let is_it = rest < *weight;
            rest = rest.saturating_sub(*weight);
            is_it
        });
        chosen.unwrap().1(&mut rng)
    };
    (0..events).map(one).collect()
}
