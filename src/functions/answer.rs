//! The answer of a healthcheck function: what it may return, and the macros that return early.

use std::error::Error;

use crate::model::check::{Finding, Reason};

/// What a function with [`#[healthcheck]`](crate::healthcheck) may return.
///
/// - `()`: it passes unless it panics.
/// - [`hospital::Result`]: the [`Reason`] decides between `fail`, `error`, `skip` and `warn`.
/// - `Result<(), E>` with any other error, a box of one (`Box<dyn Error>`, `anyhow::Error`) or text: an `Err` counts as
///   `error`, as with `?`.
///
/// `Via` tells apart what one trait could not be implemented for twice; it is inferred.
#[diagnostic::on_unimplemented(
    message = "a healthcheck cannot return `{Self}`",
    label = "this is not an answer of a healthcheck",
    note = "return `()`, `hospital::Result`, or `Result<(), E>` where E is an error, `Box<dyn Error>` or a `String`"
)]
pub trait Answer<Via = ()> {
    /// What the run found, according to the answer.
    fn finding(self) -> Finding;
}

impl Answer for () {
    fn finding(self) -> Finding {
        Finding::from(self)
    }
}

impl Answer for Result<(), Reason> {
    fn finding(self) -> Finding {
        Finding::from(self)
    }
}

// Not via `Into<Reason>`: `Box<dyn Error>` and `String` do not implement `Error`, yet people return them.
#[diagnostic::do_not_recommend]
impl<E: Into<Box<dyn Error>>> Answer for Result<(), E> {
    fn finding(self) -> Finding {
        Finding::from(self.map_err(|error| Reason::because(&*error.into())))
    }
}

/// How a box of an error that may go to other threads answers: the standard library does not make it a `Box<dyn Error>`.
#[doc(hidden)]
#[derive(Debug)]
pub struct Sendable;

#[diagnostic::do_not_recommend]
impl Answer<Sendable> for Result<(), Box<dyn Error + Send + Sync>> {
    fn finding(self) -> Finding {
        Finding::from(self)
    }
}

/// Fails the healthcheck unless a condition holds: the check decided, and the answer is no.
///
/// For functions that return [`hospital::Result`]. The reason is formatted like [`format!`]; without one it is the
/// condition itself.
///
/// ```
/// use hospital::Reason;
///
/// fn stock(items: u32) -> hospital::Result {
///     hospital::ensure!(items > 0, "expected something to sell, got {items} items");
///     hospital::ensure!(items < 1000);
///     Ok(())
/// }
///
/// assert_eq!(stock(12), Ok(()));
/// assert_eq!(stock(0), Err(Reason::Fail("expected something to sell, got 0 items".into())));
/// assert_eq!(stock(1000), Err(Reason::Fail("expected items < 1000".into())));
/// ```
#[macro_export]
macro_rules! ensure {
    ($condition:expr $(,)?) => {
        $crate::ensure!($condition, "expected {}", ::core::stringify!($condition))
    };
    ($condition:expr, $($reason:tt)+) => {
        if $condition {
        } else {
            return ::core::result::Result::Err($crate::Reason::Fail(::std::format!($($reason)+)));
        }
    };
}

/// Skips the healthcheck: what it verifies does not apply here and now.
///
/// For functions that return [`hospital::Result`]. The reason is formatted like [`format!`].
///
/// ```
/// use hospital::Reason;
///
/// fn payment(provider: Option<&str>) -> hospital::Result {
///     let Some(provider) = provider else { hospital::skip!("no provider is configured") };
///     hospital::ensure!(provider.contains(':'));
///     Ok(())
/// }
///
/// assert_eq!(payment(None), Err(Reason::Skip("no provider is configured".into())));
/// ```
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {
        return ::core::result::Result::Err($crate::Reason::Skip(::std::format!($($reason)+)))
    };
}

/// Ends the healthcheck with a warning: it passes still, but somebody should look.
///
/// For functions that return [`hospital::Result`]. The reason is formatted like [`format!`].
///
/// ```
/// use hospital::Reason;
///
/// fn stock(items: u32) -> hospital::Result {
///     hospital::ensure!(items > 0, "nothing is left to sell");
///     if items < 10 {
///         hospital::warn!("only {items} items are left");
///     }
///     Ok(())
/// }
///
/// assert_eq!(stock(7), Err(Reason::Warn("only 7 items are left".into())));
/// ```
#[macro_export]
macro_rules! warn {
    ($($reason:tt)+) => {
        return ::core::result::Result::Err($crate::Reason::Warn(::std::format!($($reason)+)))
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Status;
    use std::io;

    #[test]
    fn nothing_passes() {
        assert_eq!(().finding(), Finding::PASS);
        assert_eq!(Ok::<(), Reason>(()).finding(), Finding::PASS);
    }

    #[test]
    fn a_reason_keeps_its_kind() {
        let answer: Result<(), _> = Err(Reason::Skip("not here".into()));
        assert_eq!(answer.finding(), Finding::new(Status::Skip, "not here"));
    }

    #[test]
    fn every_other_error_is_an_error() {
        let error = || io::Error::other("no route");
        let boxed: Box<dyn Error> = error().into();
        let sendable: Box<dyn Error + Send + Sync> = error().into();
        assert_eq!(Err(error()).finding(), Finding::error("no route"));
        assert_eq!(Err(boxed).finding(), Finding::error("no route"));
        assert_eq!(Err(sendable).finding(), Finding::error("no route"));
        assert_eq!(Err("no route".to_owned()).finding(), Finding::error("no route"));
    }
}
