//! A connection to a server, with TLS or without.

use std::io::{self, Read, Write};

use super::target::Target;
use super::timed::{reason, spoken};
#[cfg(feature = "tls")]
use super::tls;
#[cfg(feature = "tls")]
use super::tls_settings::TlsSettings;
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
}

impl Transport {
    /// Connects to a server that speaks this from the first byte. The reason says why it cannot be done, and no more.
    pub(in crate::checks) fn connect(&self, server: &Target, deadline: Deadline) -> Result<Box<dyn Connection>> {
        let stream = tcp::connect(server, deadline)?;
        match self {
            Transport::Tcp => Ok(Box::new(stream)),
            #[cfg(feature = "tls")]
            Transport::Tls(settings) => Ok(Box::new(settings.shake_hands(stream, server.name(), true)?)),
        }
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
