//! The look at `/proc` that finds the processes of agents.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use super::{Member, Signs, Tie};
use crate::executor::contain;
use crate::executor::local::pidfd::{self, Stat};

/// The most members of an agent that are told of at once, lest a fork bomb take all descriptors.
const AT_ONCE: usize = 64;

/// How often /proc is read before an agent counts as gone although processes were being created.
const LOOKS: usize = 3;

/// The live members of each of the agents, by their leaders, that has any.
///
/// Pids are read in ascending order, so a process that is born behind the reader's back, of a
/// parent that ends before it is read, is not seen. If no process was created meanwhile there can
/// be none such; otherwise another look makes it as good as impossible.
pub(super) fn look(asked: &HashMap<Pid, Signs>) -> io::Result<HashMap<Pid, Vec<Member>>> {
    let mut found = HashMap::new();
    for _ in 0..LOOKS {
        let newest = newest_pid()?;
        let sought = Sought::new(asked.iter().filter(|(leader, _)| !found.contains_key(*leader)));
        if sought.signs.is_empty() {
            break;
        }
        sought.find(&mut found)?;
        if newest_pid()? == newest {
            break;
        }
    }
    Ok(found)
}

/// The agents whose members are looked for.
struct Sought<'a> {
    signs: HashMap<Pid, &'a Signs>,
    /// The leaders by what their members carry.
    marked: HashMap<&'a [String], Pid>,
    /// The names of those variables.
    names: Vec<&'a str>,
}

/// What one reading of `/proc` shows. Numbers only: what they name may have changed by now.
#[derive(Default)]
struct Seen {
    /// By their leaders, those that a group or marks tell.
    tied: HashMap<Pid, Vec<Pid>>,
    /// By their parents.
    children: HashMap<i32, Vec<Pid>>,
}

impl<'a> Sought<'a> {
    fn new(asked: impl Iterator<Item = (&'a Pid, &'a Signs)>) -> Self {
        let signs: HashMap<_, _> = asked.map(|(leader, signs)| (*leader, signs)).collect();
        let marked: HashMap<_, _> = signs
            .iter()
            .filter(|(_, signs)| !signs.marks.is_empty())
            .map(|(leader, signs)| (signs.marks.as_slice(), *leader))
            .collect();
        let names = marked.keys().next().copied().unwrap_or_default();
        let names = names.iter().filter_map(|mark| mark.split('=').next()).collect();
        Self { signs, marked, names }
    }

    fn find(&self, found: &mut HashMap<Pid, Vec<Member>>) -> io::Result<()> {
        let seen = self.read()?;
        for (&leader, signs) in &self.signs {
            let mut members = self.tied(leader, seen.tied.get(&leader))?;
            // Who else is in its namespace is for the init to say, and to signal.
            let is_init =
                |member: &Member| member.tie == Tie::Group && contain::is_init(member.pid);
            if let Some(init) = members.iter().position(is_init) {
                members = vec![members.swap_remove(init)];
            } else {
                let kin = descendants(leader, &members, &signs.kin, &seen.children)?;
                members.extend(kin);
            }
            members.retain(|member| !signs.only_kin || member.tie == Tie::Parent);
            if !members.is_empty() {
                found.insert(leader, members);
            }
        }
        Ok(())
    }

    fn read(&self) -> io::Result<Seen> {
        let mut seen = Seen::default();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.parse().ok());
            let Some(pid) = number.and_then(Pid::from_raw) else { continue };
            // It may have ended by now.
            let Ok(stat) = pidfd::stat(pid) else { continue };
            seen.children.entry(stat.parent).or_default().push(pid);
            if let Some((leader, _)) = self.tie_of(pid, &stat)
                && pid != leader
            {
                seen.tied.entry(leader).or_default().push(pid);
            }
        }
        Ok(seen)
    }

    /// Whose process it is, and what tells that.
    fn tie_of(&self, pid: Pid, stat: &Stat) -> Option<(Pid, Tie)> {
        let leader = stat.leader()?;
        // What is about to end has no environment any more. To wait for it harms nobody, and with
        // an init, which ends after all others of its namespace, they must be waited for.
        let is_proven =
            |signs: &Signs| signs.proof.iter().all(|proof| stat.exiting || has_marker(pid, proof));
        if self.signs.get(&leader).is_some_and(|signs| is_proven(signs)) {
            return Some((leader, Tie::Group));
        }
        // Only where it can say something: it is read for each process of the machine.
        let own = (!self.marked.is_empty()).then(|| marks(pid, &self.names))?;
        Some((*self.marked.get(own.as_slice())?, Tie::Marks))
    }

    /// Those that live and are proven to be members by their group or marks.
    fn tied(&self, leader: Pid, seen: Option<&Vec<Pid>>) -> io::Result<Vec<Member>> {
        let mut members = Vec::new();
        for &pid in seen.into_iter().flatten() {
            if members.len() >= AT_ONCE {
                break;
            }
            // Opened first: what is then found to belong to the agent is what was opened.
            let Some(pidfd) = live(pid)? else { continue };
            let Ok(stat) = pidfd::stat(pid) else { continue };
            match self.tie_of(pid, &stat) {
                Some((found, tie)) if found == leader => members.push(Member { pid, pidfd, tie }),
                Some(_) | None => {}
            }
        }
        Ok(members)
    }
}

/// Those of `kin` that live, and whoever is told by nothing but a parent that is a member, or one
/// of `kin`.
fn descendants(
    leader: Pid,
    members: &[Member],
    kin: &[Member],
    children: &HashMap<i32, Vec<Pid>>,
) -> io::Result<Vec<Member>> {
    let mut known: HashSet<Pid> = members.iter().map(|member| member.pid).collect();
    let mut found = Vec::new();
    for one in kin {
        if !pidfd::has_ended(one.pidfd.as_fd())? && known.insert(one.pid) {
            found.push(one.try_clone()?);
        }
    }
    let mut read = 0;
    while let Some(parent) = members.iter().chain(&found).nth(read) {
        let (number, parent) = (parent.pid.as_raw_nonzero().get(), parent.pidfd.try_clone()?);
        for &pid in children.get(&number).into_iter().flatten() {
            if found.len() >= AT_ONCE || known.contains(&pid) {
                continue;
            }
            let Some(pidfd) = live(pid)? else { continue };
            let is_child = pidfd::stat(pid).is_ok_and(|stat| stat.parent == number);
            // Asked last: as it lives, the number was its own when it was read.
            if is_child && !pidfd::has_ended(parent.as_fd())? {
                known.insert(pid);
                found.push(Member { pid, pidfd, tie: Tie::Parent });
            }
        }
        read += 1;
    }
    found.retain(|member| member.pid != leader);
    Ok(found)
}

/// The process's pidfd, unless it has ended. A zombie has: it may wait for ever for a parent that
/// does not reap it.
fn live(pid: Pid) -> io::Result<Option<OwnedFd>> {
    let pidfd = match pidfd::open(pid) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    Ok((!pidfd::has_ended(pidfd.as_fd())?).then_some(pidfd))
}

/// The variables of these names, `NAME=value`, in the environment that it was started with.
fn marks(pid: Pid, names: &[&str]) -> Vec<String> {
    let environment = environment(pid);
    let variable = |name: &&str| {
        let mut all = environment.split(|byte| *byte == 0);
        let own = all.find(|variable| {
            variable.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='))
        })?;
        Some(String::from_utf8_lossy(own).into_owned())
    };
    names.iter().filter_map(variable).collect()
}

/// Whether this variable is in the environment that the process was started with.
fn has_marker(pid: Pid, marker: &str) -> bool {
    environment(pid).split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes())
}

/// Empty if it cannot be read.
fn environment(pid: Pid) -> Vec<u8> {
    fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default()
}

/// The pid that was given out last.
fn newest_pid() -> io::Result<String> {
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(load.rsplit(' ').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests;
