//! Text from elsewhere, in which nothing controls a terminal.
//!
//! What checks, files and programs say is escaped where it enters the model, and a line of the log where it is written, so
//! that no format has to.

use std::borrow::Cow;

/// Whether a character is obeyed rather than shown: a control character, a line end of Unicode's, or one that changes the
/// order in which others are shown.
pub(crate) fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text as one line. What is escaped is escaped as in JSON, since a line of the log may be that: `\u001b`.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, "")
}

/// The same, with the line ends and tabs that the text has.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    match text.contains('\r') {
        true => escaped(&text.replace("\r\n", "\n"), "\n\t").into_owned().into(),
        false => escaped(text, "\n\t"),
    }
}

fn escaped<'a>(text: &'a str, kept: &str) -> Cow<'a, str> {
    let is_bad = |c: char| is_obeyed(c) && !kept.contains(c);
    if !text.contains(is_bad) {
        return text.into();
    }
    let shown = |c: char| match c {
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        c if is_bad(c) => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    text.chars().map(|c| if kept.contains(c) { c.to_string() } else { shown(c) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_from_a_server_does_not_move_the_cursor_or_reorder_a_line() {
        assert_eq!(line("got \u{1b}[2J\rx\ny\u{202e}z\u{9b}"), "got \\u001b[2J\\rx\\ny\\u202ez\\u009b");
        assert_eq!(lines("got \u{1b}[2J\rx\r\ny\tz"), "got \\u001b[2J\\rx\ny\tz");
        assert!(matches!(line("größe \\ \"\""), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn an_escaped_line_means_the_same_in_json(text in "[^\"\\\\]*") {
            let read: String = serde_json::from_str(&format!("\"{}\"", line(&text))).expect("it is JSON");
            prop_assert_eq!(read, text);
        }

        #[test]
        fn nothing_is_left_that_is_obeyed(text in "(.|\n|\r)*") {
            prop_assert!(!line(&text).contains(is_obeyed));
            prop_assert!(!lines(&text).replace(['\n', '\t'], "").contains(is_obeyed));
        }
    }
}
