//! One load of a key at a time: who comes while it runs waits for it.

use parking_lot::{Condvar, Mutex};

/// A load that is under way.
#[derive(Debug)]
pub(crate) struct Flight<K, V> {
    key: K,
    state: Mutex<State<V>>,
    landed: Condvar,
}

#[derive(Debug)]
enum State<V> {
    Loading,
    Loaded(V),
    Failed,
}

impl<K, V: Clone> Flight<K, V> {
    pub(crate) fn new(key: K) -> Flight<K, V> {
        Flight { key, state: Mutex::new(State::Loading), landed: Condvar::new() }
    }

    pub(crate) fn key(&self) -> &K {
        &self.key
    }

    /// Waits for the end. `None` if the load failed or panicked: then somebody else may try.
    pub(crate) fn wait(&self) -> Option<V> {
        let mut state = self.state.lock();
        loop {
            match &*state {
                State::Loading => self.landed.wait(&mut state),
                State::Loaded(value) => return Some(value.clone()),
                State::Failed => return None,
            }
        }
    }

    /// Ends the flight and wakes all who wait. The first end counts.
    pub(crate) fn land(&self, value: Option<V>) {
        let mut state = self.state.lock();
        if matches!(*state, State::Loading) {
            *state = value.map_or(State::Failed, State::Loaded);
            self.landed.notify_all();
        }
    }
}
