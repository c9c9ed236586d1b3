//! `PIDFD_GET_INFO`: how a process ended, asked of its pidfd.
//!
//! The only unsafe code of this project: neither std nor rustix offers this call. It is sound
//! because the kernel writes at most the size of [`Info`], which is part of the call's number,
//! into memory that is borrowed for the call, and every bit pattern is a valid `Info`.

#![expect(unsafe_code, reason = "a system call that no safe wrapper offers; see above")]

use std::ffi::c_void;
use std::os::fd::BorrowedFd;

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};

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

struct GetInfo<'a>(&'a mut Info);

// SAFETY: the opcode names a call that reads and writes one `Info`, and `as_ptr` points to one
// that lives, and is not used otherwise, as long as `self`.
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

/// The wait status of a process that has ended; none if the kernel does not tell.
pub(super) fn wait_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = Info { mask: EXIT, ..Info::default() };
    // SAFETY: a pidfd knows this call, or refuses it; anything else than a pidfd refuses it too.
    unsafe { ioctl(pidfd, GetInfo(&mut info)) }.ok()?;
    (info.mask & EXIT != 0).then_some(info.exit_code)
}
