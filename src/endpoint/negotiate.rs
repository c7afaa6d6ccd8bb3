//! Chooses the format that an Accept field asks for (RFC 9110, 12.5.1). Pure.

/// One range of an Accept field.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// Parameters other than `q`, such as `version=0.0.4`, and than `charset`, as we can satisfy all.
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

/// The best of the available formats by media type: of several that are equally good the one that is named most exactly,
/// and the first of those; `None` if none is acceptable. Without a field, or with an empty one, any is.
pub(crate) fn choose<'f, F>(
    accept: Option<&str>,
    formats: &'f [F],
    media_type: impl Fn(&F) -> &'static str,
) -> Option<&'f F> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return formats.first() };
    let ranges: Vec<_> = accept.split(',').filter_map(Range::parse).collect();
    let mut best = None;
    for format in formats {
        let Some(rank) = rank(&ranges, media_type(format)) else { continue };
        if best.is_none_or(|(best, _)| rank > best) {
            best = Some((rank, format));
        }
    }
    best.map(|(_, format)| format)
}

/// The quality that the most specific range that fits gives it, and how specific that is; `None` if it is not acceptable.
fn rank(ranges: &[Range<'_>], media_type: &str) -> Option<(f32, usize)> {
    let fitting = ranges.iter().filter_map(|range| Some((range.quality, range.fits(media_type)?)));
    fitting.max_by_key(|(_, specificity)| *specificity).filter(|(quality, _)| *quality > 0.0)
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Range<'a>> {
        let (essence, rest) = split_parameters(text);
        // Java's own client sends a bare star.
        let (kind, subtype) = if essence == "*" { ("*", "*") } else { essence.split_once('/')? };
        let (mut quality, mut parameters) = (1.0, Vec::new());
        for (name, value) in rest {
            match name {
                _ if name.eq_ignore_ascii_case("q") => {
                    quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0);
                }
                _ if name.eq_ignore_ascii_case("charset") => {}
                _ => parameters.push((name, value)),
            }
        }
        Some(Range { kind, subtype, parameters, quality })
    }

    /// How specific it is about this media type; `None` if it does not fit. A parameter that the media type does not have,
    /// such as `indent`, asks for nothing that we could get wrong.
    fn fits(&self, media_type: &str) -> Option<usize> {
        let (essence, parameters) = split_parameters(media_type);
        let (kind, subtype) = essence.split_once('/')?;
        let ours = |wanted: &str| parameters.clone().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let both = || self.parameters.iter().filter_map(|&(name, value)| Some((value, ours(name)?.1)));
        match (self.kind, self.subtype) {
            ("*", "*") => Some(0),
            (k, "*") if k.eq_ignore_ascii_case(kind) => Some(1),
            (k, s) if k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(subtype) => {
                both().all(|(wanted, ours)| wanted == ours).then(|| 2 + both().count())
            }
            _ => None,
        }
    }
}

/// Splits a media type or range from its parameters.
fn split_parameters(text: &str) -> (&str, impl Iterator<Item = (&str, &str)> + Clone) {
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    (
        essence,
        parts
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.trim(), value.trim().trim_matches('"'))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    static FORMATS: [(&str, &str); 5] = [
        ("json", "application/json; charset=utf-8"),
        ("health", "application/health+json"),
        ("text", "text/plain; charset=utf-8"),
        ("html", "text/html; charset=utf-8"),
        ("prometheus", "text/plain; version=0.0.4; charset=utf-8"),
    ];

    fn chosen(accept: impl Into<Option<&'static str>>) -> Option<&'static str> {
        choose(accept.into(), &FORMATS, |format| format.1).map(|format| format.0)
    }

    #[test]
    fn everybody_gets_the_dialect_that_is_asked_for() {
        for (accept, name) in [
            ("*/*", Some("json")),
            ("application/json", Some("json")),
            ("APPLICATION/JSON", Some("json")),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Some("html")),
            ("application/health+json, application/json;q=0.5", Some("health")),
            ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", Some("prometheus")),
            ("text/plain", Some("text")),
            ("text/*", Some("text")),
            ("text/*;q=0.5, text/html;q=0.4", Some("text")),
            ("application/json;q=0, */*;q=0.1", Some("health")),
            ("text/plain;q=0.1, application/json ; q=0.2", Some("json")),
            ("image/png", None),
            ("application/json;q=0", None),
            ("application/json;q=2", None),
            ("nonsense", None),
            ("text/plain;version=9", Some("text")),
            ("text/html, */*", Some("html")),
        ] {
            assert_eq!(chosen(accept), name, "{accept}");
        }
        assert_eq!(chosen(None), Some("json"));
    }

    #[test]
    fn who_asks_for_nothing_or_in_an_odd_way_is_not_refused() {
        for (accept, name) in [
            ("", "json"),
            (" ", "json"),
            ("*", "json"),
            ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", "html"),
            ("application/json;indent=2", "json"),
            ("application/json;version=1;odata=verbose", "json"),
            ("text/html;level=1, */*;q=0.1", "html"),
        ] {
            assert_eq!(chosen(accept), Some(name), "{accept}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(accept in ".*") {
            let _ = choose(Some(&accept), &FORMATS, |format| format.1);
        }
    }
}
