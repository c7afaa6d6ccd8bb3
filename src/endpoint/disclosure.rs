//! Who may know what a check is called and why it fails.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use subtle::ConstantTimeEq;

/// Who may see more than statuses and counts.
#[derive(Clone)]
pub enum Disclosure {
    /// Everybody.
    Always,
    /// Nobody; the reasons are in the log.
    Never,
    /// Whoever sends this token, as `Authorization: Bearer`, or as the password of `Authorization: Basic`, as browsers do.
    Token(String),
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visitor {
    /// May see everything.
    Trusted,
    /// May see statuses and counts.
    Stranger,
    /// Has sent a wrong token, and must learn that.
    Mistaken,
}

impl Disclosure {
    /// Whether the answer depends on who asks.
    pub(crate) fn is_personal(&self) -> bool {
        matches!(self, Disclosure::Token(_))
    }

    /// Who sends a request with that Authorization field.
    pub(crate) fn visitor(&self, authorization: Option<&str>) -> Visitor {
        match (self, authorization) {
            (Disclosure::Always, _) => Visitor::Trusted,
            (Disclosure::Never, _) | (Disclosure::Token(_), None) => Visitor::Stranger,
            (Disclosure::Token(token), Some(field)) => match given(field) {
                // In constant time, which does not tell how much of the token is right.
                Some(given) if given.ct_eq(token.as_bytes()).into() => Visitor::Trusted,
                Some(_) | None => Visitor::Mistaken,
            },
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

/// The token of an Authorization field (RFC 6750, 2.1), or its password (RFC 7617, 2).
fn given(field: &str) -> Option<Vec<u8>> {
    let (scheme, rest) = field.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.into());
    }
    let pair = BASE64_STANDARD.decode(rest).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let colon = pair.iter().position(|&byte| byte == b':')?;
    Some(pair[colon + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_opens() {
        let disclosure = Disclosure::Token("s3cret".to_owned());
        for (field, visitor) in [
            (Some("Bearer s3cret"), Visitor::Trusted),
            (Some("bearer  s3cret "), Visitor::Trusted),
            (Some("Basic YW55OnMzY3JldA=="), Visitor::Trusted),
            (Some("basic OnMzY3JldA=="), Visitor::Trusted),
            (Some("Basic YW55OnMzY3JldHg="), Visitor::Mistaken),
            (Some("Basic czNjcmV0"), Visitor::Mistaken),
            (Some("Bearer s3cre"), Visitor::Mistaken),
            (Some("Bearer s3cretx"), Visitor::Mistaken),
            (Some("Bearer "), Visitor::Mistaken),
            (Some("Basic s3cret"), Visitor::Mistaken),
            (Some("s3cret"), Visitor::Mistaken),
            (None, Visitor::Stranger),
        ] {
            assert_eq!(disclosure.visitor(field), visitor, "{field:?}");
        }
        assert!(!format!("{disclosure:?}").contains("s3cret"));
    }
}
