//! Whether agents can have PID namespaces.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;

use rustix::io::retry_on_intr;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::executor::contain;
use crate::executor::gate::{self, Births, Word};

/// Starts a process in one, as will be done with agents: a server of gates, which ends by itself as
/// nobody asks it for any.
pub(super) fn try_out(births: &Births) -> io::Result<()> {
    let args = [contain::OPTION, gate::END, contain::SELF, gate::VERB];
    let word = Word { cwd: "/".into(), args: args.map(Into::into).into(), env: Vec::new() };
    let nowhere = File::options().read(true).write(true).open("/dev/null")?;
    let gate = births.birth(None)?;
    let pid = gate.pid;
    let opened = gate.open(&word, nowhere.as_fd());
    let ended = retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED));
    opened?;
    match ended?.and_then(|status| status.exit_status()) {
        Some(0) => Ok(()),
        other => Err(io::Error::other(format!("a process in it ended with {other:?}"))),
    }
}
