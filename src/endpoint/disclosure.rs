//! Who may know what a check is called and why it fails.

use std::path::Path;

use subtle::ConstantTimeEq;

use crate::config::{Details, Settings};
use crate::error::Error;
use crate::os::filesystem::read_file;

/// Who may see more than statuses and counts.
#[derive(Clone)]
pub(crate) enum Disclosure {
    /// Everybody.
    Always,
    /// Nobody; the reasons are in the log.
    Never,
    /// Whoever sends `Authorization: Bearer` with this token.
    Token(String),
}

impl Disclosure {
    /// From the settings; the token is read from its file.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] when a token is asked for and there is none.
    pub(crate) fn from_settings(settings: &Settings) -> Result<Disclosure, Error> {
        match (settings.answers.details, &settings.answers.token_file) {
            (Details::Always | Details::Never, Some(_)) => {
                Err(Error::Usage("--token-file protects nothing without --details token: set that too".to_owned()))
            }
            (Details::Always, None) => Ok(Disclosure::Always),
            (Details::Never, None) => Ok(Disclosure::Never),
            (Details::Token, Some(path)) => read(path).map(Disclosure::Token),
            (Details::Token, None) => Err(Error::Usage("--details token needs --token-file FILE".to_owned())),
        }
    }

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

fn read(path: &Path) -> Result<String, Error> {
    let refuse = |why: &str| Error::Usage(format!("--token-file {}: {why}", path.display()));
    let text = read_file(path).map_err(|error| refuse(&format!("it cannot be read: {error}")))?;
    match text.trim() {
        "" => Err(refuse("it is empty: write the token into it")),
        token => Ok(token.to_owned()),
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
