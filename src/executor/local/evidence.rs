//! What an agent that hangs was doing, before it is ended for that.

use std::fmt;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::usage::tree;

/// Of so many processes.
const MOST: usize = 8;

/// The time that a handler has for writing down what its process does. That of Python's
/// faulthandler writes at once.
const DUMP: Duration = Duration::from_millis(200);

/// What the processes of an agent were doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Of each process, what it was doing; none where they cannot be seen from here.
    pub processes: Option<Vec<Doing>>,
    /// How many were asked to write down their stacks.
    pub asked: usize,
}

/// What a process was doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doing {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Whether it ran or what kept it from that.
    pub state: String,
    /// The function of the kernel that it waits in; empty if it waits in none, or if that may not
    /// be known.
    pub wchan: String,
    /// How many threads it has.
    pub threads: u32,
}

/// Looks at an agent, and has those of its processes that listen to SIGUSR1 write down what they do
/// if they are to `dump`: the signal would end others. Blocks: reads `/proc`, and waits for them.
pub(super) fn gather(leader: Pid, dump: bool) -> Evidence {
    let mut members: Vec<_> = tree(leader).into_iter().collect();
    members.sort_by_key(|pid| pid.as_raw_nonzero());
    let processes = Some(members.iter().filter_map(|pid| doing(*pid)).take(MOST).collect());
    let asked = if dump { members.iter().filter(|pid| ask(leader, **pid)).count() } else { 0 };
    if asked > 0 {
        sleep(DUMP);
    }
    Evidence { processes, asked }
}

/// Asks one process to write down what it does, if it listens.
fn ask(leader: Pid, pid: Pid) -> bool {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    // The number may be another's since it was read; now it is held.
    let is_ours = tree(leader).contains(&pid);
    is_ours && catches(pid, Signal::USR1) && pidfd_send_signal(process, Signal::USR1).is_ok()
}

/// Whether it has a handler for a signal: the mask of signals in `proc_pid_status(5)`.
fn catches(pid: Pid, signal: Signal) -> bool {
    let caught = status(pid).and_then(|status| {
        let mask = field(&status, "SigCgt:")?;
        u64::from_str_radix(mask, 16).ok()
    });
    caught.is_some_and(|caught| caught & (1 << (signal.as_raw() - 1)) != 0)
}

fn doing(pid: Pid) -> Option<Doing> {
    let status = status(pid)?;
    let number = pid.as_raw_nonzero();
    let wchan = fs::read_to_string(format!("/proc/{number}/wchan")).unwrap_or_default();
    Some(Doing {
        pid: number.get().unsigned_abs(),
        name: field(&status, "Name:")?.to_owned(),
        state: state(field(&status, "State:")?),
        // 0 where it waits for nothing, or where it is hidden.
        wchan: wchan.trim_matches('0').to_owned(),
        threads: field(&status, "Threads:")?.parse().ok()?,
    })
}

fn status(pid: Pid) -> Option<String> {
    fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()
}

fn field<'s>(status: &'s str, name: &str) -> Option<&'s str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// `S (sleeping)` in a word or two.
fn state(field: &str) -> String {
    let words = field.split_once(" (").map_or(field, |(_, words)| words.trim_end_matches(')'));
    match words {
        "disk sleep" => "in an uninterruptible wait".to_owned(),
        "stopped" => "stopped by a signal".to_owned(),
        words => words.to_owned(),
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(processes) = &self.processes else {
            return f.write_str("what its processes do, only its node knows");
        };
        for (index, process) in processes.iter().enumerate() {
            let gap = if index > 0 { "; " } else { "" };
            let Doing { pid, name, state, wchan, threads } = process;
            write!(f, "{gap}{name} ({pid}) {state}")?;
            if !wchan.is_empty() {
                write!(f, " in {wchan}")?;
            }
            if *threads > 1 {
                write!(f, ", {threads} threads")?;
            }
        }
        Ok(())
    }
}
