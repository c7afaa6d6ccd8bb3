//! Panics of checks: contained, and turned into a message with their place instead of output on standard error.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, Location, PanicHookInfo, catch_unwind};
use std::sync::Once;

thread_local! {
    static THREAD: RefCell<PanicOwner> = const { RefCell::new(PanicOwner::Free) };
}

/// The owner of a panic of this thread.
enum PanicOwner {
    /// The program: it is reported as usual.
    Free,
    /// [`contain`], with the place of the last panic.
    Contained(Option<String>),
}

/// Calls `action`. A panic in it prints nothing and becomes the error: its message and its place.
///
/// With `panic = "abort"` nothing can be contained, and a panic ends the process.
pub(crate) fn contain<T>(action: impl FnOnce() -> T) -> Result<T, String> {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| note(panic).unwrap_or_else(|| others(panic))));
    });

    let outer = THREAD.replace(PanicOwner::Contained(None));
    // A panic may leave the action's own data half changed, as in a test.
    let result = catch_unwind(AssertUnwindSafe(action));
    let inner = THREAD.replace(outer);

    result.map_err(|payload| {
        let told = match inner {
            PanicOwner::Contained(Some(place)) => format!("{} (at {place})", message(&*payload)),
            // A hook that was set after ours did not call it.
            PanicOwner::Contained(None) | PanicOwner::Free => message(&*payload).to_owned(),
        };
        // Dropping the payload runs the action's code, too.
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(another);
        }
        told
    })
}

/// Notes the place of a panic that is contained; `None` if it is not ours.
fn note(panic: &PanicHookInfo) -> Option<()> {
    THREAD.with_borrow_mut(|state| match state {
        PanicOwner::Free => None,
        PanicOwner::Contained(place) => {
            *place = panic.location().map(spoken);
            Some(())
        }
    })
}

fn spoken(place: &Location) -> String {
    format!("{}:{}", place.file(), place.line())
}

fn message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "panicked with a value that is not text"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_its_place() {
        let line = line!() + 1;
        let told = contain(|| panic!("got {}", 7)).map(|(): ()| "no panic");
        assert_eq!(told, Err(format!("got 7 (at {}:{line})", file!())));
    }

    #[test]
    fn a_panic_inside_one_that_is_contained_is_told_to_the_inner_one() {
        let told = contain(|| contain(|| panic!("inner")).map(|(): ()| "no panic"));
        let inner = told.expect("the outer one saw no panic");
        assert!(inner.expect_err("the inner one saw it").starts_with("inner (at "));
        assert!(THREAD.with_borrow(|state| matches!(state, PanicOwner::Free)));
    }

    #[test]
    fn a_value_that_is_no_text_is_named_as_such() {
        let told = contain(|| std::panic::panic_any(7)).map(|(): ()| "no panic");
        assert!(told.expect_err("it panicked").starts_with("panicked with a value that is not text (at "));
    }
}
