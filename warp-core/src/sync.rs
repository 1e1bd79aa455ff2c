//! The primitives that threads meet through: those of the system, or those of a concurrency tester.
//!
//! `--cfg shuttle` builds the table over [shuttle](https://docs.rs/shuttle), `--cfg loom` its smallest parts over
//! [loom](https://docs.rs/loom); see `src/models.rs`.

#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::sync::atomic;

#[cfg(loom)]
pub(crate) use loom::sync::atomic;

#[cfg(all(shuttle, not(loom)))]
pub(crate) use shuttle::sync::atomic;

#[cfg(not(shuttle))]
pub(crate) use parking_lot::{Mutex, MutexGuard};

#[cfg(shuttle)]
pub(crate) use tested::{Mutex, MutexGuard};

/// A lock of shuttle's, in the shape of parking_lot's.
#[cfg(shuttle)]
mod tested {
    pub(crate) use shuttle::sync::MutexGuard;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Mutex<T> {
            Mutex(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a model that panics has failed already")
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().expect("a model that panics has failed already")
        }
    }
}
