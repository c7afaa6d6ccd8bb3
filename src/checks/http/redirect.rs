//! Where a redirect leads, and with which method.

use ureq::http::{Method, Response, StatusCode, Uri, header};

use super::SCHEMES;

/// Where an answer sends the client, if it does: what its Location says.
pub(super) fn location<B>(answer: &Response<B>) -> Option<String> {
    match answer.status().as_u16() {
        301 | 302 | 303 | 307 | 308 => {
            let location = answer.headers().get(header::LOCATION)?;
            Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
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
            ("/a b", None),
        ] {
            let found = target(&uri("http://shop:80/a/b?c=d"), location).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), expected, "{location}");
        }
        assert_eq!(target(&uri("http://shop"), "x"), Some(uri("http://shop/x")));
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
