//! Finds secrets in a text, however they are encoded there.
//!
//! A text is looked at in several views: as it is, with its escapes undone (`%41`, `&amp;`, `\u0041`), with its lines joined,
//! and with what may be base64 or hex decoded; and each of these again. Each byte of a view knows which part of the text it
//! came from, so what is found in any view is hidden in the text.

use std::collections::HashMap;
use std::iter::successors;
use std::ops::Range;

use rustc_hash::FxBuildHasher;

/// Shorter secrets are not searched for: they would be found everywhere.
pub(super) const SHORTEST: usize = 3;

/// Shorter ones are searched for as words: as a part of a longer word, they would tell what they are by being hidden.
const SHORTEST_PART: usize = 6;

/// Replaces a secret.
pub(super) const HIDDEN: &str = "***";

/// How often escapes are undone, one by one: those of a URL in HTML in JSON.
const ESCAPED: usize = 3;

/// How often what was decoded is looked at as a text of its own: what is escaped in base64, and that in hex.
const DEPTH: usize = 2;

/// What the escapes of URLs, HTML and JSON begin with.
const ESCAPES: [u8; 3] = *b"%&\\";

/// In no secret, since it is in no text.
const BETWEEN: u8 = 0xff;

/// The secrets to look for.
#[derive(Debug, Default)]
pub(super) struct Finder {
    patterns: Vec<Vec<u8>>,
    /// Which of them begin so.
    by_beginning: HashMap<[u8; SHORTEST], Vec<usize>, FxBuildHasher>,
    /// The bytes that one of them begins with: most bytes are none.
    first_bytes: Vec<bool>,
    /// How long the shortest of them is.
    shortest: usize,
    /// Whether one has white space, which may be written as `+` or in another way.
    has_space: bool,
}

/// Whether a text is whole, or may have been cut off in the middle of a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    Cut,
}

impl Finder {
    pub(super) fn of<'a>(secrets: impl Iterator<Item = &'a String>) -> Finder {
        let mut finder = Finder::default();
        for secret in secrets {
            // What looks like an escape in it is undone in a text, too.
            let plain = View::of(secret.as_bytes());
            for form in successors(Some(plain), |form| form.unescaped(Extent::Whole, &ESCAPES)).take(1 + ESCAPED) {
                finder.add(&form.bytes);
                if let Some(folded) = form.folded() {
                    finder.has_space = true;
                    finder.add(&folded.bytes);
                }
            }
        }
        finder
    }

    fn add(&mut self, pattern: &[u8]) {
        if let Some(beginning) = pattern.first_chunk()
            && !self.patterns.iter().any(|other| other == pattern)
        {
            self.shortest = if self.patterns.is_empty() { pattern.len() } else { self.shortest.min(pattern.len()) };
            self.first_bytes.resize(256, false);
            self.first_bytes[usize::from(pattern[0])] = true;
            self.by_beginning.entry(*beginning).or_default().push(self.patterns.len());
            self.patterns.push(pattern.to_vec());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    fn search(&self, view: View, extent: Extent, depth: usize, found: &mut Vec<Range<usize>>) {
        self.match_in(&view, extent, found);
        // A secret may end in what makes an escape of what follows it, or begin with what ends one, in another way of writing.
        let kinds: Vec<_> = ESCAPES.into_iter().filter(|kind| view.bytes.contains(kind)).collect();
        for kind in kinds.iter().filter(|_| kinds.len() > 1) {
            if let Some(unescaped) = view.unescaped(extent, &[*kind]) {
                self.match_in(&unescaped, extent, found);
            }
        }
        // Before its escapes are undone: what looks like one may be a part of the secret.
        if let Some(joined) = view.joined() {
            self.match_in(&joined, extent, found);
        }
        let mut plain = view;
        for _ in 0..ESCAPED {
            let Some(unescaped) = plain.unescaped(extent, &ESCAPES) else { break };
            self.match_in(&unescaped, extent, found);
            plain = unescaped;
        }
        if let Some(joined) = plain.joined() {
            self.match_in(&joined, extent, found);
            plain = joined;
        }
        // What is encoded has neither escapes nor ends of lines in it, wherever it begins.
        for alphabet in [&BASE64, &HEX] {
            plain.decoded(alphabet, self.shortest, |decoded| {
                self.match_in(&decoded, extent, found);
                if let (Some(text), Some(deeper)) = (decoded.texts(), depth.checked_sub(1)) {
                    self.search(text, extent, deeper, found);
                }
            });
        }
    }

    fn match_in(&self, view: &View, extent: Extent, found: &mut Vec<Range<usize>>) {
        self.match_as_it_is(view, extent, found);
        if self.has_space
            && let Some(folded) = view.folded()
        {
            self.match_as_it_is(&folded, extent, found);
        }
    }

    fn match_as_it_is(&self, view: &View, extent: Extent, found: &mut Vec<Range<usize>>) {
        let bytes = &view.bytes;
        for (start, beginning) in bytes.windows(SHORTEST).enumerate() {
            if !self.first_bytes[usize::from(beginning[0])] {
                continue;
            }
            let Some(patterns) = beginning.first_chunk().and_then(|beginning| self.by_beginning.get(beginning)) else {
                continue;
            };
            for pattern in patterns.iter().map(|&number| &self.patterns[number]) {
                let rest = &bytes[start..];
                if rest.starts_with(pattern) {
                    let end = start + pattern.len();
                    if pattern.len() >= SHORTEST_PART || is_word(bytes, start..end) {
                        found.push(view.source(start).start..view.source(end - 1).end);
                    }
                } else if extent == Extent::Cut && pattern.starts_with(rest) {
                    found.push(view.source(start).start..view.whole);
                }
            }
        }
    }
}

/// The text with [`HIDDEN`] for every secret in it.
pub(super) fn scrub<'a>(finders: impl Iterator<Item = &'a Finder>, text: &str, extent: Extent) -> String {
    let mut found = Vec::new();
    for finder in finders.filter(|finder| !finder.is_empty() && text.len() >= SHORTEST) {
        finder.search(View::of(text.as_bytes()), extent, DEPTH, &mut found);
    }
    found.sort_unstable_by_key(|range| (range.start, range.end));
    let (mut scrubbed, mut end) = (String::with_capacity(text.len()), 0);
    for range in found {
        if range.start >= end {
            scrubbed.push_str(&text[end..text.floor_char_boundary(range.start).max(end)]);
            scrubbed.push_str(HIDDEN);
        }
        end = end.max(text.ceil_char_boundary(range.end));
    }
    scrubbed.push_str(&text[end..]);
    scrubbed
}

/// Whether this is no part of a longer word.
fn is_word(bytes: &[u8], range: Range<usize>) -> bool {
    let joins = |one: Option<&u8>, other: Option<&u8>| {
        [one, other].into_iter().all(|byte| byte.is_some_and(u8::is_ascii_alphanumeric))
    };
    let before = range.start.checked_sub(1).and_then(|before| bytes.get(before));
    !joins(before, bytes.get(range.start)) && !joins(bytes.get(range.end - 1), bytes.get(range.end))
}

/// Bytes, and where in the text each comes from.
struct View {
    bytes: Vec<u8>,
    /// `None`: each from its own place.
    sources: Option<Vec<Range<usize>>>,
    /// How long the text is.
    whole: usize,
}

/// How bytes are written as characters of one alphabet.
struct Alphabet {
    /// How many bits a character stands for.
    bits: u32,
    /// After so many, bytes begin anew.
    period: usize,
    value: fn(u8) -> Option<u32>,
}

/// Both alphabets of RFC 4648: one has `+` and `/` where the other has `-` and `_`.
const BASE64: Alphabet = Alphabet {
    bits: 6,
    period: 4,
    value: |byte| {
        Some(u32::from(match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        }))
    },
};

const HEX: Alphabet = Alphabet { bits: 4, period: 2, value: |byte| char::from(byte).to_digit(16) };

impl View {
    fn of(text: &[u8]) -> View {
        View { bytes: text.to_vec(), sources: None, whole: text.len() }
    }

    fn empty(&self) -> View {
        View { bytes: Vec::with_capacity(self.bytes.len()), sources: Some(Vec::new()), whole: self.whole }
    }

    fn source(&self, place: usize) -> Range<usize> {
        self.sources.as_ref().map_or(place..place + 1, |sources| sources[place].clone())
    }

    /// From where to where in the text these bytes come from.
    fn sources(&self, places: Range<usize>) -> Range<usize> {
        self.source(places.start).start..self.source(places.end - 1).end
    }

    fn push(&mut self, byte: u8, source: Range<usize>) {
        self.bytes.push(byte);
        self.sources.get_or_insert_default().push(source);
    }

    /// With one space for each run of white space and `+`, in which forms write it; `None` if there is none.
    fn folded(&self) -> Option<View> {
        let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'+';
        if !self.bytes.iter().any(is_space) {
            return None;
        }
        let (mut view, mut place) = (self.empty(), 0);
        for run in self.bytes.chunk_by(|one, other| is_space(one) && is_space(other)) {
            let byte = if is_space(&run[0]) { b' ' } else { run[0] };
            view.push(byte, self.sources(place..place + run.len()));
            place += run.len();
        }
        Some(view)
    }

    /// Without the ends of lines and what the next ones are indented by; `None` if there is one line.
    fn joined(&self) -> Option<View> {
        if !self.bytes.contains(&b'\n') {
            return None;
        }
        let (mut view, mut is_indent) = (self.empty(), false);
        for (place, &byte) in self.bytes.iter().enumerate() {
            is_indent = b"\r\n".contains(&byte) || is_indent && b" \t".contains(&byte);
            if !is_indent {
                view.push(byte, self.source(place));
            }
        }
        Some(view)
    }

    /// With the escapes undone that begin so; `None` if there are none.
    fn unescaped(&self, extent: Extent, kinds: &[u8]) -> Option<View> {
        if !self.bytes.iter().any(|byte| kinds.contains(byte)) {
            return None;
        }
        let (mut view, mut place, mut is_other) = (self.empty(), 0, false);
        while let Some(&byte) = self.bytes.get(place) {
            let rest = &self.bytes[place..];
            let is_one = kinds.contains(&byte);
            let (length, meant) = match is_one.then(|| escape(rest)).flatten() {
                Some(escape) => escape,
                // It may be the beginning of one.
                None if is_one && extent == Extent::Cut && rest.len() < LONGEST_ESCAPE => {
                    is_other = true;
                    break;
                }
                None => (1, Character::Byte(byte)),
            };
            is_other |= length > 1;
            meant.push_to(&mut view, &self.sources(place..place + length));
            place += length;
        }
        is_other.then_some(view)
    }

    /// What it may be written of in this alphabet: each run of its characters decoded, from each place at which the first byte
    /// may begin. One that cannot hold so many bytes is left out, unless it may have been cut off.
    fn decoded(&self, alphabet: &Alphabet, least: usize, mut each: impl FnMut(View)) {
        let is_in = |byte: &u8| (alphabet.value)(*byte).is_some();
        let mut runs: Vec<Range<usize>> = Vec::new();
        let mut place = 0;
        for run in self.bytes.chunk_by(|one, other| is_in(one) && is_in(other)) {
            let end = place + run.len();
            let least = if end == self.bytes.len() { SHORTEST } else { least };
            if run.len() * alphabet.bits as usize >= least * 8 && is_in(&run[0]) {
                runs.push(place..end);
            }
            place = end;
        }
        if runs.is_empty() {
            return;
        }
        for first in 0..alphabet.period {
            let mut view = self.empty();
            for run in &runs {
                // As a whole, whatever is found in it: the characters do not begin and end where bytes do.
                let padding = self.bytes[run.end..].iter().take_while(|byte| **byte == b'=').count();
                let source = self.sources(run.start..run.end + padding);
                let (mut bits, mut count) = (0u32, 0);
                for byte in &self.bytes[(run.start + first).min(run.end)..run.end] {
                    bits = bits << alphabet.bits | (alphabet.value)(*byte).unwrap_or_default();
                    count += alphabet.bits;
                    if count >= 8 {
                        count -= 8;
                        view.push((bits >> count) as u8, source.clone());
                        bits &= (1 << count) - 1;
                    }
                }
                if run.end < self.bytes.len() {
                    view.push(BETWEEN, source);
                }
            }
            each(view);
        }
    }

    /// Those of its runs that are text, which may be encoded once more; `None`: all are what comes of decoding words.
    fn texts(&self) -> Option<View> {
        let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n');
        let (mut view, mut place) = (self.empty(), 0);
        for run in self.bytes.chunk_by(|one, other| is_text(one) == is_text(other)) {
            if run.len() > 2 * SHORTEST && is_text(&run[0]) {
                (place..place + run.len()).for_each(|place| view.push(self.bytes[place], self.source(place)));
                if place + run.len() < self.bytes.len() {
                    view.push(BETWEEN, self.source(place + run.len() - 1));
                }
            }
            place += run.len();
        }
        (!view.bytes.is_empty()).then_some(view)
    }
}

/// What an escape stands for.
enum Character {
    Byte(u8),
    Char(char),
}

impl Character {
    fn push_to(self, view: &mut View, source: &Range<usize>) {
        match self {
            Character::Byte(byte) => view.push(byte, source.clone()),
            Character::Char(char) => {
                char.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| view.push(byte, source.clone()));
            }
        }
    }
}

/// The longest escape, a pair of `\uXXXX`.
const LONGEST_ESCAPE: usize = 12;

/// How long the escape is that a text begins with, and what it stands for.
fn escape(text: &[u8]) -> Option<(usize, Character)> {
    let number = |digits: &[u8], radix| u32::from_str_radix(str::from_utf8(digits).ok()?, radix).ok();
    let byte = |digits: &[u8]| Some(Character::Byte(number(digits, 16)? as u8));
    let char = |number| Some(Character::Char(char::from_u32(number)?));
    // The digits up to this end, and how long they are.
    let until = |text: &'_ [u8], end: u8| text.iter().take(8).position(|byte| *byte == end);
    match text {
        [b'%', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => Some((3, byte(&text[1..3])?)),
        [b'\\', b'x', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => Some((4, byte(&text[2..4])?)),
        [b'\\', b'u', b'{', rest @ ..] => {
            let end = until(rest, b'}')?;
            Some((end + 4, char(number(&rest[..end], 16)?)?))
        }
        [b'\\', b'u', ..] => match number(text.get(2..6)?, 16)? {
            // Half of a character beyond 16 bits (RFC 8259).
            high @ 0xd800..=0xdbff => match (text.get(6..8)?, number(text.get(8..12)?, 16)?) {
                (b"\\u", low @ 0xdc00..=0xdfff) => {
                    Some((12, char(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))?))
                }
                _ => None,
            },
            number => Some((6, char(number)?)),
        },
        [b'\\', other, ..] => {
            let meant = match other {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'\\' | b'/' | b'"' | b'\'' => *other,
                _ => return None,
            };
            Some((2, Character::Byte(meant)))
        }
        [b'&', b'#', b'x' | b'X', rest @ ..] => {
            let end = until(rest, b';')?;
            Some((end + 4, char(number(&rest[..end], 16)?)?))
        }
        [b'&', b'#', rest @ ..] => {
            let end = until(rest, b';')?;
            Some((end + 3, char(number(&rest[..end], 10)?)?))
        }
        [b'&', rest @ ..] => {
            let (name, meant) = ENTITIES.into_iter().find(|(name, _)| rest.starts_with(name.as_bytes()))?;
            Some((name.len() + 1, Character::Byte(meant)))
        }
        _ => None,
    }
}

/// What HTML has to write in another way, and often does.
const ENTITIES: [(&str, u8); 5] = [("amp;", b'&'), ("lt;", b'<'), ("gt;", b'>'), ("quot;", b'"'), ("apos;", b'\'')];

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    fn scrubbed(secrets: &[&str], text: &str) -> String {
        let secrets: Vec<_> = secrets.iter().map(|&secret| secret.to_owned()).collect();
        hidden(&secrets, text, Extent::Whole)
    }

    fn hidden(secrets: &[String], text: &str, extent: Extent) -> String {
        scrub([Finder::of(secrets.iter())].iter(), text, extent)
    }

    fn each(text: &str, written: impl Fn(u8) -> String) -> String {
        text.bytes().map(written).collect()
    }

    /// The ways in which a server may write what it was told.
    fn written(secret: &str) -> Vec<(&'static str, String)> {
        let html = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
        let plus = |text: String| text.replace("%20", "+");
        let is_kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let percent = |text: &str, upper: bool| {
            each(text, |byte| match (is_kept(byte), upper) {
                (true, _) => char::from(byte).to_string(),
                (false, true) => format!("%{byte:02X}"),
                (false, false) => format!("%{byte:02x}"),
            })
        };
        let json = serde_json::to_string(secret).expect("it is text");
        let account = format!("anna:{secret}");
        let (begin, end) = secret.split_at(secret.floor_char_boundary(5));
        let mut all = vec![
            ("raw", secret.to_owned()),
            ("%XX", percent(secret, true)),
            ("%xx", percent(secret, false)),
            ("%XX for all", each(secret, |byte| format!("%{byte:02X}"))),
            ("%25XX", percent(&percent(secret, true), true)),
            ("form", plus(percent(secret, true))),
            ("HTML", html(secret).replace('\'', "&#39;")),
            ("HTML with &#x27;", html(secret).replace('\'', "&#x27;").replace('/', "&#x2F;")),
            ("HTML for all", secret.chars().map(|c| format!("&#{};", u32::from(c))).collect()),
            ("JSON", json.clone()),
            ("JSON with \\/", json.replace('/', "\\/")),
            ("JSON for all", secret.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect()),
            ("Rust", format!("{secret:?}")),
            ("HTML in JSON", serde_json::to_string(&html(secret)).expect("it is text")),
            ("hex", each(secret, |byte| format!("{byte:02x}"))),
            ("HEX", each(secret, |byte| format!("{byte:02X}"))),
            ("\\x", each(secret, |byte| format!("\\x{byte:02x}"))),
            ("base64 of %XX", STANDARD.encode(percent(secret, true))),
            ("folded", secret.replace(' ', "\r\n\t")),
            ("cut in lines", format!("{begin}\r\n {end}")),
        ];
        for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
            all.push(("base64", engine.encode(secret)));
            all.push(("Basic", format!("Basic {}", engine.encode(&account))));
            all.push(("shifted", engine.encode(format!("x{secret}yz"))));
            all.push(("in a path", format!("/a/{}", engine.encode(&account))));
            all.push(("base64 in a URL", percent(&engine.encode(&account), false)));
        }
        all
    }

    const SECRETS: [&str; 6] = [
        "hunter2-sesame",
        "p&ss'w<r>d/\"x\"",
        "a b+c d%41\\u0042",
        "größe😀&größe",
        "AAAA+/==AAAA",
        "Bearer s3same-0pen",
    ];

    #[test]
    fn a_secret_is_found_however_it_is_written() {
        for secret in SECRETS {
            for (how, text) in written(secret) {
                let shown = scrubbed(&[secret], &format!("got {text}, and more"));
                let left = shown.replace(HIDDEN, "");
                let rest = left.strip_prefix("got ").and_then(|left| left.strip_suffix(", and more"));
                let is_rest = |rest: &str| ["", "\"\"", "Basic ", "/a/", "/"].contains(&rest);
                assert!(shown != left && rest.is_some_and(is_rest), "{how}: {text}: {shown}");
            }
        }
    }

    #[test]
    fn a_secret_that_ends_in_a_backslash_is_hidden_whatever_follows() {
        for (secret, text, shown) in [
            (r#"p<a"ss\"#, r#"<b title="p&lt;a"ss\">"#, r#"<b title="***">"#),
            (r"p<ass\", r"p&lt;ass\nnext", "***nnext"),
            (r#"p"ass\"#, r#"{"pw": "p\"ass\\"}"#, r#"{"pw": "***"}"#),
        ] {
            assert_eq!(scrubbed(&[secret], text), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_is_left_as_it_is() {
        for text in [
            "expected 127.0.0.1:80 to accept a connection: Connection refused (os error 111) (in 3 ms)",
            "<html><body>It works &amp; runs at 100 %</body></html>",
            r#"{"status":"ok","token":null,"path":"C:\\temp\u0020x","sha":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"}"#,
            "cached 16123456 bytes, passed all, spin, pinned",
        ] {
            for secret in SECRETS.into_iter().chain(["123", "pass", "pin", "ok!"]) {
                assert_eq!(scrubbed(&[secret], text), text, "{secret}");
            }
        }
        assert_eq!(scrubbed(&["pin", "1234"], "pin=1234 or 12345"), "***=*** or 12345");
        assert_eq!(scrubbed(&["pin"], "%70in %3Apin%3B"), "*** %3A***%3B");
    }

    #[test]
    fn a_secret_that_is_cut_off_is_hidden_up_to_the_end() {
        for secret in SECRETS {
            for (how, text) in written(secret) {
                let text = format!("got {text}");
                for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
                    let shown = hidden(&[secret.to_owned()], &text[..end], Extent::Cut);
                    // Fewer than three characters tell little.
                    let half = "got ".len() + (text.len() - "got ".len()) / 2 + 12;
                    assert!(end < half || shown.contains(HIDDEN), "{how}: {}: {shown}", &text[..end]);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_scrubbed_of_any_secrets(text in "(.|\n){0,80}", secrets in proptest::collection::vec("(.|\n){0,8}", 0..4)) {
            for extent in [Extent::Whole, Extent::Cut] {
                let shown = hidden(&secrets, &text, extent);
                for secret in secrets.iter().filter(|secret| secret.len() >= SHORTEST_PART && !secret.contains('*')) {
                    prop_assert!(!shown.contains(secret), "{shown:?}");
                }
            }
        }

        #[test]
        fn any_secret_is_found_in_any_encoding(secret in r"[ -~]{8,20}|[a-z<\x22]{6}[\\%&]{2}[a-z]?", behind in r#"|["\\n;4]|u0041|41|amp;"#) {
            for (how, text) in written(&secret) {
                prop_assert!(scrubbed(&[&secret], &format!("{text}{behind}")).contains(HIDDEN), "{how}: {text}");
            }
        }
    }
}
