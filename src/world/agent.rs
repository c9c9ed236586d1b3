//! The forager: a small agent that lives on berries.
//!
//! It leases its entity, and then in every tick renews the lease, looks around, decides
//! ([`choose`]) and submits one intent. It is a client of the contract like any other agent.

mod choose;
mod journal;
mod session;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use self::choose::Dice;
use self::journal::Journal;
use self::session::End;

/// What the forager is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentOptions {
    /// `HOST:PORT` of the world.
    pub server: String,
    /// The id of the entity to act for.
    pub entity: String,
    /// For demonstrations: crash at a random time between this and twice this.
    pub crash_after: Option<Duration>,
}

/// How an agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was asked to stop, or had nothing more to do: its lease was refused or lost, or its
    /// stream of observations ended.
    Finished,
    /// It could not reach the world at all, or crashed.
    Failed,
}

impl Exit {
    /// 0 for finished, 1 for failed.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Finished => 0,
            Self::Failed => 1,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Runs the forager until it ends or gets SIGTERM or SIGINT, and writes what it does to the
/// standard output, at most a line a tick.
pub async fn run(options: AgentOptions) -> Exit {
    run_until(options, std::io::stdout(), stop_signal()).await
}

/// Runs the forager until it ends or `stop` completes. On `stop` it gives its lease back.
pub(super) async fn run_until(
    options: AgentOptions,
    output: impl Write + Send,
    stop: impl Future<Output = ()>,
) -> Exit {
    let journal = Journal::new(output);
    let crash = crash_time(&options);
    tokio::select! {
        end = session::forage(&options, &journal, stop) => {
            journal.line(format_args!("{end}"));
            match end {
                End::Unreachable { .. } => Exit::Failed,
                End::Stopped | End::NoLease { .. } | End::StreamEnded { .. } => Exit::Finished,
            }
        }
        () = sleep_for(crash) => {
            journal.line(format_args!("demo crash"));
            Exit::Failed
        }
    }
}

/// Differs from one process to the next, so that an agent that is restarted does not crash in step
/// with its former self.
fn crash_time(options: &AgentOptions) -> Option<Duration> {
    let least = options.crash_after?;
    let mut dice = Dice::new(&options.entity, u64::from(std::process::id()));
    let percent = u32::try_from(dice.below(101)).unwrap_or(0);
    Some(least.saturating_add(least.saturating_mul(percent) / 100))
}

async fn sleep_for(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

async fn stop_signal() {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    if let (Ok(mut terminate), Ok(mut interrupt)) = signals {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    } else {
        // The signals keep their default action, which ends the process as well.
        std::future::pending::<()>().await;
    }
}
