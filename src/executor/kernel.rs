//! System calls that neither std nor any library we use offers in a safe form.
//!
//! The only unsafe code of this project.

#![expect(
    unsafe_code,
    reason = "system calls that no safe wrapper offers; each says why it is sound"
)]

use std::ffi::c_void;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::libc;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};
use rustix::process::Pid;

/// `struct pidfd_info` in its first version (linux/pidfd.h).
#[repr(C)]
#[derive(Debug, Default)]
struct Info {
    mask: u64,
    cgroup_id: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// `PIDFD_INFO_EXIT`: ask for, and have, the exit code.
const EXIT: u64 = 1 << 3;

/// `PIDFD_GET_INFO`.
struct GetInfo<'a>(&'a mut Info);

// SAFETY: the opcode names a call that reads and writes one `Info`, and `as_ptr` points to one
// that lives, and is not used otherwise, as long as `self`. The kernel writes at most the size of
// `Info`, which is part of the call's number, and every bit pattern is a valid `Info`.
unsafe impl Ioctl for GetInfo<'_> {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::read_write::<Info>(0xFF, 11)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self.0).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<Self::Output> {
        Ok(())
    }
}

/// The wait status of a process that has ended, asked of its pidfd; none if the kernel does not
/// tell.
pub(super) fn wait_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = Info { mask: EXIT, ..Info::default() };
    // SAFETY: a pidfd knows this call, or refuses it; anything else than a pidfd refuses it too.
    unsafe { ioctl(pidfd, GetInfo(&mut info)) }.ok()?;
    (info.mask & EXIT != 0).then_some(info.exit_code)
}

/// Has each signal do what it does by default, but for SIGPIPE, which std keeps ignored and gives
/// back at an exec. A process is born ignoring what its parent ignored: under `nohup`, or in the
/// background of a script, nobody would end by SIGHUP or SIGINT.
pub(super) fn ignore_no_signal() {
    for number in (1..=libc::SIGRTMAX()).filter(|number| *number != libc::SIGPIPE) {
        // SAFETY: no code of this process runs for it, and what is no signal, or cannot be changed,
        // is refused.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

/// That this process has one thread, and so may be copied: a copy has only the thread that made
/// it, and would wait for ever for what another one had locked.
#[derive(Debug)]
pub(super) struct SingleThreaded(());

/// Which of the two a process is after it was copied.
#[derive(Debug)]
pub(super) enum Copied {
    /// The new one.
    Sibling,
    /// The old one, which is told the number of the new one.
    Original(Pid),
}

impl SingleThreaded {
    /// Makes sure of it. Nothing may start a thread after this.
    ///
    /// # Errors
    /// If there are more threads, or `/proc` does not tell.
    pub(super) fn prove() -> io::Result<Self> {
        match fs::read_dir("/proc/self/task")?.count() {
            1 => Ok(Self(())),
            threads => Err(io::Error::other(format!("{threads} threads"))),
        }
    }

    /// Copies this process. The copy is a child of this one's parent, and is born in `cgroup` if
    /// one is given, which costs nothing; to be moved there later makes the kernel wait for all
    /// processors.
    ///
    /// # Errors
    /// Those of clone(2), and of the cgroup.
    #[expect(clippy::unused_self, reason = "it is the proof that this may be called")]
    pub(super) fn copy(&self, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Copied> {
        let copied = match cgroup {
            None => {
                let flags = libc::c_long::from(libc::CLONE_PARENT | libc::SIGCHLD);
                // SAFETY: without CLONE_VM the copy has its own memory, and uses the same stack
                // in it; no other pointer is given. There is one thread, so the copy may do
                // whatever the original may.
                unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) }
            }
            Some(cgroup) => {
                // SAFETY: zero is a valid value of each of its integers.
                let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
                args.flags = CLONE_PARENT | CLONE_INTO_CGROUP;
                args.cgroup = cgroup.as_raw_fd().unsigned_abs().into();
                let size = size_of::<libc::clone_args>();
                // SAFETY: as above; `args` lives through the call and is as long as it says.
                unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size) }
            }
        };
        match i32::try_from(copied) {
            Ok(0) => Ok(Copied::Sibling),
            Ok(pid) if pid > 0 => Pid::from_raw(pid).map(Copied::Original).ok_or_else(last_error),
            Ok(_) | Err(_) => Err(last_error()),
        }
    }
}

const CLONE_PARENT: u64 = libc::CLONE_PARENT as u64;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

fn last_error() -> io::Error {
    io::Error::last_os_error()
}
