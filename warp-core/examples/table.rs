//! A table with two writers, a reader beside them, and a list of what changed.
//!
//! `cargo run --example table`

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use warp_core::{KeyRef, Table, TableFull, Value};

/// How often each writer adds one.
const ADDITIONS: u64 = 10_000;

fn main() -> Result<(), TableFull> {
    let table = Table::new(16, 42);
    let next_seq = AtomicU64::new(1);
    let counter = KeyRef::new(42, 0, b"counter");

    thread::scope(|scope| {
        let writers = [(); 2].map(|()| {
            scope.spawn(|| {
                for _ in 0..ADDITIONS {
                    // Nobody else writes the key between the get and the put.
                    let mut guard = table.lock(counter.hash);
                    let count =
                        guard.get(counter).map_or(0, |entry| number(&entry.value.unwrap_or_default()));
                    let seq = next_seq.fetch_add(1, Ordering::Relaxed);
                    guard.put(table.prepare(counter, &(count + 1).to_le_bytes(), 0)?, seq);
                }
                Ok(())
            })
        });
        // A reader needs no guard, and never sees the count go back.
        let mut last = 0;
        while last < 2 * ADDITIONS {
            let count = table.get(counter).map_or(0, |entry| number(&entry.value.unwrap_or_default()));
            assert!(count >= last);
            last = count;
        }
        writers.into_iter().try_for_each(|writer| writer.join().expect("a writer does not panic"))
    })?;

    // However often it was written, the key is listed once.
    let changed = table.close_lists(|| next_seq.load(Ordering::Relaxed));
    println!(
        "{} writes, {} key changed, {} bytes held",
        2 * ADDITIONS,
        changed.len(),
        table.memory().total()
    );
    assert_eq!(changed, [counter.hash]);
    Ok(())
}

/// The count that a value holds; 0 if it is none.
fn number(value: &Value) -> u64 {
    value.as_slice().try_into().map_or(0, u64::from_le_bytes)
}
