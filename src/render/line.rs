//! Text from elsewhere, made safe for a single line.

use std::borrow::Cow;

use crate::model::check::Check;
use crate::model::text::is_obeyed;
use crate::model::transcript;

/// The title of a check, and its id if that is another: who reads the one asks for the other.
pub(crate) fn named(check: &Check) -> String {
    match check.title == check.id {
        true => one_line(&check.title),
        false => format!("{} [{}]", one_line(&check.title), one_line(&check.id)),
    }
}

/// The text without control characters: line breaks become spaces, others a replacement character.
///
/// A title or a context may hold what a server has sent: it must not begin a line of ours, or control a terminal.
pub(crate) fn one_line(text: &str) -> String {
    let fit = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if is_obeyed(c) => '\u{fffd}',
        c => c,
    };
    text.trim().chars().map(fit).collect()
}

/// A line of what a check says, in a list of what it says and of what we do: a mark tells the two apart where they look alike.
pub(crate) fn quoted_if_like_ours(line: &str) -> Cow<'_, str> {
    let is_name = |name: &str| name == "blame" || transcript::is_name(name);
    match line.trim_start().split_once(':').is_some_and(|(name, _)| is_name(name.trim_end())) {
        true => format!("| {line}").into(),
        false => line.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_check_says_of_blame_is_not_taken_for_what_we_say() {
        for line in ["blame: theirs", "  errno : ECONNREFUSED", "perfdata./: 1", "our.load: 0"] {
            assert_eq!(quoted_if_like_ours(line), format!("| {line}"));
        }
        for line in ["blame", "it is to blame: db", "http://x", ""] {
            assert_eq!(quoted_if_like_ours(line), line);
        }
    }

    proptest! {
        #[test]
        fn nothing_is_left_that_is_no_text(text in "(.|\n)*") {
            prop_assert!(!one_line(&text).contains(char::is_control));
        }

        #[test]
        fn nothing_reorders_a_line(mark in "[\u{61c}\u{200e}\u{200f}\u{202a}-\u{202e}\u{2066}-\u{2069}]") {
            prop_assert_eq!(one_line(&format!("a{mark}b")), "a\u{fffd}b");
        }

        #[test]
        fn plain_text_stays_as_it_is(text in "[a-zé<|#] ?[a-z\"]") {
            prop_assert_eq!(one_line(&text), text);
        }
    }
}
