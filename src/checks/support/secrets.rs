//! What may be shown of a target: never a password, never a token.

use percent_encoding::percent_decode_str;

/// Replaces a secret wherever it would be shown.
const HIDDEN: &str = "***";

/// The value of a query key or of a variable is hidden when the name contains one of these.
const SECRET_WORDS: [&str; 11] =
    ["auth", "cookie", "credential", "jwt", "key", "pass", "pwd", "secret", "session", "sig", "token"];

/// Header fields that reveal nothing; the value of any other is hidden.
const PUBLIC_FIELDS: [&str; 9] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "connection",
    "content-type",
    "host",
    "origin",
    "user-agent",
];

/// Shorter secrets are not searched for in texts: they would be found everywhere.
const SHORTEST: usize = 3;

/// The target without `user:password@`, and with `***` for each value in its query that looks secret.
pub(crate) fn shown(target: &str) -> String {
    let parts = Parts::of(target);
    let mut shown = format!("{}{}", parts.slashes, parts.head);
    let mut separator = '?';
    for item in parts.query.into_iter().flat_map(|query| query.split('&')) {
        shown.push(separator);
        match item.split_once('=') {
            Some((key, _)) if is_secret(key) => shown.push_str(&format!("{key}={HIDDEN}")),
            _ => shown.push_str(item),
        }
        separator = '&';
    }
    shown
}

/// The secrets in a target, to be kept out of every text about it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    /// The passwords and tokens in a target, both as written and decoded.
    pub(crate) fn of(target: &str) -> Secrets {
        let parts = Parts::of(target);
        // A user without a password may well be a token.
        let user = parts.user.map(|user| user.split_once(':').map_or(user, |(_, password)| password));
        let query = parts.query.into_iter().flat_map(|query| query.split('&'));
        let tokens = query.filter_map(|item| item.split_once('=')).filter(|(key, _)| is_secret(key));
        let mut secrets = Secrets::default();
        for secret in user.into_iter().chain(parts.user).chain(tokens.map(|(_, value)| value)) {
            secrets.add(secret);
            secrets.add(&percent_decode_str(secret).decode_utf8_lossy());
        }
        #[cfg(feature = "http")]
        if let Some(user) = parts.user {
            secrets.add(&basic(&percent_decode_str(user).decode_utf8_lossy()));
        }
        secrets
    }

    /// Adds the values of header fields, and the last word of each: the token after `Bearer`.
    pub(crate) fn and_fields<'a>(mut self, fields: impl Iterator<Item = &'a str>) -> Secrets {
        let is_public = |name: &str| PUBLIC_FIELDS.iter().any(|public| name.trim().eq_ignore_ascii_case(public));
        for (_, value) in fields.filter_map(|field| field.split_once(':')).filter(|(name, _)| !is_public(name)) {
            self.add(value.trim());
            self.add(value.split_whitespace().last().unwrap_or_default());
        }
        self
    }

    /// Adds the values of variables (`NAME=VALUE`) whose names look secret.
    pub(crate) fn and_variables<'a>(mut self, variables: impl Iterator<Item = &'a str>) -> Secrets {
        let values = variables.filter_map(|variable| variable.split_once('=')).filter(|(name, _)| is_secret(name));
        values.for_each(|(_, value)| self.add(value));
        self
    }

    /// Adds one secret, both as it is and as messages quote it. The longest come first, so that none is cut by another
    /// that is a part of it.
    fn add(&mut self, secret: &str) {
        for form in [secret.to_owned(), secret.escape_debug().to_string()] {
            if form.len() >= SHORTEST && !self.0.contains(&form) {
                let place = self.0.partition_point(|other| other.len() >= form.len());
                self.0.insert(place, form);
            }
        }
    }

    /// Whether there is nothing to hide.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text with `***` for every secret in it.
    pub(crate) fn scrub(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
    }

    /// The same for a text that may have been cut off: it does not end with the beginning of a secret.
    pub(crate) fn scrub_cut(&self, text: &str) -> String {
        let text = self.scrub(text);
        let begins = |secret: &String| {
            let ends = (SHORTEST..secret.len()).rev().filter(|&end| secret.is_char_boundary(end));
            ends.map(|end| &secret[..end]).find_map(|beginning| text.strip_suffix(beginning)).map(str::len)
        };
        match self.0.iter().filter_map(begins).min() {
            Some(kept) => format!("{}{HIDDEN}", &text[..kept]),
            None => text,
        }
    }
}

/// How an HTTP client encodes a user and a password.
#[cfg(feature = "http")]
fn basic(user: &str) -> String {
    use base64::Engine;
    let end = if user.contains(':') { "" } else { ":" };
    base64::engine::general_purpose::STANDARD.encode(format!("{user}{end}"))
}

/// Whether a user or a password contains a character that ends the authority, which makes its end unclear:
/// `//user:pa#ss@host`.
pub(crate) fn is_ambiguous(name: &str) -> bool {
    let Some((_, rest)) = name.split_once("//") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let beyond = &rest[authority.len()..];
    let port = authority.rsplit_once(':').map_or("", |(host, port)| if host.ends_with(']') { "" } else { port });
    // No option has such a name.
    let is_in_option = || {
        beyond
            .strip_prefix('#')
            .is_some_and(|rest| rest.split(['=', '&']).next().is_some_and(|name| name.contains('@')))
    };
    !authority.contains('@')
        && !authority.starts_with('[')
        && beyond.contains('@')
        && (port.bytes().any(|byte| !byte.is_ascii_digit()) || is_in_option())
}

/// Splits a target from its `user:password`, if it has that.
#[cfg(feature = "http")]
pub(crate) fn without_user(target: &str) -> (String, Option<&str>) {
    let Parts { slashes, user, head, query } = Parts::of(target);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    (format!("{slashes}{head}{query}"), user)
}

struct Parts<'a> {
    slashes: &'a str,
    user: Option<&'a str>,
    head: &'a str,
    query: Option<&'a str>,
}

impl Parts<'_> {
    fn of(target: &str) -> Parts<'_> {
        let (slashes, rest) = match target.strip_prefix("//") {
            Some(rest) => (&target[..2], rest),
            None => ("", target),
        };
        let end = if is_ambiguous(target) { rest.len() } else { rest.find(['/', '?']).unwrap_or(rest.len()) };
        let (user, rest) = match rest[..end].rfind('@') {
            Some(at) if at > 0 => (Some(&rest[..at]), &rest[at + 1..]),
            _ => (None, rest),
        };
        let (head, query) = rest.split_once('?').map_or((rest, None), |(head, query)| (head, Some(query)));
        Parts { slashes, user, head, query }
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "http")]
    #[test]
    fn what_a_server_echoes_of_the_authorization_is_hidden_too() {
        let secrets = Secrets::of("//usr:sekret@127.0.0.1/echo");
        assert_eq!(secrets.scrub("authorization: Basic dXNyOnNla3JldA=="), "authorization: Basic ***");
        let secrets = Secrets::of("//mytoken1@127.0.0.1/echo");
        assert_eq!(secrets.scrub("authorization: Basic bXl0b2tlbjE6"), "authorization: Basic ***");
    }

    #[test]
    fn passwords_and_tokens_are_not_shown() {
        for (target, expected) in [
            ("//shop/ping", "//shop/ping"),
            ("//user:pw@shop:80/ping", "//shop:80/ping"),
            ("//token@shop", "//shop"),
            ("//u:p@ss@shop/a@b", "//shop/a@b"),
            ("//shop/?deep=1&api_token=abc&x", "//shop/?deep=1&api_token=***&x"),
            ("//[::1]:80/", "//[::1]:80/"),
            ("u:p@shop:80", "shop:80"),
            ("@abstract", "@abstract"),
            ("/usr/lib/a@b", "/usr/lib/a@b"),
            ("//user:pa/ss@shop/", "//shop/"),
            ("//user:pa?ss@shop/", "//shop/"),
        ] {
            assert_eq!(shown(target), expected, "{target}");
        }
    }

    #[test]
    fn a_text_is_scrubbed_of_secrets_as_written_and_decoded() {
        let secrets = Secrets::of("//user:p%40ss@shop/?key=abcdef");
        assert_eq!(secrets.scrub("p@ss, p%40ss and abcdef for user"), "***, *** and *** for user");
        assert!(Secrets::of("//shop/?deep=1").is_empty());
    }

    #[test]
    fn a_text_is_scrubbed_of_the_tokens_in_header_fields() {
        let fields = ["Authorization: Bearer abcdef", "Accept: text/html", "X-Api-Key: 12345", "X-Tenant: hunter2"];
        let secrets = Secrets::default().and_fields(fields.into_iter());
        assert_eq!(secrets.scrub("Bearer abcdef, abcdef, 12345, text/html, hunter2"), "***, ***, ***, text/html, ***");
    }

    #[test]
    fn a_secret_that_is_quoted_or_cut_off_is_hidden() {
        let secrets = Secrets::default().and_fields(["X-Token: hunter\"2very-secret"].into_iter());
        assert_eq!(secrets.scrub(&format!("got {:?}", "hunter\"2very-secret")), "got \"***\"");
        for (text, expected) in [
            ("got hunter\"2very-secre", "got ***"),
            ("got hun", "got ***"),
            ("got hu", "got hu"),
            ("hunt for it", "hunt for it"),
            ("got hunter\"2very-secret", "got ***"),
        ] {
            assert_eq!(secrets.scrub_cut(text), expected, "{text}");
        }
        let secrets = Secrets::default().and_fields(["X-Token: äöüß"].into_iter());
        assert_eq!(secrets.scrub_cut("got äö"), "got ***");
    }

    #[test]
    fn a_password_that_hides_the_host_is_found_out() {
        assert!(is_ambiguous("http://user:pa#ss@shop"));
        assert!(is_ambiguous("http://user:pa/ss@shop"));
        assert!(is_ambiguous("http://user:12#34@shop"));
        assert!(!is_ambiguous("http://shop:12#match=34@shop"));
        for clear in ["http://user:pw@shop/a@b", "http://shop:80/@user", "http://shop/@user", "http://[fe80::a]/@u"] {
            assert!(!is_ambiguous(clear), "{clear}");
        }
    }
}
