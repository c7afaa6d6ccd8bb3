//! Where a redirect leads, and with which method.

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use super::SCHEMES;

/// What servers write in a Location though a URL may not hold it, and clients encode for them.
const ENCODED: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// Where an answer sends the client, if it does: what its Location says.
pub(super) fn location<B>(answer: &Response<B>) -> Option<String> {
    match answer.status().as_u16() {
        301 | 302 | 303 | 307 | 308 => {
            let location = answer.headers().get(header::LOCATION)?;
            Some(percent_encode(location.as_bytes(), ENCODED).to_string())
        }
        _ => None,
    }
}

/// The method of the request that follows, as browsers and RFC 9110 (15.4) have it.
pub(super) fn method(before: Method, status: StatusCode) -> Method {
    match status {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND if before == Method::POST => Method::GET,
        StatusCode::SEE_OTHER if before != Method::HEAD => Method::GET,
        _ => before,
    }
}

/// The URL that a Location stands for (RFC 3986, 5.2), if it is one that can be followed.
pub(super) fn target(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    let scheme = base.scheme_str()?;
    let origin = format!("{scheme}://{}", base.authority()?);
    let path_ends = location.find('?').unwrap_or(location.len());
    let (path, query) = location.split_at(path_ends);
    let names_scheme = path.split('/').next().is_some_and(|first| first.contains(':'));
    let url = match path {
        _ if names_scheme => location.to_owned(),
        "" if query.is_empty() => base.to_string(),
        "" => format!("{origin}{}{query}", base.path()),
        _ if path.starts_with("//") => format!("{scheme}:{location}"),
        _ if path.starts_with('/') => format!("{origin}{location}"),
        _ => format!("{origin}{}{query}", beside(base.path(), path)),
    };
    url.parse().ok().filter(|url: &Uri| url.scheme_str().is_some_and(|scheme| SCHEMES.contains(&scheme)))
}

/// What is wrong with a Location that has no such URL. It is not quoted: nobody knows where a password in it would be.
pub(super) fn refused(location: &str) -> String {
    let (scheme, rest) = location.split_once(':').unwrap_or_default();
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    // As HOST:PORT, which has no scheme.
    let names_port = rest.starts_with(|first: char| first.is_ascii_digit());
    match (is_scheme && !names_port, SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known))) {
        (false, _) => "what is not a URL".to_owned(),
        (true, true) => format!("{scheme}:…, which is not a URL"),
        (true, false) => format!("{scheme}:…, which is not {}", SCHEMES.join(" or ")),
    }
}

/// A relative path, seen from another one.
fn beside(base: &str, path: &str) -> String {
    let mut segments: Vec<&str> = base.split('/').collect();
    segments.pop();
    for segment in path.split('/') {
        match segment {
            "." => {}
            ".." if segments.len() > 1 => drop(segments.pop()),
            ".." => {}
            name => segments.push(name),
        }
    }
    if path.ends_with('.') && matches!(path.rsplit('/').next(), Some("." | "..")) {
        segments.push("");
    }
    segments.join("/")
}

/// The cookies of one run, each for the server that set it: a login may depend on one while it redirects.
#[derive(Default)]
pub(super) struct Cookies(Vec<(Uri, String, String)>);

impl Cookies {
    pub(super) fn keep(&mut self, from: &Uri, fields: &HeaderMap) {
        for field in fields.get_all(header::SET_COOKIE) {
            let text = String::from_utf8_lossy(field.as_bytes());
            let (pair, attributes) = text.split_once(';').unwrap_or((&text, ""));
            let Some((name, value)) = pair.split_once('=') else { continue };
            let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
            self.0.retain(|(of, other, _)| !(is_same_origin(of, from) && *other == name));
            let is_over = |attribute: &str| {
                let (key, value) = attribute.split_once('=').unwrap_or_default();
                key.trim().eq_ignore_ascii_case("max-age") && value.trim().parse::<i64>().is_ok_and(|age| age <= 0)
            };
            if !attributes.split(';').any(is_over) {
                self.0.push((from.clone(), name, value));
            }
        }
    }

    /// Adds those for a server to what is sent to it.
    pub(super) fn send(&self, to: &Uri, fields: &mut HeaderMap) {
        let own =
            self.0.iter().filter(|(of, ..)| is_same_origin(of, to)).map(|(_, name, value)| format!("{name}={value}"));
        let given = fields.get(header::COOKIE).map(|given| String::from_utf8_lossy(given.as_bytes()).into_owned());
        let all: Vec<String> = given.into_iter().chain(own).collect();
        if let (false, Ok(cookies)) = (all.is_empty(), HeaderValue::try_from(all.join("; "))) {
            fields.insert(header::COOKIE, cookies);
        }
    }
}

/// Whether both URLs are of one server: the same scheme, host and port.
pub(super) fn is_same_origin(one: &Uri, other: &Uri) -> bool {
    let origin = |uri: &Uri| {
        let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let host = uri.host().map(str::to_ascii_lowercase);
        (uri.scheme().cloned(), host, uri.port_u16().unwrap_or(usual))
    };
    origin(one) == origin(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().expect("it is a URL")
    }

    #[test]
    fn a_location_is_read_from_where_it_was_found() {
        for (location, expected) in [
            ("http://other/x#top", Some("http://other/x")),
            ("HTTP://other", Some("http://other/")),
            ("//other:81/x", Some("http://other:81/x")),
            ("/x?a=b:c", Some("http://shop:80/x?a=b:c")),
            ("x/y", Some("http://shop:80/a/x/y")),
            ("./x", Some("http://shop:80/a/x")),
            ("../x?deep", Some("http://shop:80/x?deep")),
            ("../../../x", Some("http://shop:80/x")),
            ("..", Some("http://shop:80/")),
            (".", Some("http://shop:80/a/")),
            ("?next=http://other/", Some("http://shop:80/a/b?next=http://other/")),
            ("#top", Some("http://shop:80/a/b?c=d")),
            ("", Some("http://shop:80/a/b?c=d")),
            ("mailto:us", None),
            ("ftp://other/", None),
            ("http://", None),
        ] {
            let found = target(&uri("http://shop:80/a/b?c=d"), location).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), expected, "{location}");
        }
        assert_eq!(target(&uri("http://shop"), "x"), Some(uri("http://shop/x")));
    }

    #[test]
    fn what_a_url_may_not_hold_is_encoded() {
        for (written, expected) in [
            (&b"/with space"[..], "/with%20space"),
            ("/größe".as_bytes(), "/gr%C3%B6%C3%9Fe"),
            (b"/gr\xF6\xDFe", "/gr%F6%DFe"),
            (b"/ok?x={1|2}&y=100%", "/ok?x=%7B1%7C2%7D&y=100%"),
        ] {
            let location = HeaderValue::from_bytes(written).expect("a field may hold it");
            let answer =
                Response::builder().status(302).header(header::LOCATION, location).body(()).expect("it is one");
            let location = super::location(&answer).expect("it redirects");
            assert_eq!(location, expected);
            assert!(target(&uri("http://shop/"), &location).is_some(), "{location}");
        }
    }

    #[test]
    fn a_cookie_goes_back_to_who_set_it() {
        let mut cookies = Cookies::default();
        let mut set = HeaderMap::new();
        for cookie in ["a=1; Path=/", "b=2", "none", "a=3"] {
            set.append(header::SET_COOKIE, cookie.parse().expect("it is a value"));
        }
        cookies.keep(&uri("http://shop/login"), &set);
        let sent = |cookies: &Cookies, to: &str, given: Option<&'static str>| {
            let given = given.map(|given| (header::COOKIE, HeaderValue::from_static(given)));
            let mut fields: HeaderMap = given.into_iter().collect();
            cookies.send(&uri(to), &mut fields);
            fields.get(header::COOKIE).map(|value| value.to_str().expect("it is text").to_owned())
        };
        assert_eq!(sent(&cookies, "http://shop/in", None).as_deref(), Some("b=2; a=3"));
        assert_eq!(sent(&cookies, "http://shop/in", Some("c=4")).as_deref(), Some("c=4; b=2; a=3"));
        assert_eq!(sent(&cookies, "https://shop/in", None), None);
        let mut over = HeaderMap::new();
        over.append(header::SET_COOKIE, HeaderValue::from_static("b=; Max-Age=0"));
        cookies.keep(&uri("http://shop/out"), &over);
        assert_eq!(sent(&cookies, "http://shop/", None).as_deref(), Some("a=3"));
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (other, same) in [
            ("http://shop:80/x", true),
            ("http://SHOP/", true),
            ("http://user@shop/", true),
            ("http://shop:81/", false),
            ("https://shop/", false),
            ("https://shop:80/", false),
            ("http://shop.example/", false),
        ] {
            assert_eq!(is_same_origin(&uri("http://shop/"), &uri(other)), same, "{other}");
        }
    }

    #[test]
    fn a_post_becomes_a_get_unless_the_status_says_otherwise() {
        for (before, status, after) in [
            ("POST", 301, "GET"),
            ("POST", 302, "GET"),
            ("POST", 303, "GET"),
            ("POST", 307, "POST"),
            ("POST", 308, "POST"),
            ("PUT", 302, "PUT"),
            ("DELETE", 303, "GET"),
            ("HEAD", 303, "HEAD"),
            ("GET", 301, "GET"),
        ] {
            let status = StatusCode::from_u16(status).expect("it is one");
            assert_eq!(method(before.parse().expect("it is one"), status), after, "{before} {status}");
        }
    }
}
