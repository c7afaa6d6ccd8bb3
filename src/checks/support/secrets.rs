//! What may be shown of a target: never a password, never a token.

use std::cell::RefCell;
use std::ffi::OsString;
use std::sync::{Arc, OnceLock};

use base64::Engine;
use percent_encoding::percent_decode_str;

use super::environment::is_ours_alone;
use super::masking::{self, Extent, Finder, HIDDEN, SHORTEST};
use super::named;

/// The value of a query key or of a variable is hidden when the name contains one of these.
const SECRET_WORDS: [&str; 17] = [
    "assertion",
    "auth",
    "bearer",
    "cookie",
    "credential",
    "hmac",
    "jwt",
    "key",
    "pass",
    "psw",
    "pwd",
    "samlresponse",
    "secret",
    "sess",
    "sig",
    "ticket",
    "token",
];

/// The same where the name is one of these, which are too common within others.
const SECRET_NAMES: [&str; 4] = ["code", "otp", "pw", "sid"];

/// The same where the name has one of these between its other words, as in `github_pat`. They are parts of harmless
/// words.
const SECRET_PARTS: [&str; 5] = ["pat", "pin", "private", "sas", "seed"];

/// Variables whose names sound secret, and whose values are folders or common words.
const PUBLIC_VARIABLES: [&str; 4] = ["DESKTOP_SESSION", "GDMSESSION", "OLDPWD", "PWD"];

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

/// What stands between the parts of a path: segments, their parameters, and those that were meant as a query.
const IN_PATH: [char; 3] = ['/', ';', '&'];

/// What follows a segment of a path that has one of these words is a token, if it has letters and digits: the paths of web
/// hooks are all that protects them.
const BEFORE_TOKENS: [&str; 8] = ["apikey", "hook", "hooks", "key", "secret", "token", "webhook", "webhooks"];

/// A segment that is so long, and changes so often between letters and digits, was drawn by lot.
const SHORTEST_DRAWN: usize = 16;
const LONGEST_STRETCH: usize = 3;

/// A value in a field that is so long may be a token, whatever it is called.
const SHORTEST_IN_FIELD: usize = 8;

/// So many secrets of files are remembered for the run that goes on in a thread.
const MOST_LEARNED: usize = 64;

/// The target without `user:password@`, and with `***` for each value in it that looks secret.
pub(crate) fn shown(target: &str) -> String {
    let Parts { slashes, head, query, fragment, .. } = Parts::of(target);
    let after = |mark: char, items: Option<&str>| match items {
        Some(items) => format!("{mark}{}", hiding(items, &['&'], |_, item| secret_value(item))),
        None => String::new(),
    };
    let (query, fragment) = (after('?', query), after('#', fragment));
    format!(
        "{slashes}{}{query}{fragment}",
        hiding(head, &IN_PATH, |before, item| secret_in_path(slashes, before, item))
    )
}

/// The same of a URL with its scheme.
pub(crate) fn shown_url(url: &str) -> String {
    match url.split_once(':') {
        Some((scheme, target)) if target.starts_with("//") => format!("{scheme}:{}", shown(target)),
        Some(_) | None => shown(url),
    }
}

/// A text that could not be understood, as far as it may be quoted: a word, a path or an address, as most slips are in
/// one. Anything else may hold a secret in a wrong place.
pub(crate) fn quotable(text: &str) -> &str {
    let is_v6 = |host: &str| host.parse::<std::net::Ipv6Addr>().is_ok();
    let in_brackets = text.trim_start_matches('/').strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let plain = match in_brackets {
        Some((host, rest)) if is_v6(host) => rest.to_owned(),
        Some(_) | None => text.replace("::", "."),
    };
    let (name, port) = plain.rsplit_once(':').unwrap_or((&plain, ""));
    let (port, path) = port.split_once('/').unwrap_or((port, ""));
    let is_plain = |text: &str| text.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c));
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain(name) && is_port && is_plain(path) && shown(text) == text { text } else { "…" }
}

/// The same of a target, in which `***` stands for an account that ends where it must.
pub(crate) fn quotable_target(target: &str) -> String {
    let account = target.strip_prefix("//").and_then(|rest| rest.split_once('@'));
    match account.filter(|(account, rest)| !account.contains(['/', '?', '#']) && !rest.contains('@')) {
        Some((_, rest)) if quotable(&format!("//{rest}")) != "…" => format!("//{HIDDEN}@{rest}"),
        Some(_) | None => quotable(target).to_owned(),
    }
}

/// What a name that is not known is, as far as it may be quoted, and what is known: a slip in one of those is shown with what was
/// meant. Any other may be a part of a secret, cut off at an `&`.
pub(crate) fn unknown_name(name: &str, known: &[&'static str]) -> String {
    let all = known.join(", ");
    match meant(name, known.iter().copied()) {
        Some(meant) => format!("{name:?}: do you mean {meant:?}? (known: {all})"),
        None => format!("\"…\" (known: {all})"),
    }
}

/// The known name in which this one is a slip.
pub(crate) fn meant(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let slips = known.map(|known| (strsim::damerau_levenshtein(&name.to_lowercase(), known), known));
    let small = slips.filter(|(slips, known)| *slips <= (known.len() / 2).min(2));
    small.min_by_key(|(slips, _)| *slips).map(|(_, known)| known)
}

/// These items without what is secret in each, which is its end. What is asked of it is also told the item before it.
fn hiding(
    items: &str,
    separators: &[char],
    secret: impl for<'a> Fn(Option<&str>, &'a str) -> Option<&'a str>,
) -> String {
    let mut before = None;
    let shown = items.split_inclusive(separators).map(|piece| {
        let item = piece.trim_end_matches(separators);
        match secret(before.replace(item), item) {
            Some(value) => format!("{}{HIDDEN}{}", &item[..item.len() - value.len()], &piece[item.len()..]),
            None => piece.to_owned(),
        }
    });
    shown.collect()
}

/// What is secret in an item of a path: a value, or all of it, if it is a token. Where a URL has its host, there is none before.
fn secret_in_path<'a>(slashes: &str, before: Option<&str>, item: &'a str) -> Option<&'a str> {
    secret_value(item).or_else(|| (!slashes.is_empty() && is_token(before?, item)).then_some(item))
}

/// Whether a segment of a path is a token, as in `/hook/T0KEN`, or was drawn by lot.
fn is_token(before: &str, segment: &str) -> bool {
    let segment = percent_decode_str(segment).decode_utf8_lossy();
    let has = |is: fn(&u8) -> bool| segment.bytes().any(|byte| is(&byte));
    let is_mixed = segment.len() >= SHORTEST && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    let before = before.to_ascii_lowercase();
    let is_named = || before.split(|c: char| !c.is_alphanumeric()).any(|part| BEFORE_TOKENS.contains(&part));
    if is_mixed { is_named() || is_drawn(&segment) } else { are_drawn_letters(&segment) }
}

/// Whether a word has been drawn by lot, as tokens, keys and UUIDs are: words and versions change less often.
fn is_drawn(word: &str) -> bool {
    let letters: Vec<u8> = word.bytes().filter(u8::is_ascii_alphanumeric).collect();
    letters.len() >= SHORTEST_DRAWN
        && letters.len() < stretches(&letters).count() * LONGEST_STRETCH
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:~".contains(&byte))
}

/// The same of letters alone: those of words have a vowel among five, and begin with the only capital.
fn are_drawn_letters(word: &str) -> bool {
    let letters = word.as_bytes();
    let vowels = letters.iter().filter(|letter| b"aeiou".contains(&letter.to_ascii_lowercase())).count();
    let small: Vec<_> = stretches(letters).filter(|stretch| stretch[0].is_ascii_lowercase()).collect();
    let alone = small.iter().filter(|stretch| stretch.len() == 1).count();
    letters.len() >= SHORTEST_DRAWN
        && letters.iter().all(u8::is_ascii_alphabetic)
        && (vowels * 5 < letters.len() || alone > 1 && alone * 3 >= small.len())
}

/// Its digits, capitals and small letters that stand side by side.
fn stretches(letters: &[u8]) -> impl Iterator<Item = &[u8]> {
    let kind = |byte: &u8| (byte.is_ascii_digit(), byte.is_ascii_uppercase());
    letters.chunk_by(move |one, other| kind(one) == kind(other))
}

/// The end of `key=value` that is secret: the value, or that of a query in it, as in `next=/login?token=…`.
fn secret_value(item: &str) -> Option<&str> {
    let (key, value) = item.split_once('=')?;
    if is_secret(key, value) { Some(value) } else { secret_value(value.split_once('?')?.1) }
}

/// The secrets of a check, to be kept out of every text about it. Once its suite is complete, they are those of all checks
/// in it: a program may come across what others were told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    own: Vec<String>,
    suite: Arc<OnceLock<Finder>>,
}

thread_local! {
    /// What the run that goes on in this thread has read from the files of passwords and tokens.
    static LEARNED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps a secret that came to be known in a run out of every text about that run.
pub(crate) fn learn(secret: &str) {
    LEARNED.with_borrow_mut(|learned| {
        if secret.len() >= SHORTEST && learned.len() < MOST_LEARNED && !learned.iter().any(|other| other == secret) {
            learned.push(secret.to_owned());
        }
    });
}

/// The same of what a text calls a secret, which is sent to a server.
#[cfg(feature = "http")]
pub(crate) fn learn_sent(text: &str) {
    Secrets::default().and_sent([text].into_iter()).own.iter().for_each(|secret| learn(secret));
}

/// Begins a run in this thread: what others have learned does not concern it.
pub(crate) fn forget_learned() {
    LEARNED.with_borrow_mut(Vec::clear);
}

impl Secrets {
    /// The passwords and tokens in a target, both as written and decoded.
    pub(crate) fn of(target: &str) -> Secrets {
        let parts = Parts::of(target);
        // A user without a password may well be a token.
        let user = parts.user.map(|user| user.split_once(':').map_or(user, |(_, password)| password));
        let items = parts.query.into_iter().chain(parts.fragment).flat_map(|items| items.split('&'));
        let mut before = None;
        let in_path =
            parts.head.split(IN_PATH).filter_map(|item| secret_in_path(parts.slashes, before.replace(item), item));
        let tokens = items.filter_map(secret_value).chain(in_path);
        let mut secrets = Secrets::default();
        for secret in user.into_iter().chain(parts.user).chain(tokens) {
            secrets.add_with_url(secret);
            secrets.add_with_url(&percent_decode_str(secret).decode_utf8_lossy());
        }
        secrets
    }

    /// Adds the values of header fields, and what is secret within each: the token after `Bearer`, a cookie, the password that
    /// is encoded after `Basic`.
    pub(crate) fn and_fields<'a>(mut self, fields: impl Iterator<Item = &'a str>) -> Secrets {
        let is_public = |name: &str| PUBLIC_FIELDS.iter().any(|public| name.trim().eq_ignore_ascii_case(public));
        for (_, value) in fields.filter_map(|field| field.split_once(':')).filter(|(name, _)| !is_public(name)) {
            self.add(value.trim());
            self.add(value.split_whitespace().last().unwrap_or_default());
            for word in value.split([' ', ';', ',']) {
                if let Some((name, value)) = word.split_once('=') {
                    let value = value.trim_matches('"');
                    if value.len() >= SHORTEST_IN_FIELD || is_secret(name, value) {
                        self.add(value);
                    }
                }
                if let Some(account) = decoded_account(word) {
                    self.add(&account);
                    self.add(account.split_once(':').map_or("", |(_, password)| password));
                }
            }
        }
        self
    }

    /// Adds the values of variables (`NAME=VALUE`) whose names look secret.
    pub(crate) fn and_variables<'a>(mut self, variables: impl Iterator<Item = &'a str>) -> Secrets {
        let variables = variables.filter_map(|variable| variable.split_once('='));
        let values = variables.filter(|(name, value)| is_secret(name, value)).map(|(_, value)| value);
        values.for_each(|value| self.add_with_url(value));
        self
    }

    /// Adds what a text names as a secret, as in `password = 'x'`, and the secrets of the URLs in it.
    pub(crate) fn and_named<'a>(mut self, texts: impl Iterator<Item = &'a str>) -> Secrets {
        for text in texts {
            named::in_text(text, |name| is_secret(name, "")).into_iter().for_each(|secret| self.add_with_url(secret));
            text.split_whitespace().filter(|word| url_target(word).is_some()).for_each(|url| {
                let secrets = url_target(url).map(Secrets::of).unwrap_or_default();
                secrets.own.iter().for_each(|secret| self.add(secret));
            });
        }
        self
    }

    /// The same of what is sent to a server, and what follows a command that signs us in, as in `AUTH x`.
    pub(crate) fn and_sent<'a>(mut self, texts: impl Iterator<Item = &'a str>) -> Secrets {
        for text in texts {
            self = self.and_named([text].into_iter());
            named::after_commands(text).into_iter().for_each(|secret| self.add(secret));
        }
        self
    }

    /// Those in the environment that programs get: our own, and what is to be set in it.
    pub(crate) fn of_environment(changes: &[(String, String)]) -> Secrets {
        let inherited = std::env::vars_os();
        let text = |text: OsString| text.to_string_lossy().into_owned();
        let inherited =
            inherited.filter(|(name, _)| !is_ours_alone(name)).map(|(name, value)| (text(name), text(value)));
        let set = changes.iter().filter(|(name, _)| !is_ours_alone(name.as_ref())).cloned();
        // Without these words, texts could not be read.
        let is_public = |name: &str, value: &str| {
            PUBLIC_VARIABLES.contains(&name) || name.starts_with("XDG_SESSION_") || ["true", "false"].contains(&value)
        };
        let variables = inherited.chain(set).filter(|(name, value)| !is_public(name, value));
        let mut secrets = Secrets::default();
        for (_, value) in variables.filter(|(name, value)| is_secret(name, value)) {
            secrets.add_with_url(&value);
        }
        secrets
    }

    /// Adds a secret, and what is secret within it if it is a URL.
    fn add_with_url(&mut self, secret: &str) {
        self.add(secret);
        if let Some(target) = url_target(secret) {
            Secrets::of(target).own.iter().for_each(|secret| self.add(secret));
        }
    }

    fn add(&mut self, secret: &str) {
        if secret.len() >= SHORTEST && !self.own.iter().any(|other| other == secret) {
            self.own.push(secret.to_owned());
        }
    }

    /// The same for a check of this suite, which learns them.
    pub(crate) fn within(mut self, suite: &mut Secrets) -> Secrets {
        self.own.iter().for_each(|secret| suite.add(secret));
        self.suite = suite.suite.clone();
        self
    }

    /// All checks of the suite are known: from now on, each hides the secrets of all.
    pub(crate) fn complete(self) {
        let _ = self.suite.set(Finder::of(self.own.iter()));
    }

    /// Whether there is nothing to hide.
    pub(crate) fn is_empty(&self) -> bool {
        self.suite.get().map_or(self.own.is_empty(), Finder::is_empty) && LEARNED.with_borrow(Vec::is_empty)
    }

    /// The text with `***` for every secret in it, however it is encoded there.
    pub(crate) fn scrub(&self, text: &str) -> String {
        self.hide_in(text, Extent::Whole)
    }

    /// The same for a text that may have been cut off: it does not end with the beginning of a secret.
    pub(crate) fn scrub_cut(&self, text: &str) -> String {
        self.hide_in(text, Extent::Cut)
    }

    fn hide_in(&self, text: &str, extent: Extent) -> String {
        let own = self.suite.get().is_none().then(|| Finder::of(self.own.iter()));
        let learned = LEARNED.with_borrow(|learned| (!learned.is_empty()).then(|| Finder::of(learned.iter())));
        let finders = self.suite.get().into_iter().chain(&own).chain(&learned);
        masking::scrub(finders, text, extent)
    }
}

/// What is encoded in a word, if that is text.
fn decoded_account(word: &str) -> Option<String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(word).ok()?;
    String::from_utf8(bytes).ok().filter(|text| text.contains(':') && !text.contains(char::is_control))
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
pub(crate) fn without_user(target: &str) -> (String, Option<&str>) {
    let Parts { slashes, user, head, query, fragment } = Parts::of(target);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
    (format!("{slashes}{head}{query}{fragment}"), user)
}

struct Parts<'a> {
    slashes: &'a str,
    user: Option<&'a str>,
    head: &'a str,
    query: Option<&'a str>,
    /// Of a URL that a server names; in a name, options stand there.
    fragment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(target: &'a str) -> Parts<'a> {
        let (slashes, rest) = match target.strip_prefix("//") {
            Some(rest) => (&target[..2], rest),
            None => ("", target),
        };
        let end = if is_ambiguous(target) { rest.len() } else { rest.find(['/', '?']).unwrap_or(rest.len()) };
        let (user, rest) = match rest[..end].rfind('@') {
            Some(at) if at > 0 => (Some(&rest[..at]), &rest[at + 1..]),
            _ => (None, rest),
        };
        let split = |text: &'a str, mark| text.split_once(mark).map_or((text, None), |(text, rest)| (text, Some(rest)));
        let (rest, fragment) = split(rest, '#');
        let (head, query) = split(rest, '?');
        Parts { slashes, user, head, query, fragment }
    }
}

fn is_secret(key: &str, value: &str) -> bool {
    let key = percent_decode_str(key).decode_utf8_lossy().to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
        || SECRET_NAMES.contains(&&*key)
        || key.split(|c: char| !c.is_alphanumeric()).any(|part| SECRET_PARTS.contains(&part))
        || url_target(&percent_decode_str(value).decode_utf8_lossy()).is_some_and(|target| shown(target) != target)
}

/// What follows the scheme of a URL, as in `postgres://user:password@db/shop`.
fn url_target(url: &str) -> Option<&str> {
    url.find("://").map(|colon| &url[colon + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::transcript::{self, Field};

    /// What is left of a text in a context. The same is left of it in a transcript.
    fn scrubbed(secrets: &Secrets, text: &str) -> String {
        transcript::open();
        transcript::note(Field::Body, text);
        let taken = transcript::take(|text| secrets.scrub_cut(&text)).expect("it was noted");
        let noted: Vec<_> = taken.values(Field::Body).collect();
        assert_eq!(noted, [crate::model::text::line(&secrets.scrub_cut(text))]);
        secrets.scrub(text)
    }

    #[cfg(feature = "http")]
    #[test]
    fn what_a_server_echoes_of_the_authorization_is_hidden_too() {
        let secrets = Secrets::of("//usr:sekret@127.0.0.1/echo");
        assert_eq!(scrubbed(&secrets, "authorization: Basic dXNyOnNla3JldA=="), "authorization: Basic ***");
        let secrets = Secrets::of("//mytoken1@127.0.0.1/echo");
        assert_eq!(scrubbed(&secrets, "authorization: Basic bXl0b2tlbjE6"), "authorization: Basic ***");
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
            ("//shop/in;jsessionid=abc?x=1", "//shop/in;jsessionid=***?x=1"),
            ("//shop/?access_token=abc&code=123&pw=x&zip=8000", "//shop/?access_token=***&code=***&pw=***&zip=8000"),
            ("//shop/?api%5Ftoken=abc&p%77=x", "//shop/?api%5Ftoken=***&p%77=***"),
            ("//shop/#access_token=abc&state=1", "//shop/#access_token=***&state=1"),
            ("//shop/?x=1#code=abc", "//shop/?x=1#code=***"),
            ("//shop/?db=postgres://user:pw@db/shop&x=http://db/", "//shop/?db=***&x=http://db/"),
            ("//shop/?db=postgres%3A%2F%2Fuser:pw%40db", "//shop/?db=***"),
            ("//shop/?db=jdbc:postgresql://db/shop?password=abc", "//shop/?db=***"),
            ("//shop/?next=/login?token=abc&x=1", "//shop/?next=/login?token=***&x=1"),
            ("//shop/?token=abc?x=1", "//shop/?token=***"),
            ("//chat/hook/T0KEN", "//chat/hook/***"),
            ("//chat/api/web-hooks/T0%4BEN?x=1", "//chat/api/web-hooks/***?x=1"),
            ("//chat/hooks/deploy", "//chat/hooks/deploy"),
            (
                "//hooks.chat/services/T00000000/B00000000/a8Xk2Lm9Qz4Rt7Vw1Yb3Nc5P",
                "//hooks.chat/services/T00000000/B00000000/***",
            ),
            ("//chat/bot123456789:AAF-x1yZ2w3V4u5T6s7R8q/getMe", "//chat/***/getMe"),
            ("//ping/6c2f41d5-9b3e-4c07-8a1d-0e5f7b92c3d4/start", "//ping/***/start"),
            ("//alerts/kJhGfdSaQwEbRtYuIxZ/fire", "//alerts/***/fire"),
            ("//alerts/xkqzvbnmwrtplkjhgf?x=1", "//alerts/***?x=1"),
            ("//shop/HealthCheckStatusOfTheDay", "//shop/HealthCheckStatusOfTheDay"),
            ("//shop/rechtsschutzversicherung", "//shop/rechtsschutzversicherung"),
            ("//a8xk2lm9qz4rt7vw1yb3nc5p.example/", "//a8xk2lm9qz4rt7vw1yb3nc5p.example/"),
            ("//shop/how-to-install-debian-12-on-arm64", "//shop/how-to-install-debian-12-on-arm64"),
            ("//shop/libfoo-1.2.3-4.el7.x86_64.rpm", "//shop/libfoo-1.2.3-4.el7.x86_64.rpm"),
            ("//shop/api/v2/healthchecks", "//shop/api/v2/healthchecks"),
            ("/var/lib/hook/T0KEN", "/var/lib/hook/T0KEN"),
            (
                "//shop/?to=me@shop.example&next=http://shop/?page=2",
                "//shop/?to=me@shop.example&next=http://shop/?page=2",
            ),
        ] {
            assert_eq!(shown(target), expected, "{target}");
        }
    }

    #[test]
    fn each_name_of_a_secret_hides_its_value() {
        let secret = [
            "access_token",
            "Authorization",
            "client_secret",
            "code",
            "id_token",
            "JSESSIONID",
            "api-key",
            "X-Amz-Signature",
            "PHPSESSID",
            "password",
            "passwd",
            "pwd",
            "pw",
            "otp",
            "sid",
            "sessionid",
            "jwt",
            "credentials",
            "cookie",
            "pin",
            "card-pin",
            "psw",
            "ticket",
            "bearer",
            "github_pat",
            "hmac",
            "client_assertion",
            "SAMLResponse",
            "sas",
            "private",
            "seed",
            "wallet.seed",
        ];
        let public = [
            "page",
            "q",
            "zip",
            "encode",
            "country",
            "side",
            "opw",
            "state",
            "lang",
            "id",
            "user",
            "path",
            "pinned",
            "spin",
            "privately",
            "sass",
            "seedling",
        ];
        for (name, is_secret) in secret.map(|name| (name, true)).into_iter().chain(public.map(|name| (name, false))) {
            let encoded: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
            for place in ["//shop/?X=hunter2", "//shop/?a=b&X=hunter2", "//shop/a;X=hunter2/b", "//shop/#X=hunter2"] {
                for name in [name, &name.to_uppercase(), &encoded] {
                    let target = place.replace('X', name);
                    assert_eq!(!shown(&target).contains("hunter2"), is_secret, "{target}");
                    assert_eq!(scrubbed(&Secrets::of(&target), "hunter2") == HIDDEN, is_secret, "{target}");
                }
            }
            let variables = Secrets::default().and_variables([format!("{name}=hunter2").as_str()].into_iter());
            assert_eq!(scrubbed(&variables, "hunter2") == HIDDEN, is_secret, "{name}");
        }
    }

    #[test]
    fn the_rest_of_a_secret_behind_an_ampersand_is_not_taken_for_a_name() {
        for (name, quoted) in [
            ("haeder", "\"haeder\": do you mean \"header\"?"),
            ("Headers", "\"Headers\": do you mean \"header\"?"),
            ("tga", "\"tga\": do you mean \"tag\"?"),
            ("hunter2secret", "\"…\""),
            ("headerhunter2", "\"…\""),
            ("u:hunter2@h", "\"…\""),
            ("pw1", "\"…\""),
            ("", "\"…\""),
        ] {
            let told = unknown_name(name, &["header", "tag", "timeout"]);
            assert_eq!(told, format!("{quoted} (known: header, tag, timeout)"), "{name}");
        }
    }

    #[test]
    fn a_target_with_an_account_is_quoted_without_it() {
        for (target, quoted) in [
            ("//anna:hunter2@db:5432/shop", "//***@db:5432/shop"),
            ("//hunter2@[::1]:80", "//***@[::1]:80"),
            ("//cn=web,dc=shop:hunter2@dir", "//***@dir"),
            ("//anna:hunter2@db/?token=a", "…"),
            ("//anna:hun/ter2@db", "…"),
            ("//anna:hun@ter2@db", "…"),
            ("/anna:hunter2@db/", "…"),
            ("anna:hunter2@db", "…"),
            ("//anna:hunter2@", "//***@"),
        ] {
            assert_eq!(quotable_target(target), quoted, "{target}");
        }
    }

    #[test]
    fn a_text_is_scrubbed_of_secrets_as_written_and_decoded() {
        let secrets = Secrets::of("//user:p%40ss@shop/?key=abcdef");
        assert_eq!(scrubbed(&secrets, "p@ss, p%40ss and abcdef for user"), "***, *** and *** for user");
        assert!(Secrets::of("//shop/?deep=1").is_empty());
        let secrets = Secrets::of("//shop/?db=postgres://user:sekret@db");
        assert_eq!(scrubbed(&secrets, "cannot sign in with sekret"), "cannot sign in with ***");
        let secrets = Secrets::default().and_variables(["DATABASE_URL=postgres://user:sekret@db"].into_iter());
        assert_eq!(scrubbed(&secrets, "postgres://user:sekret@db: no sekret"), "***: no ***");
    }

    #[test]
    fn secrets_of_the_environment_are_hidden_and_its_common_words_are_not() {
        let variable = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let variables = [
            ("API_TOKEN", "hunter2"),
            ("DATABASE_URL", "postgres://u:sesame@h"),
            ("HOSPITAL_TOKEN_FILE", "/run/file-of-the-token"),
            ("OLDPWD", "/srv/folder-before"),
            ("XDG_SESSION_CLASS", "person"),
            ("AUTH", "true"),
            ("COLOR", "magenta"),
        ];
        let secrets = Secrets::of_environment(&variables.map(variable));
        let public = "/run/file-of-the-token /srv/folder-before person true magenta";
        assert_eq!(scrubbed(&secrets, &format!("hunter2 sesame {public}")), format!("*** *** {public}"));
    }

    #[test]
    fn a_text_is_scrubbed_of_the_secrets_of_the_whole_suite_once_it_is_complete() {
        let mut suite = Secrets::default();
        let one = Secrets::of("//user:sesame@shop").within(&mut suite);
        let none = Secrets::of("//shop").within(&mut suite);
        assert!(none.is_empty());
        let two = Secrets::of("//user:hunter2@shop").within(&mut suite);
        suite.complete();
        for secrets in [one, none, two] {
            assert_eq!(scrubbed(&secrets, "sesame, hunter2"), "***, ***");
            assert_eq!(secrets.scrub_cut("got sesa"), "got ***");
        }
    }

    #[test]
    fn a_text_is_scrubbed_of_the_tokens_in_header_fields() {
        let fields = ["Authorization: Bearer abcdef", "Accept: text/html", "X-Api-Key: 12345", "X-Tenant: hunter2"];
        let secrets = Secrets::default().and_fields(fields.into_iter());
        assert_eq!(
            scrubbed(&secrets, "Bearer abcdef, abcdef, 12345, text/html, hunter2"),
            "***, ***, ***, text/html, ***"
        );
    }

    #[test]
    fn a_secret_that_is_quoted_or_cut_off_is_hidden() {
        let secrets = Secrets::default().and_fields(["X-Token: hunter\"2very-secret"].into_iter());
        assert_eq!(scrubbed(&secrets, &format!("got {:?}", "hunter\"2very-secret")), "got \"***\"");
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
