//! Notes the certificate that a server shows, whatever comes of it.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::noted::hex;
use crate::model::transcript::{Field, note};

/// Decides as another does, and notes what that is shown.
#[derive(Debug)]
pub(super) struct Noting(pub(super) Arc<dyn ServerCertVerifier>);

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        note_certificate(leaf);
        self.0.verify_server_cert(leaf, chain, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn note_certificate(leaf: &CertificateDer<'_>) {
    note(Field::Certificate, hex(&Sha256::digest(leaf)));
    if let Ok((_, certificate)) = X509Certificate::from_der(leaf) {
        note(Field::Issuer, certificate.issuer());
        let end = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default();
        note_end(Duration::from_secs(end));
    }
}

/// Notes when a certificate ends, as the time since 1970.
pub(in crate::checks) fn note_end(end: Duration) {
    // The last moment that the format has.
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    note(Field::NotAfter, humantime::format_rfc3339_seconds(UNIX_EPOCH + end.min(LAST)));
}
