//! What callbacks leave for a test to await.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// An unbounded queue of one thread.
#[derive(Clone, Debug)]
pub(super) struct Mailbox<T>(Rc<RefCell<(VecDeque<T>, Option<Waker>)>>);

impl<T> Mailbox<T> {
    pub(super) fn new() -> Self {
        Self(Rc::new(RefCell::new((VecDeque::new(), None))))
    }

    pub(super) fn put(&self, value: T) {
        let (values, waker) = &mut *self.0.borrow_mut();
        values.push_back(value);
        if let Some(waker) = waker.take() {
            waker.wake();
        }
    }

    /// The next value, once there is one.
    pub(super) async fn next(&self) -> T {
        poll_fn(|context| {
            let (values, waker) = &mut *self.0.borrow_mut();
            match values.pop_front() {
                Some(value) => Poll::Ready(value),
                None => {
                    *waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The next value that is wanted; those before it are dropped.
    pub(super) async fn find(&self, wanted: impl Fn(&T) -> bool) -> T {
        loop {
            let value = self.next().await;
            if wanted(&value) {
                return value;
            }
        }
    }
}
