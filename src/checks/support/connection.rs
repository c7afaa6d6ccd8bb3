//! A connection to a server, with TLS or without.

use std::io::{self, Read, Write};

use super::target::Target;
use super::timed::{reason, spoken};
#[cfg(feature = "tls")]
use super::{
    starttls::{STARTTLS, StartTls},
    tls,
    tls_settings::{self, TlsSettings},
};
#[cfg(feature = "tls")]
use crate::checks::Options;
use crate::checks::tcp;
use crate::model::check::{Deadline, Reason, Result};

/// What is sent to a server and comes from it.
pub(in crate::checks) trait Connection: Read + Write {}

impl<T: Read + Write> Connection for T {}

/// What is spoken below the protocol of a server.
#[derive(Debug)]
pub(in crate::checks) enum Transport {
    Tcp,
    #[cfg(feature = "tls")]
    Tls(TlsSettings),
    /// After it was asked for in this protocol.
    #[cfg(feature = "tls")]
    StartTls(StartTls, TlsSettings),
}

impl Transport {
    /// Takes the option that asks for TLS in this protocol, and those of TLS. The scheme of the kind has an `s` where TLS comes first.
    #[cfg(feature = "tls")]
    pub(in crate::checks) fn take(
        protocol: StartTls,
        scheme: &str,
        options: &mut Options,
    ) -> std::result::Result<Transport, String> {
        if options.flag(STARTTLS.name())? {
            return Ok(Transport::StartTls(protocol, TlsSettings::take(options)?));
        }
        let mut settings = tls_settings::OPTIONS.iter().map(|option| option.name());
        match settings.find(|name| options.names().any(|given| given == *name)) {
            Some(name) => Err(format!("option {name} is for TLS: add starttls, or write {scheme}s://")),
            None => Ok(Transport::Tcp),
        }
    }

    /// Connects to a server that speaks this. The reason says why it cannot be done, and no more.
    pub(in crate::checks) fn connect(&self, server: &Target, deadline: Deadline) -> Result<Box<dyn Connection>> {
        let stream = tcp::connect(server, deadline)?;
        match self {
            Transport::Tcp => Ok(Box::new(stream)),
            #[cfg(feature = "tls")]
            Transport::Tls(settings) => secured(settings, stream, server),
            #[cfg(feature = "tls")]
            Transport::StartTls(protocol, settings) => {
                let mut stream = stream;
                protocol.ask(&mut stream)?;
                secured(settings, stream, server)
            }
        }
    }
}

#[cfg(feature = "tls")]
fn secured(settings: &TlsSettings, stream: impl Connection + 'static, server: &Target) -> Result<Box<dyn Connection>> {
    match settings.shake_hands(stream, server.name(), true) {
        Ok(stream) => Ok(Box::new(stream)),
        Err(reason) => Err(reason.told(|why| format!("no TLS: {why}"))),
    }
}

/// Why a connection broke off, and whether the other side is to blame.
pub(in crate::checks) fn broken(error: &io::Error) -> Reason {
    // With TLS 1.3, a server objects to the client after the handshake.
    #[cfg(feature = "tls")]
    if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        return tls::objection(error);
    }
    match error.kind() {
        // With TLS, it may do so without saying goodbye.
        io::ErrorKind::UnexpectedEof => Reason::Fail("it closed the connection".to_owned()),
        _ => reason(error, spoken(error)),
    }
}
