//! The primitives that threads meet through: those of the system, or those of a concurrency tester.
//!
//! `--cfg shuttle` builds the log over [shuttle](https://docs.rs/shuttle); see `src/models.rs`.

#[cfg(not(shuttle))]
pub(crate) use self::system::{Condvar, Mutex, Parker, Unparker, atomic, thread_local, yield_now};

#[cfg(shuttle)]
pub(crate) use self::tested::{Condvar, Mutex, Parker, Unparker, atomic, thread_local, yield_now};

#[cfg(not(shuttle))]
mod system {
    pub(crate) use std::sync::atomic;
    pub(crate) use std::thread::yield_now;
    pub(crate) use std::thread_local;

    pub(crate) use crossbeam_utils::sync::{Parker, Unparker};
    pub(crate) use parking_lot::{Condvar, Mutex};
}

/// What shuttle has, in the shape of what the system has.
#[cfg(shuttle)]
mod tested {
    use std::sync::Arc;
    use std::time::Duration;

    pub(crate) use shuttle::sync::MutexGuard;
    pub(crate) use shuttle::sync::atomic;
    pub(crate) use shuttle::thread::yield_now;
    pub(crate) use shuttle::thread_local;

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
    }

    /// Waits end at once, as if their time were up: time does not pass in a model.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar;

    impl Condvar {
        pub(crate) fn wait_for<T>(&self, _: &mut MutexGuard<'_, T>, _: Duration) {
            yield_now();
        }

        #[expect(clippy::unused_self, reason = "the shape of the system's")]
        pub(crate) fn notify_all(&self) {}
    }

    /// A token that a thread waits for.
    #[derive(Debug, Default)]
    pub(crate) struct Parker(Unparker);

    #[derive(Clone, Debug, Default)]
    pub(crate) struct Unparker(Arc<(shuttle::sync::Mutex<bool>, shuttle::sync::Condvar)>);

    impl Parker {
        pub(crate) fn new() -> Parker {
            Parker::default()
        }

        pub(crate) fn unparker(&self) -> &Unparker {
            &self.0
        }

        pub(crate) fn park(&self) {
            let (token, changed) = &*self.0.0;
            let mut token = token.lock().expect("a model that panics has failed already");
            while !*token {
                token = changed.wait(token).expect("a model that panics has failed already");
            }
            *token = false;
        }
    }

    impl Unparker {
        pub(crate) fn unpark(&self) {
            let (token, changed) = &*self.0;
            *token.lock().expect("a model that panics has failed already") = true;
            changed.notify_one();
        }
    }
}
