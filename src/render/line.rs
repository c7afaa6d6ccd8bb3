//! Text from elsewhere, made safe for a single line.

/// The text without control characters: line breaks become spaces, others a replacement character.
///
/// A title or a context may hold what a server has sent: it must not begin a line of ours, or control a terminal.
pub(crate) fn one_line(text: &str) -> String {
    let fit = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}') => '\u{fffd}',
        c => c,
    };
    text.trim().chars().map(fit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_is_left_that_is_no_text(text in "(.|\n)*") {
            prop_assert!(!one_line(&text).contains(char::is_control));
        }

        #[test]
        fn plain_text_stays_as_it_is(text in "[a-zé<|#] ?[a-z\"]") {
            prop_assert_eq!(one_line(&text), text);
        }
    }
}
