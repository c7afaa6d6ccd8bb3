//! The certificates that a TLS connection trusts: the system's, or those in a file, as they are now.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use super::pem;
use crate::checks::Options;
use crate::os::filesystem::read_bytes;
use crate::os::stamp::Stamp;

/// Where the certificates to trust come from.
#[derive(Clone, Debug)]
pub(in crate::checks) enum Trusted {
    /// Those of the system, or of SSL_CERT_FILE and SSL_CERT_DIR.
    System,
    /// Those in the file of the option `ca`.
    GivenRoots(Arc<GivenRoots>),
}

#[derive(Debug)]
pub(in crate::checks) struct GivenRoots {
    path: PathBuf,
    kept: Kept,
}

/// What was read last, and what the files looked like then. Reading takes milliseconds, and each check would do it in each round.
type Kept = Mutex<Option<(Vec<Stamp>, Arc<Roots>)>>;

impl Trusted {
    /// Takes the option `ca`, a file of PEM certificates.
    pub(in crate::checks) fn take(options: &mut Options) -> Result<Trusted, String> {
        let read = |path: &str| {
            let trusted = Trusted::GivenRoots(Arc::new(GivenRoots { path: path.into(), kept: Mutex::default() }));
            trusted.roots().map(|_| trusted)
        };
        Ok(options.parse("ca", read)?.unwrap_or(Trusted::System))
    }

    /// The certificates, read again if their files have changed.
    pub(in crate::checks) fn roots(&self) -> Result<Arc<Roots>, String> {
        static SYSTEM: Kept = Mutex::new(None);
        match self {
            Trusted::GivenRoots(given) => refreshed(&given.kept, &[&given.path], || {
                Roots::of_file(&given.path).map_err(|why| format!("{}: {why}", given.path.display()))
            }),
            Trusted::System => {
                let found = openssl_probe::probe();
                let paths: Vec<&Path> = found.cert_file.iter().chain(&found.cert_dir).map(PathBuf::as_path).collect();
                refreshed(&SYSTEM, &paths, Roots::of_system)
            }
        }
    }
}

fn refreshed(kept: &Kept, paths: &[&Path], read: impl FnOnce() -> Result<Roots, String>) -> Result<Arc<Roots>, String> {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    match &*kept {
        Some((stamps, roots)) if !stamps.is_empty() && !stamps.iter().any(Stamp::is_stale) => Ok(roots.clone()),
        Some(_) | None => {
            *kept = None;
            let stamps = paths.iter().map(|path| Stamp::take(path).0).collect();
            let roots = Arc::new(read()?);
            *kept = Some((stamps, roots.clone()));
            Ok(roots)
        }
    }
}

/// Certificates that are trusted while they last.
#[derive(Debug)]
pub(in crate::checks) struct Roots {
    all: Vec<Root>,
    /// Whether they were named for the check: then a server may show one of them itself.
    given: bool,
}

#[derive(Debug)]
pub(in crate::checks) struct Root {
    pub(in crate::checks) certificate: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    pub(in crate::checks) life: Life,
}

impl Roots {
    fn of_file(path: &Path) -> Result<Roots, String> {
        let certificates = pem::certificates(&read_bytes(path).map_err(|error| error.to_string())?);
        match certificates {
            Ok(certificates) if certificates.is_empty() => Err("there is no PEM certificate in it".to_owned()),
            Ok(certificates) => {
                let number = certificates.len();
                let all: Vec<_> = certificates.into_iter().map_while(Root::of).collect();
                match all.len() {
                    usable if usable == number => Ok(Roots { all, given: true }),
                    usable => Err(format!("certificate {} of {number} in it cannot be read", usable + 1)),
                }
            }
            Err(error) => Err(error),
        }
    }

    fn of_system() -> Result<Roots, String> {
        match rustls_native_certs::load_native_certs().certs {
            certificates if certificates.is_empty() => Err("this system has no certificate authorities: install \
                 ca-certificates, set SSL_CERT_FILE, or give the option ca=FILE"
                .to_owned()),
            // Whoever looks after the system may have some that we cannot use.
            certificates => match certificates.into_iter().filter_map(Root::of).collect::<Vec<_>>() {
                all if all.is_empty() => Err("none of the system's certificate authorities can be used".to_owned()),
                all => Ok(Roots { all, given: false }),
            },
        }
    }

    /// Whether the option `ca` gives this very certificate.
    pub(in crate::checks) fn are_given(&self, certificate: &CertificateDer<'_>) -> bool {
        self.given && self.all.iter().any(|root| root.certificate == *certificate)
    }

    pub(in crate::checks) fn iter(&self) -> impl Iterator<Item = &Root> {
        self.all.iter()
    }

    /// Those that can be trusted at that time, ready for verifying others.
    pub(in crate::checks) fn at(&self, time: UnixTime) -> RootCertStore {
        let valid = self.all.iter().filter(|root| root.life.contains(time));
        RootCertStore { roots: valid.map(|root| root.anchor.clone()).collect() }
    }
}

impl Root {
    fn of(certificate: CertificateDer<'static>) -> Option<Root> {
        let life = Life::of(&certificate)?;
        let mut store = RootCertStore::empty();
        store.add(certificate.clone()).ok()?;
        Some(Root { certificate, anchor: store.roots.pop()?, life })
    }

    /// This one alone.
    pub(in crate::checks) fn alone(&self) -> RootCertStore {
        RootCertStore { roots: vec![self.anchor.clone()] }
    }
}

/// Whose certificate one is, and from when to when it is valid, in time since 1970.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::checks) struct Life {
    pub(in crate::checks) end: Duration,
    pub(in crate::checks) begin: Duration,
    pub(in crate::checks) subject: String,
}

impl Life {
    pub(in crate::checks) fn of(certificate: &CertificateDer<'_>) -> Option<Life> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let since_1970 = |time: ASN1Time| Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default());
        let validity = certificate.validity();
        Some(Life {
            begin: since_1970(validity.not_before),
            end: since_1970(validity.not_after),
            subject: certificate.subject().to_string(),
        })
    }

    pub(in crate::checks) fn contains(&self, time: UnixTime) -> bool {
        (self.begin..=self.end).contains(&Duration::from_secs(time.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::support::testing::tls::Authority;
    use std::io::Write;

    #[test]
    fn a_broken_certificate_beside_a_good_one_is_told_and_not_passed_over() {
        let mut authority = Authority::new();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        authority.file.write_all(broken.as_bytes()).expect("the file is ours");
        let error = Trusted::take(&mut Options::of(&[("ca", authority.path())])).expect_err("one is broken");
        assert_eq!(error, format!("option ca: {}: certificate 2 of 2 in it cannot be read", authority.path()));
    }

    #[test]
    fn the_file_of_the_option_ca_is_read_again_when_it_has_changed() {
        let [old, new] = std::array::from_fn(|_| Authority::new());
        let trusted = Trusted::take(&mut Options::of(&[("ca", old.path())])).expect("there is one");
        let certificate = |trusted: &Trusted| trusted.roots().map(|roots| roots.all[0].certificate.clone());
        let first = certificate(&trusted).expect("it can be read");
        assert_eq!(certificate(&trusted), Ok(first.clone()));
        std::fs::copy(new.path(), old.path()).expect("both are ours");
        assert_ne!(certificate(&trusted).expect("it can be read"), first, "rewritten");
        let other = Authority::new();
        std::fs::rename(other.path(), old.path()).expect("both are ours");
        assert_ne!(certificate(&trusted).expect("it can be read"), first, "replaced");
        std::fs::remove_file(old.path()).expect("it is ours");
        assert!(certificate(&trusted).is_err(), "nothing is trusted that is gone");
    }
}
