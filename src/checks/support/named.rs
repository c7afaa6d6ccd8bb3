//! What a text calls a secret: `password = 'x'`, `{"token": "x"}`, `--key x`, `AUTH x`.

/// Between a name and its value in SQL.
const OPERATORS: [&str; 6] = ["in", "is", "like", "ilike", "not", "values"];

/// What a value may begin with, in front of a secret.
const SCHEMES: [&str; 9] = ["apikey", "basic", "bearer", "cram-md5", "digest", "login", "negotiate", "plain", "token"];

/// What is not meant as a secret, whatever it is called.
const PLAIN: [&str; 5] = ["default", "false", "none", "null", "true"];

/// Commands that sign somebody in: the rest of their line tells who, and how.
const COMMANDS: [&str; 4] = ["auth", "authenticate", "login", "pass"];

/// The values in a text whose names are those of secrets.
pub(super) fn in_text(text: &str, is_secret: impl Fn(&str) -> bool) -> Vec<&str> {
    let mut found = Vec::new();
    for name in words(text) {
        let rest = &text[place(text, name) + name.len()..];
        if is_secret(name) {
            found.extend(value(name, rest));
        } else if name.to_ascii_lowercase().contains("crypt") {
            // A key is one of what such a function is given.
            let given = rest.strip_prefix('(').and_then(|rest| rest.split(')').next()).unwrap_or_default();
            found.extend(given.split('\'').skip(1).step_by(2));
        }
    }
    found
}

/// What a line says after a command that signs somebody in, or the lines after that, as the protocol of Redis has it.
pub(super) fn after_commands(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let mut words = line.split_whitespace().skip_while(|word| !COMMANDS.contains(&&*word.to_ascii_lowercase()));
        if words.next().is_none() {
            continue;
        }
        let said: Vec<&str> = words.filter(|word| !SCHEMES.contains(&&*word.to_ascii_lowercase())).collect();
        match said.is_empty() {
            true => {
                let after = lines[number + 1..].iter().filter(|line| !line.starts_with(['$', '*'])).take(2);
                found.extend(after.map(|line| line.trim()).take_while(|line| !line.is_empty()));
            }
            false => found.extend(said.into_iter().map(|word| word.trim_matches('"'))),
        }
    }
    found
}

/// Names and what looks like them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    text.split(move |c| !is_part(c)).filter(|word| !word.is_empty())
}

/// Where a part of a text lies in it.
fn place(text: &str, part: &str) -> usize {
    part.as_ptr() as usize - text.as_ptr() as usize
}

/// The value of a name, from what follows that.
fn value<'a>(name: &str, rest: &'a str) -> Vec<&'a str> {
    let is_between = |c: char| c.is_whitespace() || "\"'=:(<>!~".contains(c);
    let mut begin = rest.trim_start_matches(is_between);
    let mut is_named = rest[..rest.len() - begin.len()].contains(['=', ':', '(', '>', '~']) || name.starts_with('-');
    while let Some(word) = words(begin).next().filter(|word| {
        begin.starts_with(*word) && begin.len() < rest.len() && OPERATORS.contains(&&*word.to_ascii_lowercase())
    }) {
        is_named = true;
        begin = begin[word.len()..].trim_start_matches(is_between);
    }
    let between = &rest[..rest.len() - begin.len()];
    // Behind that, a tag ends.
    if !is_named || between.ends_with('<') {
        return Vec::new();
    }
    let quote = between.chars().next_back().filter(|c| ['"', '\''].contains(c));
    let until = |text: &'a str| match quote {
        Some(quote) => text.split(quote).next().unwrap_or_default(),
        None => text.split(|c: char| c.is_whitespace() || "&;,\"'<>)}]|".contains(c)).next().unwrap_or_default(),
    };
    let value = until(begin);
    let is_compared = quote.is_none() && between.contains(['<', '>']) && between.contains(' ');
    match () {
        () if PLAIN.contains(&&*value.to_ascii_lowercase()) => Vec::new(),
        // More than so many of them.
        () if is_compared && value.bytes().all(|byte| byte.is_ascii_digit()) => Vec::new(),
        () => match value.split_once(' ').filter(|(scheme, _)| SCHEMES.contains(&&*scheme.to_ascii_lowercase())) {
            Some((_, secret)) => vec![value, secret],
            None if SCHEMES.contains(&&*value.to_ascii_lowercase()) => {
                let next = begin[value.len()..].trim_start_matches(' ');
                vec![until(next)]
            }
            None => vec![value],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_as_a_secret_is_found_in_statements_bodies_and_commands() {
        let is_secret = |name: &str| {
            let name = name.to_ascii_lowercase();
            ["pass", "token", "auth", "pin"].iter().any(|word| name.contains(word))
        };
        for (text, found) in [
            ("select 1 from users where name = 'anna' and password = 'x y'", vec!["x y"]),
            ("select 1 where token in ('abc')", vec!["abc"]),
            ("select 1 where token_count > 100 and pin = 1234", vec!["1234"]),
            ("select 1 where password is null", vec![]),
            ("select password from users", vec![]),
            ("select pgp_sym_decrypt(data, 'the key') = 'ok'", vec!["the key"]),
            (r#"{"user": "anna", "password": "x, y"}"#, vec!["x, y"]),
            ("grant_type=password&client_pass=abc%20d&x=1", vec!["abc%20d"]),
            ("<login><password>abc</password></login>", vec!["abc"]),
            ("GET / HTTP/1.1\r\nAuthorization: Bearer abc\r\nX: y\r\n", vec!["abc"]),
            ("'Authorization: Basic abc=' -x", vec!["abc="]),
            ("--password abc --user anna", vec!["abc"]),
            ("--password=abc", vec!["abc"]),
            ("test -e /var/lib/pass && echo ok", vec![]),
            ("PING\r\n", vec![]),
        ] {
            let all: Vec<_> = in_text(text, is_secret).into_iter().filter(|value| !value.is_empty()).collect();
            assert_eq!(all, found, "{text}");
        }
    }

    #[test]
    fn what_signs_us_in_is_found_in_what_is_sent() {
        for (text, found) in [
            ("AUTH hunter2\r\nPING\r\n", vec!["hunter2"]),
            ("auth anna hunter2\r\n", vec!["anna", "hunter2"]),
            ("*2\r\n$4\r\nAUTH\r\n$7\r\nhunter2\r\n", vec!["hunter2"]),
            ("USER anna\r\nPASS hunter2\r\n", vec!["hunter2"]),
            ("a1 LOGIN anna \"hunter2\"\r\n", vec!["anna", "hunter2"]),
            ("AUTH PLAIN AGFubmEA\r\n", vec!["AGFubmEA"]),
            ("GET / HTTP/1.0\r\n\r\n", vec![]),
        ] {
            assert_eq!(after_commands(text), found, "{text}");
        }
    }
}
