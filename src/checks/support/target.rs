//! `HOST:PORT`, and its addresses.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::{fmt, io};

use super::noted;
use crate::model::host::{Malformed, split};
use crate::model::transcript::{Field, note};

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::checks) struct Target {
    /// As it is looked up, and as servers are told.
    pub(in crate::checks) host: String,
    pub(in crate::checks) port: u16,
    /// As people read it, where that is something else.
    written: Option<String>,
}

impl Target {
    /// Reads `host:port`, `[v6]:port` and, if a port is assumed, `host`, `[v6]` and `v6`.
    pub(in crate::checks) fn parse(text: &str, assumed: Option<u16>) -> Option<Target> {
        let (host, port) = match split(text) {
            Err(Malformed::Unbracketed) => (text, None),
            parsed => parsed.ok()?,
        };
        let port = match port {
            // Nobody listens there.
            Some(0) => return None,
            port => port.or(assumed)?,
        };
        // In a URL, the % before the zone of an address is itself encoded (RFC 6874).
        let ascii = ascii(host)?.replace("%25", "%");
        let written = (!host.is_ascii()).then(|| host.to_owned());
        // An address has colons, and may have a zone.
        let is_name = |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let is_one = !ascii.is_empty() && (ascii.contains(':') || is_name(&ascii));
        is_one.then_some(Target { host: ascii, port, written })
    }

    pub(in crate::checks) fn new(host: impl Into<String>, port: u16) -> Target {
        Target { host: host.into(), port, written: None }
    }

    /// The same, whose host people read as it was written.
    #[cfg(feature = "dns")]
    pub(in crate::checks) fn written(self, host: &str) -> Target {
        Target { written: Some(host.to_owned()), ..self }
    }

    /// The same as servers are told: the host in ASCII.
    #[cfg(feature = "http")]
    pub(in crate::checks) fn in_ascii(&self) -> Target {
        Target::new(self.host.as_str(), self.port)
    }

    /// The host without a zone, which matters to this host only.
    #[cfg(feature = "tls")]
    pub(in crate::checks) fn name(&self) -> &str {
        self.host.split('%').next().unwrap_or_default()
    }

    /// The host as people read it.
    pub(in crate::checks) fn shown(&self) -> &str {
        self.written.as_deref().unwrap_or(&self.host)
    }

    /// Every address of the host. The error names the host.
    pub(in crate::checks) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let is_name = self.host.parse::<IpAddr>().is_err();
        if is_name {
            noted::resolver();
        }
        let addresses = (self.host.as_str(), self.port).to_socket_addrs().map_err(|error| {
            let why = lookup_failure(&error).unwrap_or_else(|| error.to_string());
            note(Field::Errno, noted::lookup_errno(&why));
            io::Error::new(error.kind(), format!("cannot look up {}: {why}", self.shown()))
        })?;
        let addresses: Vec<_> = addresses.collect();
        if is_name {
            addresses.iter().for_each(|address| note(Field::Resolved, address.ip()));
        }
        Ok(addresses)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.shown(), self.port),
        }
    }
}

/// A host as it is looked up, and as servers are told: a name in other letters has a form in ASCII (UTS 46).
pub(in crate::checks) fn ascii(host: &str) -> Option<Cow<'_, str>> {
    match host.is_ascii() {
        true => Some(Cow::Borrowed(host)),
        false => idna::domain_to_ascii(host).ok().map(Cow::Owned),
    }
}

/// Why the lookup of a host failed, if that is what the error is. The standard library offers no other way to
/// distinguish it from the errors of a connection.
pub(in crate::checks) fn lookup_failure(error: &io::Error) -> Option<String> {
    error.to_string().strip_prefix("failed to lookup address information: ").map(str::to_owned)
}

/// A target without the slashes of a URL.
pub(in crate::checks) fn authority(target: &str) -> &str {
    let target = target.strip_prefix("//").unwrap_or(target);
    target.strip_suffix('/').unwrap_or(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_read() {
        for (text, assumed, shown) in [
            ("db:5432", None, Some("db:5432")),
            ("db", Some(443), Some("db:443")),
            ("[::1]:80", None, Some("[::1]:80")),
            ("[::1]", Some(443), Some("[::1]:443")),
            ("::1", Some(443), Some("[::1]:443")),
            ("[fe80::1%25eth0]:80", None, Some("[fe80::1%eth0]:80")),
            ("[fe80::1%eth0]:80", None, Some("[fe80::1%eth0]:80")),
            ("db", None, None),
            ("::1", None, None),
            ("db:", None, None),
            (":80", None, None),
            ("db:65536", None, None),
            ("db:0", None, None),
            ("db1,db2:80", None, None),
            ("(db):80", None, None),
            ("d%62:80", None, None),
            ("[::1]80", None, None),
            ("user:pw@db:80", None, None),
            ("db:80/path", None, None),
        ] {
            let parsed = Target::parse(text, assumed).map(|endpoint| endpoint.to_string());
            assert_eq!(parsed.as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn a_name_in_other_letters_is_told_in_ascii_and_shown_as_it_was_written() {
        for (text, host) in [
            ("bücher.example:80", "xn--bcher-kva.example"),
            ("BÜCHER.example:80", "xn--bcher-kva.example"),
            ("straße.example:80", "xn--strae-oqa.example"),
            ("例え.テスト:80", "xn--r8jz45g.xn--zckzah"),
        ] {
            let target = Target::parse(text, None).expect(text);
            assert_eq!((target.host.as_str(), target.to_string().as_str()), (host, text));
        }
        for text in ["b\u{fffd}cher:80", "a\u{202e}b:80", "xn--ü:80", "\u{ad}:80"] {
            assert_eq!(Target::parse(text, None), None, "{text}");
        }
        let error = Target::parse("bücher.invalid:1", None).expect("it is well formed").addresses();
        assert!(error.is_err_and(|error| error.to_string().starts_with("cannot look up bücher.invalid: ")));
    }

    #[test]
    fn an_unknown_host_is_named() {
        let error = Target::parse("no-such-host.invalid:1", None).expect("it is well formed").addresses();
        let text = error.expect_err("RFC 6761 promises that it does not exist").to_string();
        assert!(text.starts_with("cannot look up no-such-host.invalid: "), "{text}");
    }
}
