//! What a request asks for: requests can select checks, never define them. Pure.

use std::borrow::Cow;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::counters::RouteLabel;
use crate::model::duration;
use hospital_http::Method;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// The checks at or under this dotted path; all of them when it is empty.
    Checks(Cow<'a, str>, Query),
    /// Whether the worker is alive.
    Live(Query),
    /// Whether the service takes requests: the checks at or under this path, or all that decide on readiness if it is
    /// empty.
    Ready(Cow<'a, str>, Query),
    /// Whether each check that has a grace has started.
    Startup(Query),
    /// The last outcomes of the checks, and the counts of the service.
    Metrics(Query),
    /// Why the check at this path is as it is.
    Why(Cow<'a, str>, Query),
    /// What the check at this path was over time.
    History(Cow<'a, str>, Query),
    /// A path that is not under the prefix.
    Elsewhere,
    /// A method that is never allowed.
    NotAllowed,
    /// A target that cannot be read.
    Malformed,
}

impl Route<'_> {
    /// What it is counted under.
    pub(crate) fn label(&self) -> RouteLabel {
        match self {
            Route::Checks(..) => RouteLabel::Checks,
            Route::Live(_) => RouteLabel::Live,
            Route::Ready(..) => RouteLabel::Ready,
            Route::Startup(_) => RouteLabel::Startup,
            Route::Metrics(_) => RouteLabel::Metrics,
            Route::Why(..) => RouteLabel::Why,
            Route::History(..) => RouteLabel::History,
            Route::Elsewhere | Route::NotAllowed | Route::Malformed => RouteLabel::Other,
        }
    }
}

/// What follows the `?`. Unknown parameters are ignored, as browsers and probes add all sorts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Only the checks with one of these tags.
    pub tags: Vec<String>,
    /// Without the checks at or under these names.
    pub excluded: Vec<String>,
    /// With more about each check: 1 what is known of it, 2 what its run did, too.
    pub verbose: u8,
    /// Ask for the token where there is one.
    pub signin: bool,
    /// In this format, whatever Accept says.
    pub format: Option<String>,
    /// No finding of a check with a schedule may be older.
    pub max_age: Option<Result<Duration, String>>,
}

/// The highest level of `?verbose`.
const MOST_VERBOSE: u8 = 2;

/// The methods that are answered, for the Allow field of a 405.
pub(crate) const ALLOW: &str = "GET, HEAD, OPTIONS";

/// Finds out what a method and a request target (RFC 9112, 3.2) ask for. All paths are below `prefix`, which is empty
/// or begins with a slash.
pub fn route<'a>(method: Method, target: &'a str, prefix: &str) -> Route<'a> {
    match method {
        Method::Get | Method::Head | Method::Options => {}
        Method::Other => return Route::NotAllowed,
    }
    if target == "*" && method == Method::Options {
        return Route::Checks(Cow::Borrowed(""), Query::default());
    }
    let Some(target) = origin_form(target) else { return Route::Malformed };
    let (target, _) = cut(target, b'#');
    let (path, query) = cut(target, b'?');
    let (Some(path), Some(query)) = (decoded(path), Query::parse(query)) else { return Route::Malformed };
    match below(path, prefix) {
        None => Route::Elsewhere,
        Some(path) => match path.strip_suffix('/').unwrap_or(&path) {
            "livez" => Route::Live(query),
            "startupz" => Route::Startup(query),
            "metrics" => Route::Metrics(query),
            "readyz" => Route::Ready(Cow::Borrowed(""), query),
            "why" => Route::Why(Cow::Borrowed(""), query),
            "history" => Route::History(Cow::Borrowed(""), query),
            _ => {
                let part = |name: &str| path.strip_prefix(name)?.strip_prefix('/').map(|part| part.to_owned().into());
                match (part("readyz"), part("why"), part("history")) {
                    (Some(part), _, _) => Route::Ready(part, query),
                    (_, Some(part), _) => Route::Why(part, query),
                    (_, _, Some(part)) => Route::History(part, query),
                    (None, None, None) => Route::Checks(path, query),
                }
            }
        },
    }
}

/// The target without the authority of an absolute form, which we ignore; `None` if it has another form.
fn origin_form(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return Some(target);
    }
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        target.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme)).map(|_| &target[scheme.len()..])
    })?;
    Some(rest.find(['/', '?', '#']).map_or("", |end| &rest[end..]))
}

/// The text before the first such byte, and the text after it.
fn cut(text: &str, at: u8) -> (&str, &str) {
    text.bytes().position(|byte| byte == at).map_or((text, ""), |place| (&text[..place], &text[place + 1..]))
}

/// `None` if it is not percent-encoded correctly (RFC 3986, 2.1), not UTF-8, or has control characters.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    let is_encoded = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    let text = match text.bytes().any(|byte| byte == b'%') {
        false => Cow::Borrowed(text),
        true if text.split('%').skip(1).all(is_encoded) => percent_decode_str(text).decode_utf8().ok()?,
        true => return None,
    };
    (!text.contains(|c: char| c.is_control())).then_some(text)
}

/// The part of a path below the prefix, without the slash in between.
fn below<'a>(path: Cow<'a, str>, prefix: &str) -> Option<Cow<'a, str>> {
    let rest = path.strip_prefix(prefix)?;
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    let start = path.len() - rest.strip_prefix('/').unwrap_or(rest).len();
    Some(match path {
        Cow::Borrowed(path) => Cow::Borrowed(&path[start..]),
        Cow::Owned(path) => Cow::Owned(path[start..].to_owned()),
    })
}

impl Query {
    /// Reads `application/x-www-form-urlencoded` pairs; `None` if one cannot be decoded.
    fn parse(text: &str) -> Option<Query> {
        let mut query = Query::default();
        let is_on = |value: &str| !matches!(value, "0" | "false");
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = || decoded(&value.replace('+', " ")).map(Cow::into_owned);
            match name {
                "tag" => query.tags.push(value()?),
                "exclude" => query.excluded.push(value()?),
                "verbose" => {
                    let value = value()?;
                    query.verbose = if is_on(&value) { value.parse().unwrap_or(1).clamp(1, MOST_VERBOSE) } else { 0 };
                }
                "signin" => query.signin = is_on(&value()?),
                // `health+json` is a name: nobody means a space by its plus sign.
                "format" => query.format = Some(value()?.replace(' ', "+")),
                "max_age" => query.max_age = Some(duration::parse(&value()?)),
                _ => {}
            }
        }
        Some(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn checks(path: &str) -> Route<'_> {
        Route::Checks(path.into(), Query::default())
    }

    fn get(target: &str) -> Route<'_> {
        route(Method::Get, target, "")
    }

    #[test]
    fn every_form_of_target_is_read() {
        for (target, expected) in [
            ("/", checks("")),
            ("/?", checks("")),
            ("/?utm=1&x", checks("")),
            ("/hospital.healthchecks", checks("hospital.healthchecks")),
            ("/hospital%2Ehealthchecks?x=/y", checks("hospital.healthchecks")),
            ("/%2e%2e/x", checks("../x")),
            ("http://example.org/livez", Route::Live(Query::default())),
            ("HTTP://example.org", checks("")),
            ("http://example.org?next=/livez", checks("")),
            (
                "http://example.org?tag=a",
                Route::Checks("".into(), Query { tags: vec!["a".to_owned()], ..Query::default() }),
            ),
            ("http://example.org#/livez", checks("")),
            ("/livez", Route::Live(Query::default())),
            ("/livez/", Route::Live(Query::default())),
            ("/readyz/", Route::Ready("".into(), Query::default())),
            ("/startupz", Route::Startup(Query::default())),
            ("/metrics/", Route::Metrics(Query::default())),
            ("/readyz?x", Route::Ready("".into(), Query::default())),
            ("/readyz/db", Route::Ready("db".into(), Query::default())),
            ("/readyzzz", checks("readyzzz")),
            ("/why/db", Route::Why("db".into(), Query::default())),
            ("/why/disk%3A/", Route::Why("disk:/".into(), Query::default())),
            ("/why", Route::Why("".into(), Query::default())),
            ("/history/db", Route::History("db".into(), Query::default())),
            ("/whydb", checks("whydb")),
            ("/metrics", Route::Metrics(Query::default())),
            ("/metrics/x", checks("metrics/x")),
            ("/%ff", Route::Malformed),
            ("/%zz", Route::Malformed),
            ("/%e", Route::Malformed),
            ("/?tag=100%", Route::Malformed),
            ("/%00", Route::Malformed),
            ("/?tag=%ff", Route::Malformed),
            ("example.org:443", Route::Malformed),
            ("*", Route::Malformed),
        ] {
            assert_eq!(get(target), expected, "{target}");
        }
        assert_eq!(route(Method::Options, "*", ""), checks(""));
    }

    #[test]
    fn a_query_selects() {
        let Route::Checks(_, query) = get("/?tag=a&tag=b+c&exclude=x.y&verbose&format=health+json&unknown=1&max_age=5")
        else {
            panic!("it is a path")
        };
        assert_eq!(query.tags, ["a", "b c"]);
        assert_eq!(query.excluded, ["x.y"]);
        assert_eq!(query.verbose, 1);
        assert_eq!(query.max_age, Some(Ok(Duration::from_secs(5))));
        assert_eq!(query.format.as_deref(), Some("health+json"));
    }

    #[test]
    fn no_check_can_be_called_like_a_path_of_the_endpoint() {
        for path in ["livez", "readyz", "startupz", "metrics", "why", "history"] {
            assert!(!matches!(get(&format!("/{path}")), Route::Checks(..)));
            assert!(crate::model::id::RESERVED.contains(&path), "{path}");
        }
    }

    #[test]
    fn everything_stands_under_the_prefix() {
        let under = |target| route(Method::Get, target, "/healthchecks");
        assert_eq!(under("/healthchecks"), checks(""));
        assert_eq!(under("/healthchecks/"), checks(""));
        assert_eq!(under("/healthchecks/db"), checks("db"));
        assert_eq!(under("/healthchecks/livez"), Route::Live(Query::default()));
        assert_eq!(under("/healthchecksdb"), Route::Elsewhere);
        assert_eq!(under("/livez"), Route::Elsewhere);
    }

    #[test]
    fn a_method_that_would_change_something_is_not_allowed() {
        assert_eq!(route(Method::Other, "/", ""), Route::NotAllowed);
    }

    proptest! {
        #[test]
        fn nothing_panics(target in ".*", prefix in "(/[a-z]{0,3})?") {
            let _ = route(Method::Get, &target, &prefix);
        }
    }
}
