//! The certificate authorities that a TLS connection trusts: the system's, or those in a file.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::Options;
use crate::sys::filesystem::read_bytes;

/// The certificates to trust.
#[derive(Clone, Debug)]
pub(super) enum Trusted {
    /// Those of the system, or of SSL_CERT_FILE and SSL_CERT_DIR.
    System,
    /// Those of the option `ca`.
    Given(Arc<Vec<CertificateDer<'static>>>),
}

impl Trusted {
    /// Takes the option `ca`, a file of PEM certificates.
    pub(super) fn take(options: &mut Options) -> Result<Trusted, String> {
        let read = |path: &str| {
            let bytes = read_bytes(Path::new(path)).map_err(|error| error.to_string())?;
            let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
            match certificates {
                Ok(certificates) if certificates.is_empty() => Err("there is no PEM certificate in it".to_owned()),
                Ok(certificates) => Ok(Trusted::Given(Arc::new(certificates))),
                Err(error) => Err(error.to_string()),
            }
        };
        Ok(options.parse("ca", read)?.unwrap_or(Trusted::System))
    }

    /// Whether the option `ca` gives this very certificate.
    pub(super) fn is_given(&self, certificate: &CertificateDer<'_>) -> bool {
        matches!(self, Trusted::Given(given) if given.iter().any(|given| given == certificate))
    }

    /// The certificates. The system's are read once per process.
    pub(super) fn certificates(&self) -> Result<&[CertificateDer<'static>], String> {
        static SYSTEM: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
        match self {
            Trusted::Given(certificates) => Ok(certificates),
            Trusted::System => match &**SYSTEM.get_or_init(|| rustls_native_certs::load_native_certs().certs) {
                [] => Err("this system has no certificate authorities: install ca-certificates, \
                           set SSL_CERT_FILE, or give the option ca=FILE"
                    .to_owned()),
                certificates => Ok(certificates),
            },
        }
    }

    /// The certificates, ready for verifying others.
    pub(super) fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.certificates()?.iter().cloned());
        match roots.is_empty() {
            true => Err("none of the trusted certificates can be used".to_owned()),
            false => Ok(roots),
        }
    }
}

/// The cryptography of every TLS connection.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Why a certificate that says of itself that it is an authority's is refused, and what to do.
pub(super) const SHOWN_AUTHORITY: &str = "the server shows a certificate that is for an authority: \
     make it one for a server, with basicConstraints=CA:FALSE";

/// Whether that is what an error of rustls says. It has no type for it that we could name.
pub(super) fn is_about_authority(error: &str) -> bool {
    error.contains("CaUsedAsEndEntity")
}
