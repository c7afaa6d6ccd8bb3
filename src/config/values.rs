//! Values as people write them: durations, masks, variables, levels.

use clap::ValueEnum;

/// How important a log line has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// Everything, for those who work on hospital itself.
    Debug,
    /// What happens.
    Info,
    /// What somebody should look at.
    #[value(alias = "warn")]
    Warning,
    /// What is broken.
    #[value(alias = "critical")]
    Error,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How a line of the access log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccessFormat {
    /// As Apache and nginx write it, with the request's id and duration behind.
    Combined,
    /// One JSON object a line.
    Json,
}

/// Who may see more of a report than statuses and counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Details {
    /// Everybody.
    Always,
    /// Nobody.
    Never,
    /// Whoever has the token.
    Token,
}

/// Reads an octal mask such as `022`.
pub(super) fn mask(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mask| *mask <= 0o777)
        .ok_or_else(|| "write a mask in octal, as in 022 or 077".to_owned())
}

/// Reads a path that everything is served under: empty, or with a leading and no trailing slash.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    let printable = path.chars().all(|c| c.is_ascii_graphic() && !"?#%".contains(c));
    match path {
        "" => Ok(String::new()),
        _ if path.starts_with('/') && printable => Ok(path.to_owned()),
        _ => Err("write a path as it stands in a URL, as in /healthchecks".to_owned()),
    }
}

/// Reads `NAME=VALUE`.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if is_name(name) => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write a variable as NAME=VALUE".to_owned()),
    }
}

/// Reads a file of variables: one `NAME=VALUE` a line, `#` comments, optional `export`; quotes around a value are
/// removed. Nothing is expanded: a `$` in a password is a `$`, as with systemd and Docker.
///
/// # Errors
///
/// The number of the line and what is expected there, never its content, which may be a secret.
pub(super) fn env_file(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut variables = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let wrong = || format!("line {}: write NAME=VALUE, a value with spaces in quotes", index + 1);
        let (name, value) = line.split_once('=').ok_or_else(wrong)?;
        let (name, value) = (name.trim_end(), value.trim_start());
        let value = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                value[1..].strip_suffix(quote).filter(|inner| !inner.contains(quote)).ok_or_else(wrong)?
            }
            _ => value,
        };
        if !is_name(name) || value.contains('\0') {
            return Err(wrong());
        }
        variables.push((name.to_owned(), value.to_owned()));
    }
    Ok(variables)
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn masks_are_octal() {
        assert_eq!(mask("022"), Ok(0o022));
        assert_eq!(mask("0o77"), Ok(0o77));
        for text in ["", "8", "1777", "u=rwx"] {
            assert!(mask(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_env_file_is_read_as_systemd_reads_it() {
        let text = "# comment\n\nA=1\nexport B=two words\n  C = \"x $y # z\"\nD='\"'\nE=\n";
        let expected = [("A", "1"), ("B", "two words"), ("C", "x $y # z"), ("D", "\""), ("E", "")];
        let read = env_file(text).expect("it is well formed");
        assert_eq!(read.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_wrong_line_is_named_but_not_shown() {
        for text in ["A=1\nsecret", "A=1\n=secret", "A=1\nB=\"secret", "A=1\n1B=secret"] {
            let error = env_file(text).expect_err(text);
            assert!(error.starts_with("line 2:") && !error.contains("secret"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".*") {
            let _ = (mask(&text), variable(&text), env_file(&text));
        }

        #[test]
        fn what_is_written_in_quotes_is_read_as_it_stands(value in "[^\"\r\n\0]*") {
            let read = env_file(&format!("NAME=\"{value}\"")).expect("it is quoted");
            prop_assert_eq!(&read[0].1, &value);
        }
    }
}
