//! Regular expressions for text from outside: searched as it comes, each byte once, and not beyond a deadline.
//!
//! `^` and `$` are the ends of a line, whether it ends with LF or CRLF, as people who know grep write them.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;
use std::time::{Duration, Instant};

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, Config, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::alphabet::Unit;
use regex_automata::util::start;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind, Look, Repetition};

use crate::model::check::Deadline;

/// The largest automaton that a regular expression may become, in bytes: a step through it takes time in proportion.
const LARGEST: usize = 4 << 20;

/// A regular expression, in the syntax of the crate `regex` without `\p`. `^` and `$` match at each line.
#[derive(Clone)]
pub struct Pattern {
    written: String,
    automaton: DFA,
}

impl Pattern {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether it matches whatever comes, and nothing at all too.
    pub(crate) fn is_in_anything(&self) -> bool {
        let soon = Deadline::at(Instant::now() + Duration::from_secs(1));
        [&b""[..], b"\0~garbage~\xff"].iter().all(|text| self.is_in(text, soon).unwrap_or(false))
    }

    /// Whether something in the text matches.
    ///
    /// # Errors
    ///
    /// `TimedOut` when that cannot be told before the deadline.
    pub fn is_in(&self, text: &[u8], deadline: Deadline) -> io::Result<bool> {
        self.is_in_all_of(text, deadline)
    }

    /// The same for all that a reader has, as long as that may be. It is read to the first match.
    ///
    /// # Errors
    ///
    /// Those of the reader, and `TimedOut` when the deadline has passed.
    pub fn is_in_all_of(&self, mut reader: impl Read, deadline: Deadline) -> io::Result<bool> {
        let mut search = self.search(deadline);
        let mut buffer = [0; 16 * 1024];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return search.finish(),
                Ok(count) if search.feed(&buffer[..count])? => return Ok(true),
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// A search through a text that comes in parts.
    pub(in crate::checks) fn search(&self, deadline: Deadline) -> Search<'_> {
        let mut cache = self.automaton.create_cache();
        let state = self.automaton.start_state(&mut cache, &start::Config::new()).expect("no byte ends a search early");
        Search { automaton: &self.automaton, cache, state, cut: Vec::new(), deadline }
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Pattern, String> {
        let parsed = ParserBuilder::new().utf8(false).multi_line(true).crlf(true).build().parse(text);
        let parsed = parsed.map_err(|error| match error {
            regex_syntax::Error::Parse(error) => error.kind().to_string(),
            regex_syntax::Error::Translate(error) => error.kind().to_string(),
            error => error.to_string(),
        })?;
        let automaton = thompson::Compiler::new()
            .configure(thompson::Config::new().utf8(false).nfa_size_limit(Some(LARGEST)))
            .build_from_hir(&with_plain_boundaries(parsed))
            .map_err(|error| error.to_string())?;
        let automaton = DFA::builder()
            .configure(Config::new().skip_cache_capacity_check(true))
            .build_from_nfa(automaton)
            .map_err(|error| error.to_string())?;
        Ok(Pattern { written: text.to_owned(), automaton })
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.written)
    }
}

/// A search that is under way.
pub(in crate::checks) struct Search<'a> {
    automaton: &'a DFA,
    cache: Cache,
    state: LazyStateID,
    /// The beginning of a character whose rest has not come yet.
    cut: Vec<u8>,
    deadline: Deadline,
}

impl Search<'_> {
    /// Goes on with the next part. `true`: something matches, whatever follows.
    pub(in crate::checks) fn feed(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let joined = [&std::mem::take(&mut self.cut), bytes].concat();
        Ok(self.feed_text(&joined)? || self.is_sure())
    }

    /// Whether any next byte and the end would show a match: the automaton tells one a byte late, for which a peer that
    /// waits for us can let us wait in vain.
    fn is_sure(&self) -> bool {
        // Not in our own cache: if that had to be cleared, our state would be lost.
        let mut cache = self.cache.clone();
        let mut next = |unit: Unit| match unit.as_u8() {
            Some(byte) => self.automaton.next_state(&mut cache, self.state, byte),
            None => self.automaton.next_eoi_state(&mut cache, self.state),
        };
        let mut units = self.automaton.byte_classes().representatives(..);
        units.all(|unit| next(unit).is_ok_and(|state| state.is_match()))
    }

    /// Nothing follows.
    pub(in crate::checks) fn finish(&mut self) -> io::Result<bool> {
        if !self.cut.is_empty() && self.step_through(UNREADABLE)? {
            return Ok(true);
        }
        let last = self.automaton.next_eoi_state(&mut self.cache, self.state).expect("the cache may be cleared");
        Ok(last.is_match())
    }

    /// What is not UTF-8 counts as U+FFFD, so that `.` stands for it.
    fn feed_text(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            if self.step_through(chunk.valid().as_bytes())? {
                return Ok(true);
            }
            match chunk.invalid() {
                [] => {}
                rest if chunks.peek().is_none() => self.cut = rest.to_vec(),
                _ if self.step_through(UNREADABLE)? => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }

    fn step_through(&mut self, bytes: &[u8]) -> io::Result<bool> {
        // So few that the slowest automaton takes some milliseconds for them.
        for few in bytes.chunks(16) {
            if self.deadline.remaining(Instant::now()).is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            for byte in few {
                self.state =
                    self.automaton.next_state(&mut self.cache, self.state, *byte).expect("the cache may be cleared");
                if self.state.is_match() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

const UNREADABLE: &[u8] = "\u{FFFD}".as_bytes();

/// The same expression, with words of ASCII where it asks for the boundary of one (`\b`): only for these can a text be searched
/// in one pass.
fn with_plain_boundaries(expression: Hir) -> Hir {
    let all = |parts: Vec<Hir>| parts.into_iter().map(with_plain_boundaries).collect();
    match expression.into_kind() {
        HirKind::Look(look) => Hir::look(match look {
            Look::WordUnicode => Look::WordAscii,
            Look::WordUnicodeNegate => Look::WordAsciiNegate,
            Look::WordStartUnicode => Look::WordStartAscii,
            Look::WordEndUnicode => Look::WordEndAscii,
            Look::WordStartHalfUnicode => Look::WordStartHalfAscii,
            Look::WordEndHalfUnicode => Look::WordEndHalfAscii,
            look => look,
        }),
        HirKind::Repetition(Repetition { sub, min, max, greedy }) => {
            Hir::repetition(Repetition { sub: Box::new(with_plain_boundaries(*sub)), min, max, greedy })
        }
        // What a group matches is not asked for.
        HirKind::Capture(group) => with_plain_boundaries(*group.sub),
        HirKind::Concat(parts) => Hir::concat(all(parts)),
        HirKind::Alternation(parts) => Hir::alternation(all(parts)),
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::default_deadline;
    use proptest::prelude::*;
    use std::time::Duration;

    fn pattern(text: &str) -> Pattern {
        text.parse().expect("it is well formed")
    }

    fn is_in(pattern: &Pattern, text: impl AsRef<[u8]>) -> bool {
        pattern.is_in(text.as_ref(), default_deadline()).expect("there is time enough")
    }

    #[test]
    fn what_people_write_matches() {
        for (text, inside, outside) in [
            // Lines, as grep has them.
            ("^nobody:", "root:x\nnobody:x\n", "a nobody:"),
            ("^[01]$", "1\n", "10\n"),
            ("^status: ok$", "first\r\nstatus: ok\r\nlast", "status: okay\r\n"),
            ("ok$", "ok", "ok."),
            ("^$", "a\n\nb", "a\nb"),
            (r"\Aone$", "one\ntwo", "two\none"),
            (r"two\z", "one\ntwo", "two\none"),
            ("a.b", "a-b", "a\nb"),
            ("(?s)a.b", "a\nb", "ab"),
            ("(?-m)^b", "b", "a\nb"),
            // Words.
            (r"\bERROR\b", "an ERROR.", "ERRORS"),
            (r"\bok\b", "äokü ok", "okay"),
            ("(?i)größe", "GRÖSSE GRÖßE", "gross"),
            ("[äö]x", "öx", "ox"),
            (r"\d{2}\s\w+", "12 ab", "1 ab"),
            ("x(?:a|b(?:c)?)+y", "xabcy", "xy"),
        ] {
            let pattern = pattern(text);
            assert!(is_in(&pattern, inside), "{text} in {inside:?}");
            assert!(!is_in(&pattern, outside), "{text} in {outside:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_stand_for_any_character() {
        let banner = pattern("^220 .* ready$");
        assert!(is_in(&banner, b"220 J\xFCrgen ready\r\n"));
        assert!(is_in(&pattern("^.$"), b"\xC3"), "a character that is cut off at the end");
        assert!(!is_in(&banner, b"\xFF\xFE"));
    }

    #[test]
    fn what_is_not_an_expression_is_said_in_a_line() {
        for text in ["(", "a{3,1}", r"\p{Nonsense}", "[z-a]", r"(a)\1", r"\w{100000}"] {
            let error = text.parse::<Pattern>().expect_err(text);
            assert!(!error.is_empty() && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn what_has_come_matches_before_anything_follows_unless_that_may_matter() {
        for (text, there, sure) in [
            ("hello", "hello", true),
            ("hel+o", "hell", false),
            ("^", "", true),
            ("ready$", "ready", false),
            ("ready$", "ready\r", true),
            (r"\bok\b", "ok", false),
            (r"\bok\b", "ok.", true),
            ("ö", "ö", true),
        ] {
            let pattern = pattern(text);
            let found = pattern.search(default_deadline()).feed(there.as_bytes()).expect("there is time enough");
            assert_eq!(found, sure, "{text} in {there:?}");
        }
    }

    #[test]
    fn the_work_ends_at_the_deadline() {
        let began = Instant::now();
        let slow = pattern(r"(?:[^x]*x){60}[^x]{60}y");
        let until = Deadline::at(began + Duration::from_millis(50));
        let found = slow.is_in_all_of(io::repeat(b'x').chain(io::repeat(b'z')), until);
        assert_eq!(found.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }

    #[test]
    fn a_long_text_is_searched_to_its_end() {
        let long = io::repeat(b'.').take(3 << 20).chain(&b"\nERROR: x"[..]);
        assert!(pattern("^ERROR").is_in_all_of(long, default_deadline()).expect("there is time enough"));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_a_text_is_cut(text: Vec<u8>, cuts in proptest::collection::vec(0..64usize, 0..8)) {
            for pattern in ["^.$", "[^a]{3}", "é|ü|\u{FFFD}", r"\b.\b$"].map(pattern) {
                let mut search = pattern.search(default_deadline());
                let mut rest = &text[..];
                let mut found = false;
                for cut in cuts.iter().chain([&usize::MAX]) {
                    let (part, after) = rest.split_at(rest.len().min(*cut));
                    rest = after;
                    found = found || search.feed(part)?;
                }
                let found = found || search.finish()?;
                prop_assert_eq!(found, is_in(&pattern, String::from_utf8_lossy(&text).as_bytes()));
            }
        }
    }
}
