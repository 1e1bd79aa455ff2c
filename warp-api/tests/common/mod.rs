//! What several tests need: engines on a simulated disk with a clock that is moved by hand.
#![allow(dead_code, reason = "each test uses some of it")]

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Wake;
use std::time::Duration;

use warp_api::{Background, Environment, Options, PutOptions, WarpEngine};
use warp_io::{Clock, SimClock, SimDisk};

/// Unix milliseconds at which simulated time starts.
pub(crate) const START_MILLIS: u64 = 1_700_000_000_000;

/// `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    /// In `0.0..1.0`.
    pub(crate) fn share(&mut self) -> f64 {
        self.below(1 << 20) as f64 / f64::from(1 << 20)
    }
}

/// Waits, for a minute at most, until `is_so`; returns whether it is.
pub(crate) fn wait_until(is_so: impl Fn() -> bool) -> bool {
    (0..6_000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        is_so()
    })
}

/// A simulated machine: a disk, and a clock.
pub(crate) struct Machine {
    pub(crate) disk: SimDisk,
    pub(crate) clock: SimClock,
}

impl Machine {
    pub(crate) fn new(seed: u64) -> Machine {
        Machine { disk: SimDisk::new(seed), clock: SimClock::new(START_MILLIS) }
    }

    pub(crate) fn environment(&self) -> Environment {
        Environment {
            clock: Arc::new(self.clock.clone()),
            seed: 7,
            background: Background::Stepped,
            ..Environment::default()
        }
    }

    /// Opens an engine whose looks at entries with a deadline may be interrupted.
    pub(crate) fn open_interruptible(&self, options: Options) -> (WarpEngine, Interruptions) {
        let interruptions = Interruptions { clock: self.clock.clone(), next: Arc::default() };
        let environment = Environment { clock: Arc::new(interruptions.clone()), ..self.environment() };
        (options.open_in(&self.disk.root(), environment).unwrap(), interruptions)
    }

    /// The same machine after a crash that left `disk`.
    pub(crate) fn with_disk(&self, disk: SimDisk) -> Machine {
        Machine { disk, clock: self.clock.clone() }
    }

    pub(crate) fn open(&self, options: Options) -> WarpEngine {
        self.try_open(options).unwrap()
    }

    pub(crate) fn try_open(&self, options: Options) -> warp_api::Result<WarpEngine> {
        options.open_in(&self.disk.root(), self.environment())
    }

    /// Opens an engine with another seed than that of [`Machine::environment`]: another database.
    pub(crate) fn open_with_seed(&self, options: Options, seed: u64) -> WarpEngine {
        options.open_in(&self.disk.root(), Environment { seed, ..self.environment() }).unwrap()
    }

    /// Lets time pass in steps of 10 ms, doing the background work that is due after each.
    pub(crate) fn pass(&self, engine: &WarpEngine, time: Duration) {
        let step = Duration::from_millis(10);
        for _ in 0..time.as_millis() / step.as_millis() {
            self.clock.advance(step);
            engine.step();
        }
    }
}

/// A clock that does something of the test's when the engine asks whether an entry has expired. What is put with
/// [`lasting`] is asked about whenever it is looked at; so a test makes two things happen at once, at a chosen
/// place, and in one thread.
#[derive(Clone)]
pub(crate) struct Interruptions {
    clock: SimClock,
    next: Arc<Mutex<Option<Interruption>>>,
}

/// What is done, after so many looks.
type Interruption = (u32, Box<dyn FnOnce() + Send>);

impl Interruptions {
    /// Does `action` at the next look at an entry.
    pub(crate) fn at_next_look(&self, action: impl FnOnce() + Send + 'static) {
        self.at_look(0, action);
    }

    /// Does `action` at the look after so many others.
    pub(crate) fn at_look(&self, looks: u32, action: impl FnOnce() + Send + 'static) {
        *self.next.lock().unwrap() = Some((looks, Box::new(action)));
    }

    /// Whether the action was done.
    pub(crate) fn is_done(&self) -> bool {
        self.next.lock().unwrap().is_none()
    }
}

impl fmt::Debug for Interruptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.clock.fmt(f)
    }
}

impl Clock for Interruptions {
    fn unix_millis(&self) -> u64 {
        let action = {
            let mut next = self.next.lock().unwrap();
            match &mut *next {
                Some((looks @ 1.., _)) => {
                    *looks -= 1;
                    None
                }
                _ => next.take(),
            }
        };
        if let Some((_, action)) = action {
            action();
        }
        self.clock.unix_millis()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

/// A deadline that no test comes to.
pub(crate) fn lasting() -> PutOptions {
    PutOptions::new().ttl(Duration::from_secs(1_000_000))
}

/// Small segments and buffers, so that little work fills them.
pub(crate) fn small() -> Options {
    Options::new().log_segment_bytes(64 << 10).log_buffer_bytes(16 << 10)
}

/// All entries of an engine.
pub(crate) fn entries(engine: &WarpEngine) -> BTreeMap<Vec<u8>, Vec<u8>> {
    engine.iter().map(|item| item.unwrap()).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

/// Prints a line past the test harness, which keeps what a passing test prints to itself.
pub(crate) fn report(text: &str) {
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
}

/// A waker that counts.
#[derive(Default)]
pub(crate) struct Wakes(pub(crate) AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Wakes>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
