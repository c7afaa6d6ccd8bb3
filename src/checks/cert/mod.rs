//! `cert:HOST[:PORT]`: the certificate chain of a TLS server is valid, now and for some days to come.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use super::support::exchange::{Bounded, spoken};
use super::support::target::{Endpoint, authority};
use super::support::tls_roots::{self, Trusted};
use super::{Action, Kind, Opt, Options, Runs, default_deadline, since, tcp};
use crate::model::check::{Deadline, Finding, Reason, Result};

pub(super) const KIND: Kind = Kind {
    scheme: "cert",
    options: &[Opt::Text("days"), Opt::Text("servername"), Opt::Text("ca")],
    runs: Runs::OnThread,
    title: "The certificate of {target} is good",
    build,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How many days a certificate must last unless the option `days` says otherwise.
const DAYS: u32 = 14;

/// A server, and what is expected of its certificate.
struct Probe {
    server: Endpoint,
    name: ServerName<'static>,
    days: u32,
    trusted: Trusted,
}

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let mut probe = Probe::new(target)?;
    probe.days = options.parse_or("days", "14", str::parse)?;
    let name = |text: &str| ServerName::try_from(text.to_owned()).map_err(|_| "write a host, as in shop.example");
    probe.name = options.parse("servername", name)?.unwrap_or(probe.name);
    probe.trusted = Trusted::take(options)?;
    Ok(Box::new(move |deadline| Finding::from(probe.run(deadline))))
}

/// Asserts that the certificate of `HOST[:PORT]` (port 443 unless given) is trusted by the system, is for that host,
/// and lasts for 14 more days.
///
/// # Errors
///
/// `Fail` when it is not, or no TLS connection can be made within 5 s; `Error` when the host cannot be looked up or
/// this system trusts no authority.
#[must_use = "the finding is in the result: return it, or write `?` behind it"]
pub fn assert_cert(host: &str) -> Result {
    Probe::new(host).map_err(Reason::Error)?.run(default_deadline())
}

impl Probe {
    fn new(target: &str) -> std::result::Result<Probe, String> {
        let wrong = || format!("{:?} is no HOST[:PORT], as in cert:shop.example", authority(target));
        let server = Endpoint::parse(authority(target), Some(443)).ok_or_else(wrong)?;
        let name = ServerName::try_from(server.host.clone()).map_err(|_| wrong())?;
        Ok(Probe { server, name, days: DAYS, trusted: Trusted::System })
    }

    fn run(&self, deadline: Deadline) -> Result {
        let began = Instant::now();
        let fail = |why: String| {
            Reason::Fail(format!("expected the certificate of {} to be good: {why} ({})", self.server, since(began)))
        };
        let roots = self.trusted.roots().map_err(Reason::Error)?;
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), tls_roots::provider()).build()?;
        let trusted = self.trusted.clone();
        let witness = Arc::new(Witness { inner, trusted, ahead: DAY * self.days, seen: Mutex::default() });
        let handshake = self.shake_hands(&witness, deadline)?;
        let seen = std::mem::take(&mut *witness.seen());
        // What the server demands after it has proven that the certificate is its own does not matter here.
        match (seen, handshake) {
            (Seen::Nothing | Seen::Unproven, Ok(())) => Err(fail("it showed none of its own".to_owned())),
            (Seen::Nothing | Seen::Unproven, Err(why)) => Err(fail(why)),
            (Seen::Good, _) => Ok(()),
            (Seen::Bad(why), _) => Err(fail(why)),
            (Seen::EndsSoon { subject, end }, _) => {
                let left = end.saturating_sub(UNIX_EPOCH.elapsed().unwrap_or_default());
                let end = humantime::format_rfc3339_seconds(UNIX_EPOCH + end);
                Err(fail(format!(
                    "it has to last for {} more days, and {subject} ends in {}, at {end}",
                    self.days,
                    days(left)
                )))
            }
        }
    }

    /// The outer error is from before the handshake, the inner one from the handshake itself.
    fn shake_hands(&self, witness: &Arc<Witness>, deadline: Deadline) -> Result<std::result::Result<(), String>> {
        let config = ClientConfig::builder_with_provider(tls_roots::provider())
            .with_safe_default_protocol_versions()?
            .dangerous() // The witness leaves every decision to the verifier in it.
            .with_custom_certificate_verifier(witness.clone())
            .with_no_client_auth();
        let mut tls = ClientConnection::new(Arc::new(config), self.name.clone())?;
        let mut stream = Bounded { stream: tcp::connect(&self.server, deadline)?, deadline };
        while tls.is_handshaking() {
            if let Err(error) = tls.complete_io(&mut stream) {
                return Ok(Err(match error.kind() {
                    ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
                    _ => spoken(&error),
                }));
            }
        }
        tls.send_close_notify();
        // Only polite: we have seen what we wanted.
        let _ = tls.write_tls(&mut stream);
        Ok(Ok(()))
    }
}

/// What a handshake has shown about the chain.
#[derive(Debug, Default)]
enum Seen {
    #[default]
    Nothing,
    /// It is good, but anybody can show it.
    Unproven,
    /// It is good, and the server has the key.
    Good,
    Bad(String),
    /// It is valid now; of its certificates, this one ends first, at `end` after 1970.
    EndsSoon {
        subject: String,
        end: Duration,
    },
}

/// A verifier that notes what it sees, and also verifies for a later time.
#[derive(Debug)]
struct Witness {
    inner: Arc<WebPkiServerVerifier>,
    trusted: Trusted,
    ahead: Duration,
    seen: Mutex<Seen>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, Error> {
        let is_given = self.trusted.is_given(leaf);
        let chain = if is_given { &[] } else { chain };
        let verify = |at| match is_given {
            true => verify_alone(leaf, name, at),
            false => self.inner.verify_server_cert(leaf, chain, name, ocsp, at),
        };
        // Verified as a client will then: a server may send more certificates than verification needs.
        let then = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + self.ahead);
        let verdict = verify(now);
        let seen = match (&verdict, verify(then)) {
            (Err(error), _) => Seen::Bad(reason(error)),
            (Ok(_), Ok(_)) => Seen::Unproven,
            (Ok(_), Err(error)) => ends_first(leaf, chain).unwrap_or(Seen::Bad(reason(&error))),
        };
        *self.seen() = seen;
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        self.note(self.inner.verify_tls12_signature(message, cert, signature))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        self.note(self.inner.verify_tls13_signature(message, cert, signature))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl Witness {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether the server has signed the handshake with the key of its certificate.
    fn note<T>(&self, signed: std::result::Result<T, Error>) -> std::result::Result<T, Error> {
        let mut seen = self.seen();
        match &signed {
            Ok(_) if matches!(*seen, Seen::Unproven) => *seen = Seen::Good,
            Ok(_) => {}
            Err(error) => {
                *seen = Seen::Bad(format!("the server does not prove that it has the key: {}", reason(error)))
            }
        }
        signed
    }
}

/// Verifies a certificate that needs nobody to vouch for it. It may be that of an authority, as a self-signed one mostly is.
fn verify_alone(
    leaf: &CertificateDer<'_>,
    name: &ServerName<'_>,
    time: UnixTime,
) -> std::result::Result<ServerCertVerified, Error> {
    verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| CertificateError::BadEncoding)?;
    let validity = certificate.validity();
    let not_before = UnixTime::since_unix_epoch(since_1970(validity.not_before));
    let not_after = UnixTime::since_unix_epoch(since_1970(validity.not_after));
    if time < not_before {
        return Err(CertificateError::NotValidYetContext { time, not_before }.into());
    }
    if time > not_after {
        return Err(CertificateError::ExpiredContext { time, not_after }.into());
    }
    Ok(ServerCertVerified::assertion())
}

fn since_1970(time: ASN1Time) -> Duration {
    Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
}

fn ends_first(leaf: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> Option<Seen> {
    let ends = [leaf].into_iter().chain(chain).filter_map(|der| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some((since_1970(certificate.validity().not_after), certificate.subject().to_string()))
    });
    ends.min().map(|(end, subject)| Seen::EndsSoon { subject, end })
}

/// What is wrong with a certificate, as a person says it.
fn reason(error: &Error) -> String {
    let at = |time: &UnixTime| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(time.as_secs()));
    match error {
        Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            format!("it ended at {}", at(not_after))
        }
        Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }) => {
            format!("it begins at {}", at(not_before))
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "it is signed by nobody that is trusted here".to_owned()
        }
        Error::InvalidCertificate(error) if tls_roots::is_about_authority(&error.to_string()) => {
            tls_roots::SHOWN_AUTHORITY.to_owned()
        }
        Error::InvalidCertificate(error) => error.to_string(),
        error => error.to_string(),
    }
}

fn days(left: Duration) -> String {
    match left.as_secs() / DAY.as_secs() {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests;
