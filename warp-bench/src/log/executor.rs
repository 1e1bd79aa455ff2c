//! Many futures on one thread, without a runtime: what a program needs to await commits.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// Tasks that were woken, for the thread that polls them.
#[derive(Debug)]
struct Woken {
    tasks: Mutex<Vec<usize>>,
    thread: Thread,
}

#[derive(Debug)]
struct TaskWaker {
    task: usize,
    woken: Arc<Woken>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<TaskWaker>) {
        let mut tasks = self.woken.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push(self.task);
        let first = tasks.len() == 1;
        drop(tasks);
        // Whoever comes after the first finds the thread awake, or about to look.
        if first {
            self.woken.thread.unpark();
        }
    }
}

/// Polls all of them on this thread until each is done; returns what they answered, in their order.
pub(crate) fn run<T>(futures: Vec<Pin<Box<dyn Future<Output = T> + '_>>>) -> Vec<T> {
    let woken = Arc::new(Woken { tasks: Mutex::default(), thread: thread::current() });
    let wakers: Vec<Waker> = (0..futures.len())
        .map(|task| Waker::from(Arc::new(TaskWaker { task, woken: Arc::clone(&woken) })))
        .collect();
    let mut answers: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    let mut futures: Vec<_> = futures.into_iter().map(Some).collect();
    let mut left = futures.len();
    let mut ready: Vec<usize> = (0..futures.len()).collect();
    while left > 0 {
        for task in ready.drain(..) {
            // One that is done may have been woken once more.
            let Some(future) = &mut futures[task] else { continue };
            if let Poll::Ready(answer) = future.as_mut().poll(&mut Context::from_waker(&wakers[task])) {
                answers[task] = Some(answer);
                futures[task] = None;
                left -= 1;
            }
        }
        if left == 0 {
            break;
        }
        loop {
            std::mem::swap(&mut ready, &mut woken.tasks.lock().unwrap_or_else(PoisonError::into_inner));
            if !ready.is_empty() {
                break;
            }
            thread::park();
        }
    }
    answers.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    /// Ready at its second poll, for which another thread wakes it.
    struct Later(bool);

    impl Future for Later {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            if std::mem::replace(&mut self.0, true) {
                return Poll::Ready(());
            }
            let waker = context.waker().clone();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(5));
                waker.wake();
            });
            Poll::Pending
        }
    }

    #[test]
    fn all_are_polled_until_they_are_done() {
        let polls = Cell::new(0);
        let task = |number: u32| -> Pin<Box<dyn Future<Output = u32> + '_>> {
            let polls = &polls;
            Box::pin(async move {
                for _ in 0..3 {
                    Later(false).await;
                    polls.set(polls.get() + 1);
                }
                number
            })
        };
        assert_eq!(run((0..20).map(task).collect()), (0..20).collect::<Vec<_>>());
        assert_eq!(polls.get(), 60);
    }
}
