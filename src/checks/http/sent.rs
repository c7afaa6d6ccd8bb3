//! What is sent beside the URL, and on which way: a body, credentials from a file, another address, a proxy or a socket.

use std::net::IpAddr;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::super::Options;
use super::super::support::target::{Target, authority};
use crate::checks::support::{login, secrets};
use crate::os::filesystem;

/// The body and the credentials of a request; files are read for each run, as they may be renewed.
#[derive(Debug, Default)]
pub(super) struct Sent {
    body: Option<Content>,
    credentials: Option<Credentials>,
}

#[derive(Debug)]
enum Content {
    Given(Vec<u8>),
    File(PathBuf),
}

#[derive(Debug)]
enum Credentials {
    Basic(PathBuf),
    Bearer(PathBuf),
}

impl Sent {
    pub(super) fn take(options: &mut Options) -> Result<Sent, String> {
        let body = match (options.take_one("body")?, options.take("body_file")?) {
            (Some(_), Some(_)) => return Err("body and body_file exclude each other".to_owned()),
            (Some(bytes), None) => Some(Content::Given(bytes)),
            (None, file) => file.map(|path| Content::File(path.into())),
        };
        let credentials = match (options.take("basic")?, options.take("bearer")?) {
            (Some(_), Some(_)) => return Err("basic and bearer exclude each other".to_owned()),
            (Some(path), None) => Some(Credentials::Basic(path.into())),
            (None, path) => path.map(|path| Credentials::Bearer(path.into())),
        };
        Ok(Sent { body, credentials })
    }

    pub(super) fn has_body(&self) -> bool {
        self.body.is_some()
    }

    pub(super) fn authorizes(&self) -> bool {
        self.credentials.is_some()
    }

    pub(super) fn body(&self) -> Result<Vec<u8>, String> {
        match &self.body {
            None => Ok(Vec::new()),
            Some(Content::Given(bytes)) => Ok(bytes.clone()),
            Some(Content::File(path)) => {
                let told = |error| format!("body_file: {}: {error}", path.display());
                let bytes = filesystem::read_bytes(path).map_err(told)?;
                secrets::learn_sent(&String::from_utf8_lossy(&bytes));
                Ok(bytes)
            }
        }
    }

    /// The value of the field of that name, read from its file.
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        let (name, path) = match &self.credentials {
            None => return Ok(None),
            Some(Credentials::Basic(path)) => ("basic", path),
            Some(Credentials::Bearer(path)) => ("bearer", path),
        };
        let secret = login::secret(name, path)?;
        // What is in it is not for any message.
        let wrong = |why: &str| format!("{name}: {}: {why}", path.display());
        if secret.is_empty() || secret.contains(char::is_control) {
            return Err(wrong("write one line into it"));
        }
        let encoded = BASE64_STANDARD.encode(&secret);
        let value = match secret.split_once(':') {
            Some((_, password)) if name == "basic" => {
                secrets::learn(password);
                format!("Basic {encoded}")
            }
            None if name == "basic" => return Err(wrong("write USER:PASSWORD into it")),
            _ => format!("Bearer {secret}"),
        };
        let mut value =
            HeaderValue::try_from(value).map_err(|_| wrong("it holds a character that no field may have"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// How the server of the URL is reached.
#[derive(Debug)]
pub(super) enum Way {
    Direct,
    /// At this address.
    At(IpAddr),
    /// By this proxy, as any other server to which it redirects.
    By(Proxy),
    /// At this unix socket.
    Socket(String),
}

impl Way {
    pub(super) fn take(options: &mut Options) -> Result<Way, String> {
        let resolve =
            options.parse("resolve", |text| text.parse().map_err(|_| "write an IP address, as in 127.0.0.1"))?;
        let proxy = options.parse("proxy", Proxy::parse)?;
        match (resolve, proxy, options.take("socket")?) {
            (None, None, None) => Ok(Way::Direct),
            (Some(address), None, None) => Ok(Way::At(address)),
            (None, Some(proxy), None) => Ok(Way::By(proxy)),
            (None, None, Some(path)) => Ok(Way::Socket(path)),
            _ => Err("resolve, proxy and socket exclude each other".to_owned()),
        }
    }

    /// The proxy that a request for this URL is for, and that has to be told the whole of it.
    pub(super) fn rewrites(&self, uri: &Uri) -> Option<&Proxy> {
        match self {
            Way::By(proxy) if uri.scheme_str() == Some("http") => Some(proxy),
            Way::By(_) | Way::Direct | Way::At(_) | Way::Socket(_) => None,
        }
    }
}

/// A proxy, and what lets us use it.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) server: Target,
    pub(super) authorization: Option<HeaderValue>,
}

impl Proxy {
    fn parse(text: &str) -> Result<Proxy, &'static str> {
        let wrong = "write a host and port, as in http://proxy:3128, or http://user:password@proxy:3128";
        let target = text.strip_prefix("http:").unwrap_or(text);
        // Without its slashes, nobody could tell that it has a secret.
        if target.contains('@') && !target.starts_with("//") {
            return Err(wrong);
        }
        let (target, user) = secrets::without_user(target);
        let server = Target::parse(authority(&target), Some(3128)).ok_or(wrong)?;
        Ok(Proxy { server, authorization: user.map(basic) })
    }
}

/// The value of a field that tells who we are (RFC 7617), from what stands before the host in a URL.
pub(super) fn basic(user: &str) -> HeaderValue {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let decoded = |text| percent_decode_str(text).collect::<Vec<u8>>();
    let credentials = [decoded(name), decoded(password)].join(&b':');
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(credentials)))
        .expect("base64 has only characters that a field may have");
    value.set_sensitive(true);
    value
}
