//! `cert:HOST[:PORT]`: the certificate chain of a TLS server is valid, now and for some days to come.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

use super::support::options::whole;
use super::support::secrets::Secrets;
use super::support::starttls::StartTls;
use super::support::target::{Target, authority};
use super::support::thresholds::{self, Good};
use super::support::timed;
use super::support::tls::{self, Verifier};
use super::support::tls_roots::{Life, Trusted};
use super::support::tls_settings::server_name;
use super::{Action, Kind, Opt, Options, Runs, Value, default_deadline, since, tcp};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::perfdata::Perfdata;

pub(super) const KIND: Kind = Kind {
    scheme: "cert",
    port: Some(443),
    options: &[
        Opt::new("days", Value::Number, "For so many days it has to last").or("14"),
        Opt::new("warn_days", Value::Number, "If it does not last for so many days, it warns"),
        Opt::new(
            "starttls",
            Value::Word(StartTls::NAMES),
            "The protocol in which it is asked for, on the port of that unless one is given",
        ),
        Opt::new("servername", Value::Text, "The name that the certificate is for, if it is not the host"),
        Opt::new("ca", Value::Path, "A file of certificates to trust instead of the system's"),
    ],
    runs: Runs::OnThread,
    controls: Control::NETWORK,
    title: "The certificate of {target} is good",
    passes: "a certificate is trusted and the server has its key, and it does not expire soon",
    notices: &["refused", "black_hole", "rubbish", "stranger: another certificate", "starved"],
    examples: &["cert:localhost:443#days=30"],
    build,
};

pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// How many days a certificate must last unless the option `days` says otherwise.
const DAYS: u32 = 14;

/// A server, and what is expected of its certificate.
struct CertProbe {
    server: Target,
    starttls: Option<StartTls>,
    name: ServerName<'static>,
    days: u32,
    /// The same, but less only warns.
    warn_days: Option<u32>,
    trusted: Trusted,
    hidden: Secrets,
}

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let starttls = options.parse("starttls", StartTls::parse)?;
    let mut probe = CertProbe::new(target, starttls)?;
    probe.days = options.parse_or("days", "14", whole)?;
    probe.warn_days = options.whole("warn_days")?;
    let days = Some((&probe.days, probe.days.to_string()));
    thresholds::verify(Good::Above, "days", days, probe.warn_days.as_ref())?;
    probe.name = options.parse("servername", server_name)?.unwrap_or(probe.name);
    probe.trusted = Trusted::take(options)?;
    probe.hidden = options.hidden();
    Ok(Box::new(move |deadline| probe.run(deadline)))
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
    let finding = CertProbe::new(host, None).map_err(Reason::Error)?.run(default_deadline());
    super::result(finding)
}

impl CertProbe {
    fn new(target: &str, starttls: Option<StartTls>) -> std::result::Result<CertProbe, String> {
        let wrong = || "the target is not HOST[:PORT], as in cert:shop.example".to_owned();
        let server = Target::parse(authority(target), Some(starttls.map_or(443, StartTls::port))).ok_or_else(wrong)?;
        let name = ServerName::try_from(server.name().to_owned()).map_err(|_| wrong())?;
        Ok(CertProbe {
            server,
            starttls,
            name,
            days: DAYS,
            warn_days: None,
            trusted: Trusted::System,
            hidden: Secrets::default(),
        })
    }

    fn run(&self, deadline: Deadline) -> Finding {
        let seen = Mutex::default();
        let found = Finding::from(self.look(deadline, &seen));
        let end = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        let days = |end: Duration| {
            let left = end.as_secs_f64() - UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
            Perfdata::new("days_left", (left / DAY.as_secs_f64()).floor(), "")
        };
        Finding { perfdata: end.map(days).into_iter().collect(), ..found }
    }

    /// Tells too when the first of the certificates that are needed ends, if they were shown.
    fn look(&self, deadline: Deadline, end: &Mutex<Option<Duration>>) -> Result {
        let (began, deadline) = (Instant::now(), timed::before(deadline));
        let told =
            |why: String| format!("expected the certificate of {} to be good: {why} ({})", self.server, since(began));
        let roots = self.trusted.roots().map_err(Reason::Error)?;
        let witness = Arc::new(Witness {
            inner: Verifier { roots },
            ahead: DAY * self.warn_days.unwrap_or(self.days),
            seen: Mutex::new(Seen::Nothing),
            end: Mutex::default(),
        });
        let mut stream = tcp::connect(&self.server, deadline).map_err(|reason| reason.told(told))?;
        if let Some(starttls) = self.starttls {
            starttls.ask(&mut stream).map_err(|reason| reason.told(told))?;
        }
        let handshake = tls::shake_hands(stream, self.name.clone(), witness.clone(), None, None, &self.hidden);
        *end.lock().unwrap_or_else(PoisonError::into_inner) =
            witness.end.lock().unwrap_or_else(PoisonError::into_inner).take();
        let seen = std::mem::replace(&mut *witness.seen(), Seen::Nothing);
        // What the server demands after it has proven that the certificate is its own does not matter here.
        let reason = match (seen, handshake) {
            (Seen::Good, _) => return Ok(()),
            (Seen::Nothing | Seen::Unproven, Ok(_)) => Reason::Fail("it showed none of its own".to_owned()),
            (Seen::Bad(reason), _) | (Seen::Nothing | Seen::Unproven, Err(reason)) => reason,
            (Seen::EndsSoon(Life { subject, end, .. }), _) => {
                let left = end.saturating_sub(UNIX_EPOCH.elapsed().unwrap_or_default());
                let end = humantime::format_rfc3339_seconds(UNIX_EPOCH + end);
                let (required, reason): (_, fn(String) -> Reason) = match self.warn_days {
                    Some(days) if left >= DAY * self.days => (days, Reason::Warn),
                    Some(_) | None => (self.days, Reason::Fail),
                };
                reason(format!(
                    "it has to last for {required} more days, and {subject} ends in {}, at {end}",
                    spoken(left)
                ))
            }
        };
        Err(reason.told(told))
    }
}

/// What a handshake has shown about the chain.
#[derive(Debug)]
enum Seen {
    Nothing,
    /// It is good, but anybody can show it.
    Unproven,
    /// It is good, and the server has the key.
    Good,
    Bad(Reason),
    /// It is valid now, until this certificate of those that are needed ends.
    EndsSoon(Life),
}

/// A verifier that notes what it sees, and also verifies for a later time.
#[derive(Debug)]
struct Witness {
    inner: Verifier,
    ahead: Duration,
    seen: Mutex<Seen>,
    /// When the first of the certificates that are needed ends.
    end: Mutex<Option<Duration>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, Error> {
        let then = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + self.ahead);
        let verdict = self.inner.verify(leaf, chain, name, now);
        *self.seen() = match &verdict {
            Err(error) => Seen::Bad(tls::verdict(error)),
            Ok(()) => {
                // One that has ended is not valid, so this one ends first unless another that is needed does.
                let own = Life::of(leaf);
                let after =
                    own.as_ref().map_or(then, |own| UnixTime::since_unix_epoch(own.end + Duration::from_secs(1)));
                let first = self.inner.ends_first(leaf, chain, name, now, after).or(own);
                *self.end.lock().unwrap_or_else(PoisonError::into_inner) = first.as_ref().map(|life| life.end);
                match first.filter(|life| life.end.as_secs() < then.as_secs()) {
                    Some(life) => Seen::EndsSoon(life),
                    None => Seen::Unproven,
                }
            }
        };
        verdict.map(|()| ServerCertVerified::assertion())
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
                let told = |why| format!("the server does not prove that it has the key: {why}");
                *seen = Seen::Bad(tls::verdict(error).told(told));
            }
        }
        signed
    }
}

pub(super) fn spoken(left: Duration) -> String {
    match left.as_secs() / DAY.as_secs() {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests;
