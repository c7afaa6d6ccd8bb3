//! Who may know what a check is called and why it fails.

use subtle::ConstantTimeEq;

/// Who may see more than statuses and counts.
#[derive(Clone)]
pub enum Disclosure {
    /// Everybody.
    Always,
    /// Nobody; the reasons are in the log.
    Never,
    /// Whoever sends `Authorization: Bearer` with this token.
    Token(String),
}

impl Disclosure {
    /// Whether the answer depends on who asks.
    pub(crate) fn is_personal(&self) -> bool {
        matches!(self, Disclosure::Token(_))
    }

    /// Whether a request with that Authorization field may see everything.
    pub(crate) fn allows(&self, authorization: Option<&str>) -> bool {
        match self {
            Disclosure::Always => true,
            Disclosure::Never => false,
            Disclosure::Token(token) => authorization.and_then(bearer).is_some_and(|given| {
                // In constant time, which does not tell how much of the token is right.
                bool::from(given.as_bytes().ct_eq(token.as_bytes()))
            }),
        }
    }
}

/// Names the variant, and never shows the token.
impl std::fmt::Debug for Disclosure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Disclosure::Always => "Always",
            Disclosure::Never => "Never",
            Disclosure::Token(_) => "Token(…)",
        })
    }
}

/// The token of an Authorization field (RFC 6750, 2.1).
fn bearer(field: &str) -> Option<&str> {
    let (scheme, token) = field.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_opens() {
        let disclosure = Disclosure::Token("s3cret".to_owned());
        for (field, open) in [
            (Some("Bearer s3cret"), true),
            (Some("bearer  s3cret "), true),
            (Some("Bearer s3cre"), false),
            (Some("Bearer s3cretx"), false),
            (Some("Bearer "), false),
            (Some("Basic s3cret"), false),
            (Some("s3cret"), false),
            (None, false),
        ] {
            assert_eq!(disclosure.allows(field), open, "{field:?}");
        }
        assert!(!format!("{disclosure:?}").contains("s3cret"));
    }
}
