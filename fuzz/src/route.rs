//! A request target, in several methods and under several prefixes.

use std::fmt::Write;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use hospital::endpoint::route::{Query, Route, route};
use hospital_http::Method;

const METHODS: [Method; 4] = [Method::Get, Method::Head, Method::Options, Method::Other];
const PREFIXES: [&str; 3] = ["", "/healthchecks", "/a/b"];

/// Routes it, and judges the result. The first byte chooses the method and the prefix.
///
/// # Panics
///
/// When something does not hold, which the fuzzer is looking for.
pub fn find(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    // The connection lets nothing else through.
    let Ok(target) = std::str::from_utf8(bytes) else { return };
    let method = METHODS[usize::from(choice) % METHODS.len()];
    let prefix = PREFIXES[usize::from(choice) / METHODS.len() % PREFIXES.len()];
    let found = route(method, target, prefix);
    judge(&found, method, prefix);
    if target.starts_with('/') {
        let below = format!("{prefix}{target}");
        assert_eq!(
            route(method, &below, prefix),
            route(method, target, ""),
            "{prefix} makes a difference to {target:?}"
        );
    }
}

fn judge(found: &Route<'_>, method: Method, prefix: &str) {
    let (path, query) = match found {
        Route::Checks(path, query) => (path.to_string(), query),
        Route::Ready(path, query) if path.is_empty() => ("readyz".to_owned(), query),
        Route::Ready(path, query) => (format!("readyz/{path}"), query),
        Route::Why(path, query) => (format!("why/{path}"), query),
        Route::History(path, query) => (format!("history/{path}"), query),
        Route::Live(query) => ("livez".to_owned(), query),
        Route::Startup(query) => ("startupz".to_owned(), query),
        Route::Metrics(query) => ("metrics".to_owned(), query),
        Route::NotAllowed => return assert_eq!(method, Method::Other),
        Route::Elsewhere => return assert!(!prefix.is_empty()),
        Route::Malformed => return,
    };
    assert_ne!(method, Method::Other);
    let Query { tags, excluded, verbose: _, signin: _, format, max_age: _ } = query;
    for text in [&path].into_iter().chain(tags).chain(excluded).chain(format) {
        assert!(!text.contains(char::is_control), "{text:?} would break a line of the log");
    }
    // What was understood can be written again, and means the same.
    let again = written(&path, query, prefix);
    assert_eq!(&route(method, &again, prefix), found, "{again}");
}

fn written(path: &str, Query { tags, excluded, verbose, signin, format, max_age }: &Query, prefix: &str) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut target = format!("{prefix}/{}?", encoded(path));
    let values = tags.iter().map(|tag| ("tag", tag)).chain(excluded.iter().map(|name| ("exclude", name)));
    for (name, value) in values.chain(format.iter().map(|format| ("format", format))) {
        write!(target, "{name}={}&", encoded(value)).expect("a string takes all");
    }
    if let Some(age) = max_age {
        let age = match age {
            Ok(age) => format!("{}s%20{}ns", age.as_secs(), age.subsec_nanos()),
            Err(_) => "no%20time".to_owned(),
        };
        write!(target, "max_age={age}&").expect("a string takes all");
    }
    write!(target, "verbose={verbose}&").expect("a string takes all");
    if *signin {
        target.push_str("signin&");
    }
    target
}
