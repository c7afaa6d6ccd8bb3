//! The options of a TLS connection, which every kind that makes one has.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::login;
use super::opt::{Opt, Value};
use super::pem;
use super::secrets::Secrets;
use super::tls::{self, Identity};
use super::tls_roots::Trusted;
use crate::checks::Options;
use crate::model::check::{Reason, Result};
use crate::os::filesystem;

/// The rows of these options.
pub(in crate::checks) const OPTIONS: [Opt; 5] = [
    Opt::new("ca", Value::Path, "A file of certificates to trust instead of the system's"),
    Opt::new("insecure", Value::Flag, "Any certificate is accepted"),
    Opt::new(
        "servername",
        Value::Text,
        "The name that the server is asked for and its certificate is for, if it is not the host",
    ),
    Opt::new("client_cert", Value::Path, "A file with the certificate that is shown to the server, and its chain"),
    Opt::new("client_key", Value::Path, "The file with the key of that, which others may not read"),
];

/// The row of the option that asks for TLS, where a port is for both.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(in crate::checks) const TLS: Opt =
    Opt::new("tls", Value::Flag, "The connection is encrypted, and the certificate verified");

/// How a TLS connection is made.
#[derive(Debug)]
pub(in crate::checks) struct TlsSettings {
    trusted: Trusted,
    insecure: bool,
    name: Option<ServerName<'static>>,
    client: Option<ClientFiles>,
    /// The name in ALPN of what is spoken (RFC 7301).
    offered: Option<&'static [u8]>,
    /// What is not quoted from who does not speak TLS.
    hidden: Secrets,
}

/// Where our own certificate is; it is read for each connection, as it may be renewed.
#[derive(Debug)]
struct ClientFiles {
    certificate: PathBuf,
    key: PathBuf,
}

impl Default for TlsSettings {
    fn default() -> TlsSettings {
        let (trusted, hidden) = (Trusted::System, Secrets::default());
        TlsSettings { trusted, insecure: false, name: None, client: None, offered: None, hidden }
    }
}

impl TlsSettings {
    pub(in crate::checks) fn take(options: &mut Options) -> std::result::Result<TlsSettings, String> {
        let client = match (options.take("client_cert")?, options.take("client_key")?) {
            (Some(certificate), Some(key)) => Some(ClientFiles { certificate: certificate.into(), key: key.into() }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err("client_cert and client_key go together".to_owned()),
        };
        Ok(TlsSettings {
            trusted: Trusted::take(options)?,
            insecure: options.flag("insecure")?,
            name: options.parse("servername", server_name)?,
            client,
            offered: None,
            hidden: options.hidden(),
        })
    }

    /// The same, for a protocol that servers want to be told the name of.
    #[cfg(feature = "grpc")]
    pub(in crate::checks) fn offering(self, protocol: &'static [u8]) -> TlsSettings {
        TlsSettings { offered: Some(protocol), ..self }
    }

    /// Reads [`TLS`] and these options, which mean nothing without it.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    pub(in crate::checks) fn take_if_asked(options: &mut Options) -> std::result::Result<Option<TlsSettings>, String> {
        if options.flag(TLS.name())? {
            return TlsSettings::take(options).map(Some);
        }
        match OPTIONS.iter().map(Opt::name).find(|name| options.names().any(|given| given == *name)) {
            Some(name) => Err(format!("option {name}: it is for TLS: give tls, too")),
            None => Ok(None),
        }
    }

    /// Shakes hands with a server of this host name. The reason says why it cannot be done, and no more. Only who is `named` by the
    /// check itself is shown our certificate, or asked for another name.
    pub(in crate::checks) fn shake_hands<S: Read + Write>(
        &self,
        stream: S,
        host: &str,
        is_named: bool,
    ) -> Result<StreamOwned<ClientConnection, S>> {
        let name = match &self.name {
            Some(name) if is_named => name.clone(),
            Some(_) | None => {
                server_name(host).map_err(|_| Reason::Error(format!("{host} is not a name that TLS knows")))?
            }
        };
        let verifier: Arc<dyn ServerCertVerifier> = match self.insecure {
            true => Arc::new(tls::Insecure),
            false => Arc::new(tls::Verifier { roots: self.trusted.roots().map_err(Reason::Error)? }),
        };
        let client = self.client.as_ref().filter(|_| is_named);
        let identity = client.map(ClientFiles::identity).transpose().map_err(Reason::Error)?;
        tls::shake_hands(stream, name, verifier, identity, self.offered, &self.hidden)
    }
}

/// Reads the name of a server.
pub(in crate::checks) fn server_name(text: &str) -> std::result::Result<ServerName<'static>, &'static str> {
    ServerName::try_from(text.to_owned()).map_err(|_| "write a host, as in shop.example")
}

impl ClientFiles {
    fn identity(&self) -> std::result::Result<Identity, String> {
        let wrong = |path: &PathBuf, why: String| format!("{}: {why}", path.display());
        let certificates =
            filesystem::read_bytes(&self.certificate).map_err(|error| wrong(&self.certificate, error.to_string()))?;
        let chain = pem::certificates(&certificates).map_err(|error| wrong(&self.certificate, error))?;
        if chain.is_empty() {
            return Err(wrong(&self.certificate, "there is no PEM certificate in it".to_owned()));
        }
        let key = login::secret("key", &self.key)?;
        // What is in it is not for any message.
        let key = pem::key(key.as_bytes()).map_err(|why| wrong(&self.key, why.to_owned()))?;
        Ok(Identity { chain, key })
    }
}
