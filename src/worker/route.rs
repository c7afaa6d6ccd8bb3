//! What a request asks for. Pure.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::connection::Method;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// The checks at or under this dotted path; all of them when it is empty.
    Checks(Cow<'a, str>),
    /// Whether the worker lives.
    Live,
    /// Whether the service takes requests.
    Ready,
    /// A method that is never allowed.
    NotAllowed,
    /// A target that cannot be read.
    Malformed,
}

/// The methods that are answered, for the Allow field of a 405.
pub(crate) const ALLOW: &str = "Allow: GET, HEAD, OPTIONS\r\n";

/// Finds out what a method and a request target (RFC 9112, 3.2) ask for.
pub(crate) fn route(method: Method, target: &str) -> Route<'_> {
    match method {
        Method::Get | Method::Head | Method::Options => {}
        Method::Other => return Route::NotAllowed,
    }
    let Some(path) = path(method, target) else { return Route::Malformed };
    match percent_decode_str(path).decode_utf8() {
        Ok(path) if path == "livez" => Route::Live,
        Ok(path) if path == "readyz" => Route::Ready,
        Ok(path) if path.contains(|c: char| c.is_control()) => Route::Malformed,
        Ok(path) => Route::Checks(path),
        Err(_) => Route::Malformed,
    }
}

/// The path of the target without its first slash; `None` if it has none.
fn path(method: Method, target: &str) -> Option<&str> {
    if target == "*" && method == Method::Options {
        return Some("");
    }
    let target = target.split(['?', '#']).next().unwrap_or_default();
    if let Some(path) = target.strip_prefix('/') {
        return Some(path);
    }
    // The absolute form: which authority it names is not our concern.
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        target.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme)).map(|_| &target[scheme.len()..])
    })?;
    Some(rest.split_once('/').map_or("", |(_, path)| path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn checks(path: &str) -> Route<'_> {
        Route::Checks(path.into())
    }

    #[test]
    fn every_form_of_target_is_read() {
        for (target, expected) in [
            ("/", checks("")),
            ("/?verbose", checks("")),
            ("/hospital.healthchecks", checks("hospital.healthchecks")),
            ("/hospital%2Ehealthchecks?x=/y", checks("hospital.healthchecks")),
            ("http://example.org/livez", Route::Live),
            ("HTTP://example.org", checks("")),
            ("/livez", Route::Live),
            ("/readyz?x", Route::Ready),
            ("/%ff", Route::Malformed),
            ("/%00", Route::Malformed),
            ("example.org:443", Route::Malformed),
            ("*", Route::Malformed),
        ] {
            assert_eq!(route(Method::Get, target), expected, "{target}");
        }
        assert_eq!(route(Method::Options, "*"), checks(""));
    }

    #[test]
    fn a_method_that_would_change_something_is_not_allowed() {
        assert_eq!(route(Method::Other, "/"), Route::NotAllowed);
    }

    proptest! {
        #[test]
        fn nothing_panics(target in ".*") {
            let _ = route(Method::Get, &target);
        }
    }
}
