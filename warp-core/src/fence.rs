//! A fence whose price is paid by those who seldom need it.
//!
//! A reader says that it is about to read, and then reads; who frees memory says that it is gone, and then looks who
//! is reading. Each must not miss the other, for which both need a full fence. Readers are many and collections few:
//! where the system has [`membarrier(2)`](https://man7.org/linux/man-pages/man2/membarrier.2.html), the reader's
//! fence only keeps the compiler from reordering, and the other side has the kernel run a full fence on every
//! processor that runs a thread of this process. liburcu and folly's hazard pointers do the same.

#![cfg_attr(
    all(target_os = "linux", not(any(miri, loom, shuttle))),
    expect(unsafe_code, reason = "the system call has no safe wrapper")
)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, compiler_fence};

use crate::sync::atomic::fence;

#[cfg(all(target_os = "linux", not(any(miri, loom, shuttle))))]
use libc::{
    MEMBARRIER_CMD_PRIVATE_EXPEDITED as FENCE_ALL, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED as REGISTER,
};

/// Whether the system did as asked. It refuses what it does not know.
#[cfg(all(target_os = "linux", not(any(miri, loom, shuttle))))]
fn membarrier(command: libc::c_int) -> bool {
    const NO_FLAGS: libc::c_uint = 0;
    const ANY_CPU: libc::c_int = 0;
    // SAFETY: the call reads and writes no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, NO_FLAGS, ANY_CPU) == 0 }
}

/// Elsewhere both sides fence.
#[cfg(not(all(target_os = "linux", not(any(miri, loom, shuttle)))))]
fn membarrier(_command: i32) -> bool {
    false
}
#[cfg(not(all(target_os = "linux", not(any(miri, loom, shuttle)))))]
const REGISTER: i32 = 0;
#[cfg(not(all(target_os = "linux", not(any(miri, loom, shuttle)))))]
const FENCE_ALL: i32 = 0;

/// Whether readers may leave the fence to the other side. Only ever set after the process was registered for it.
static IS_LEFT_TO_HEAVY: AtomicBool = AtomicBool::new(false);

/// Registers the process, once; whether the kernel fences for readers from then on.
fn register() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| {
        let registered = membarrier(REGISTER);
        IS_LEFT_TO_HEAVY.store(registered, Ordering::SeqCst);
        registered
    })
}

/// Makes [`light`] as cheap as it can be on this system.
pub(crate) fn prepare() {
    register();
}

/// The reader's side: what it stored before is seen by whoever calls [`heavy`] later, or what that one stored before
/// is seen by the reader's loads from here on.
#[inline]
pub(crate) fn light() {
    // A reader that still sees `false` fences itself, which is right whatever the other side does.
    if IS_LEFT_TO_HEAVY.load(Ordering::Relaxed) {
        compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

/// The other side. `false` if the kernel refused, so that nothing may be concluded about readers.
#[must_use]
pub(crate) fn heavy() -> bool {
    // Registering waits for a registration that is under way: no reader is light before this knows of it.
    let is_left_to_us = register();
    fence(Ordering::SeqCst);
    !is_left_to_us || membarrier(FENCE_ALL)
}
