//! Client threads: the same work on several at once.

use std::thread;

use crate::run::Outcome;

/// Runs `work`, told its number from 0, on `count` threads, and gathers what they answer.
///
/// # Errors
/// The first error of any of them; that one panicked.
pub(crate) fn clients<T: Send>(count: usize, work: impl Fn(usize) -> Outcome<T> + Sync) -> Outcome<Vec<T>> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || work(number))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a client thread panicked".into())))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_its_number_and_errors_come_back() {
        assert_eq!(clients(3, |number| Ok(number * 10)).unwrap(), [0, 10, 20]);
        assert!(clients(3, |number| if number == 1 { Err("no".into()) } else { Ok(()) }).is_err());
    }
}
