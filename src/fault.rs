//! Where a test may have the runner die: between the steps of what must not be left half done.
//!
//! `RUNNER_FAULT=gate-started:3` has a debug build kill itself the third time it comes to that
//! point. A release build has no such points.

macro_rules! points {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)*) => {
        /// A moment in the life of a runner.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point {
            $($(#[$doc])* $point,)*
        }

        impl Point {
            /// All of them: a test goes through this list, so that no point is left out.
            pub const ALL: &[Self] = &[$(Self::$point,)*];

            /// What it is called in `RUNNER_FAULT`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

points! {
    /// A start is written down; there is no process.
    StartNoted = "start-noted",
    /// There is a cgroup with its limits, and no gate.
    CgroupMade = "cgroup-made",
    /// A gate waits that nobody knows of.
    GateStarted = "gate-started",
    /// It is in the cgroup that will hold the agent's tree, if there is one.
    GateHeld = "gate-held",
    /// It is written down who the gate is.
    GateRecorded = "gate-recorded",
    /// The agent runs, and nobody was told.
    GateOpened = "gate-opened",
    /// A stop is written down; the agent knows nothing of it.
    StopNoted = "stop-noted",
    /// The agent was told to end.
    StopSent = "stop-sent",
    /// A kill is written down; the agent lives.
    KillNoted = "kill-noted",
    /// The agent was killed.
    KillSent = "kill-sent",
    /// An agent is over, and was reaped; it is not written down.
    Reaped = "reaped",
    /// Half a line of the journal is written.
    JournalTorn = "journal-torn",
    /// A line of the journal is written.
    JournalWritten = "journal-written",
    /// A new journal is written, and the old one in force.
    JournalCopied = "journal-copied",
    /// The new journal is in force.
    JournalReplaced = "journal-replaced",
}

/// Whether there are any.
pub(crate) const ENABLED: bool = cfg!(debug_assertions);

/// Comes to a point, and beyond it unless a test had it armed.
#[cfg(not(debug_assertions))]
pub(crate) const fn reach(_: Point) {}

/// Comes to a point, and beyond it unless a test had it armed.
#[cfg(debug_assertions)]
pub(crate) fn reach(point: Point) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let armed = std::env::var("RUNNER_FAULT").ok()?;
        let (name, passing) = armed.split_once(':')?;
        Some((name.to_owned(), passing.parse().ok()?))
    });
    static PASSED: AtomicU64 = AtomicU64::new(0);

    let Some((name, passing)) = &*ARMED else { return };
    if name == point.name() && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *passing {
        use rustix::process::{Signal, getpid, kill_process};
        let _ = kill_process(getpid(), Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}
