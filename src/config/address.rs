//! Addresses to listen on, as they are written: `HOST:PORT`, `[V6]:PORT`, `unix:PATH`, `unix:@NAME`, `fd://N`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::model::host::{Malformed, split};

/// The port when none is named: that of Python's hospital.
pub(crate) const DEFAULT_PORT: u16 = 1515;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A TCP port. The host may be a name; it is looked up when the socket is bound.
    Tcp {
        /// Without the brackets of an IPv6 literal.
        host: String,
        /// 0 lets the kernel choose.
        port: u16,
    },
    /// A unix socket in the file system.
    Unix(PathBuf),
    /// A unix socket in Linux's abstract namespace, without the `@`.
    Abstract(String),
    /// A socket that the parent process left open for us under this number.
    Fd(i32),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        if let Some(number) = text.strip_prefix("fd://") {
            return parse_fd(number).map(Address::Fd);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.strip_prefix('@') {
                Some("") => Err("\"unix:@\" lacks a name after the @".to_owned()),
                Some(name) => Ok(Address::Abstract(name.to_owned())),
                None if path.is_empty() => Err("\"unix:\" lacks a path, as in unix:/run/hospital.sock".to_owned()),
                None => Ok(Address::Unix(PathBuf::from(path))),
            };
        }
        parse_tcp(text)
    }
}

fn parse_tcp(text: &str) -> Result<Address, String> {
    let wanted = || "this is not an address: write HOST:PORT, [V6]:PORT, unix:PATH, unix:@NAME or fd://N".to_owned();
    if text.is_empty() || text.contains("://") {
        return Err(wanted());
    }
    let (host, port) = split(text).map_err(|malformed| match malformed {
        Malformed::Form => wanted(),
        Malformed::Unbracketed => "it is ambiguous: put an IPv6 address in brackets, as in [::1]:1515".to_owned(),
        Malformed::Port(_) => "the port is not a number from 0 to 65535".to_owned(),
    })?;
    // An empty host, as in ":8000", means every address, as with gunicorn.
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    Ok(Address::Tcp { host: host.to_owned(), port: port.unwrap_or(DEFAULT_PORT) })
}

/// Reads the number of an inherited descriptor.
///
/// # Errors
///
/// One line. A placeholder that circus did not fill, the most common slip, gets its own message.
pub(crate) fn parse_fd(text: &str) -> Result<i32, String> {
    if text.contains("$(") || text.contains("circus.sockets") {
        // The name of a socket is safe to show, which not everything is that stands in an address.
        let name = text.strip_prefix("$(circus.sockets.").and_then(|rest| rest.strip_suffix(')'));
        let plain = |name: &&str| name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
        let shown = name.filter(plain).map_or("this", |_| text);
        return Err(format!(
            "{shown} is a placeholder that circus did not fill: check that a [socket:NAME] section has exactly that name \
             and that the watcher has use_sockets = True"
        ));
    }
    match text.parse() {
        Ok(fd) if fd >= 0 => Ok(fd),
        _ => Err("this is not a file descriptor: give the number of an open listening socket, as in 3".to_owned()),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Abstract(name) => write!(f, "unix:@{name}"),
            Address::Fd(fd) => write!(f, "fd://{fd}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.into(), port }
    }

    #[test]
    fn every_form_is_read() {
        for (text, address) in [
            ("0.0.0.0:1515", tcp("0.0.0.0", 1515)),
            ("localhost:80", tcp("localhost", 80)),
            ("localhost", tcp("localhost", 1515)),
            (":8000", tcp("0.0.0.0", 8000)),
            ("[::1]:8000", tcp("::1", 8000)),
            ("[::]", tcp("::", 1515)),
            ("unix:/run/h.sock", Address::Unix("/run/h.sock".into())),
            ("unix:h.sock", Address::Unix("h.sock".into())),
            ("unix:@h", Address::Abstract("h".into())),
            ("fd://0", Address::Fd(0)),
        ] {
            assert_eq!(text.parse(), Ok(address), "{text}");
        }
    }

    #[test]
    fn a_wrong_address_says_what_is_wanted() {
        for (text, hint) in [
            ("", "HOST:PORT"),
            ("::1", "in brackets"),
            ("host:http", "the port is not a number"),
            ("host:65536", "the port is not a number"),
            ("[::1", "HOST:PORT"),
            ("[::1]80", "HOST:PORT"),
            ("http://x:80", "HOST:PORT"),
            ("unix:", "lacks a path"),
            ("unix:@", "lacks a name"),
            ("fd://x", "not a file descriptor"),
            ("fd://-1", "not a file descriptor"),
            ("fd://$(circus.sockets.web)", "circus did not fill"),
        ] {
            let error = text.parse::<Address>().expect_err(text);
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(host in "[a-z0-9.-]{1,20}", port: u16) {
            let address = tcp(&host, port);
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }

        #[test]
        fn nothing_panics(text in ".*") {
            let _ = text.parse::<Address>();
        }
    }
}
