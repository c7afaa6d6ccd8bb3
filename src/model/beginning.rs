//! A run that has to wait until it can begin, as for a fork, tells when it has: others follow it then.

use std::cell::Cell;

type Begun = Box<dyn FnOnce()>;

thread_local! {
    /// Who is told.
    static BEGUN: Cell<Option<Begun>> = const { Cell::new(None) };
}

/// Calls `run`, and `begun` once that has begun, or is over without having told so.
pub(crate) fn told<T>(begun: impl FnOnce() + 'static, run: impl FnOnce() -> T) -> T {
    BEGUN.set(Some(Box::new(begun)));
    let found = run();
    tell();
    found
}

/// The run that goes on in this thread has begun.
pub(crate) fn tell() {
    if let Some(begun) = BEGUN.take() {
        begun();
    }
}
