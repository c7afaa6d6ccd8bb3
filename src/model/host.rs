//! `HOST:PORT`, as addresses to listen on and targets of checks are written.

/// What is wrong with a text that should be `HOST:PORT`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Malformed<'a> {
    /// It has another form.
    Form,
    /// Several colons and no brackets: an IPv6 address, maybe with a port.
    Unbracketed,
    /// This is not a port.
    Port(&'a str),
}

/// Splits `host`, `host:port`, `[v6]` and `[v6]:port`. The host has no brackets and may be empty.
pub(crate) fn split(text: &str) -> Result<(&str, Option<u16>), Malformed<'_>> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or(Malformed::Form)?;
            match rest {
                "" => (host, None),
                port => (host, Some(port.strip_prefix(':').ok_or(Malformed::Form)?)),
            }
        }
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err(Malformed::Unbracketed),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.contains(|c: char| c.is_whitespace() || "/@?$".contains(c)) {
        return Err(Malformed::Form);
    }
    let port = port.map(|port| port.parse().map_err(|_| Malformed::Port(port))).transpose()?;
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_split() {
        for (text, expected) in [
            ("db:5432", Ok(("db", Some(5432)))),
            ("db", Ok(("db", None))),
            (":80", Ok(("", Some(80)))),
            ("[::1]:80", Ok(("::1", Some(80)))),
            ("[::1]", Ok(("::1", None))),
            ("::1", Err(Malformed::Unbracketed)),
            ("[::1", Err(Malformed::Form)),
            ("[::1]80", Err(Malformed::Form)),
            ("db:", Err(Malformed::Port(""))),
            ("db:65536", Err(Malformed::Port("65536"))),
            ("user@db:80", Err(Malformed::Form)),
            ("db/x", Err(Malformed::Form)),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }
}
