//! Chooses the format that an Accept field asks for (RFC 9110, 12.5.1). Pure.

/// One range of an Accept field.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// Parameters other than `q`, such as `version=0.0.4`. Two are ignored: `charset`, as we can satisfy all, and
    /// `escaping` of metric names, as ours need none.
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

/// The best of the available formats by media type, the first of several that are equally good; `None` if none is
/// acceptable. Without a field, any is.
pub(crate) fn choose<'f, F>(
    accept: Option<&str>,
    formats: &'f [F],
    media_type: impl Fn(&F) -> &'static str,
) -> Option<&'f F> {
    let Some(accept) = accept else { return formats.first() };
    let ranges: Vec<_> = accept.split(',').filter_map(Range::parse).collect();
    let mut best: Option<(f32, &F)> = None;
    for format in formats {
        let quality = quality(&ranges, media_type(format));
        if quality > best.map_or(0.0, |(best, _)| best) {
            best = Some((quality, format));
        }
    }
    best.map(|(_, format)| format)
}

/// What the most specific range that fits says.
fn quality(ranges: &[Range<'_>], media_type: &str) -> f32 {
    let fitting = ranges.iter().filter_map(|range| Some((range.fits(media_type)?, range.quality)));
    fitting.max_by_key(|(specificity, _)| *specificity).map_or(0.0, |(_, quality)| quality)
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Range<'a>> {
        let (essence, rest) = split_parameters(text);
        let (kind, subtype) = essence.split_once('/')?;
        let (mut quality, mut parameters) = (1.0, Vec::new());
        for (name, value) in rest {
            match name {
                _ if name.eq_ignore_ascii_case("q") => {
                    quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0);
                }
                _ if ["charset", "escaping"].iter().any(|known| name.eq_ignore_ascii_case(known)) => {}
                _ => parameters.push((name, value)),
            }
        }
        Some(Range { kind, subtype, parameters, quality })
    }

    /// How specific it is about this media type; `None` if it does not fit.
    fn fits(&self, media_type: &str) -> Option<usize> {
        let (essence, parameters) = split_parameters(media_type);
        let (kind, subtype) = essence.split_once('/')?;
        let has = |wanted: &(&str, &str)| parameters.clone().any(|(name, value)| name == wanted.0 && value == wanted.1);
        match (self.kind, self.subtype) {
            ("*", "*") => Some(0),
            (k, "*") if k.eq_ignore_ascii_case(kind) => Some(1),
            (k, s) if k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(subtype) => {
                self.parameters.iter().all(has).then_some(2 + self.parameters.len())
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
            ("", None),
            ("nonsense", None),
        ] {
            assert_eq!(chosen(accept), name, "{accept}");
        }
        assert_eq!(chosen(None), Some("json"));
    }

    proptest! {
        #[test]
        fn nothing_panics(accept in ".*") {
            let _ = choose(Some(&accept), &FORMATS, |format| format.1);
        }
    }
}
