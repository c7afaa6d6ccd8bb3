//! What is sent beside the URL, and on which way: a body, credentials from a file, another address, a proxy or a socket.

use std::net::IpAddr;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderValue, Uri};

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
    By(Target),
    /// At this unix socket.
    Socket(String),
}

impl Way {
    pub(super) fn take(options: &mut Options) -> Result<Way, String> {
        let resolve =
            options.parse("resolve", |text| text.parse().map_err(|_| "write an IP address, as in 127.0.0.1"))?;
        let proxy = options.parse("proxy", proxy)?;
        let socket = options.parse("socket", |text| match text.starts_with('/') {
            true => Ok(text.to_owned()),
            false => Err("write an absolute path"),
        })?;
        match (resolve, proxy, socket) {
            (None, None, None) => Ok(Way::Direct),
            (Some(address), None, None) => Ok(Way::At(address)),
            (None, Some(proxy), None) => Ok(Way::By(proxy)),
            (None, None, Some(path)) => Ok(Way::Socket(path)),
            _ => Err("resolve, proxy and socket exclude each other".to_owned()),
        }
    }

    /// Whether a request for this URL is for a proxy, which has to be told the whole of it.
    pub(super) fn rewrites(&self, uri: &Uri) -> bool {
        matches!(self, Way::By(_)) && uri.scheme_str() == Some("http")
    }
}

fn proxy(text: &str) -> Result<Target, &'static str> {
    if text.contains('@') {
        return Err("a proxy that wants a user is not known here");
    }
    let target = text.strip_prefix("http:").unwrap_or(text);
    Target::parse(authority(target), Some(3128)).ok_or("write a host and port, as in http://proxy:3128")
}
