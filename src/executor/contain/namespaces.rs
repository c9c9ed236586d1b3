//! Making the namespaces of an agent, and what process 1 of them needs to see.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use rustix::thread::{
    CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities,
};

/// Makes the PID namespace that children of this process are born into, and a mount namespace, for
/// a `/proc` that shows the former. Who may not make those makes a user namespace first, and is in
/// it who they were.
pub(super) fn enter() -> io::Result<()> {
    let wanted = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS;
    match unshare(wanted) {
        Err(Errno::EPERM) => {}
        done => return Ok(done?),
    }
    let (user, group) = (geteuid(), getegid());
    unshare(wanted | CloneFlags::CLONE_NEWUSER)?;
    // Without that nobody but root may map a group.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    keep_mounting()
}

/// An exec takes from all but root what they may do in their user namespace, unless told not to.
fn keep_mounting() -> io::Result<()> {
    let mut own = capabilities(None)?;
    own.inheritable |= CapabilitySet::SYS_ADMIN;
    set_capabilities(None, own)?;
    Ok(configure_capability_in_ambient_set(CapabilitySet::SYS_ADMIN, true)?)
}

/// It is no concern of the agent's.
fn stop_mounting() -> io::Result<()> {
    let mut own = capabilities(None)?;
    own.inheritable -= CapabilitySet::SYS_ADMIN;
    Ok(set_capabilities(None, own)?)
}

/// Shows this namespace in `/proc`. Where that is not allowed, as below a masked `/proc` of a
/// container, the one of the runner's namespace stays: `/proc/self` is right there too, but the
/// numbers in it are others than those that an agent sees.
pub(super) fn mount_proc() -> io::Result<()> {
    let none = None::<&str>;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // Never without the first: the runner would see it too.
    let _ = mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)
        .and_then(|()| mount(Some("proc"), "/proc", Some("proc"), flags, none));
    stop_mounting()
}
