//! A TLS connection to a server whose certificate is verified as the contract of `https` and `cert` has it.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, InvalidMessage,
    OtherError, PeerIncompatible, SignatureScheme, StreamOwned,
};

use super::timed::{Timed, reason, spoken};
use super::tls_roots::{Life, Roots};
use crate::model::check::Reason;

/// A connection, once its handshake is done.
pub(in crate::checks) type TlsStream = StreamOwned<ClientConnection, Timed<TcpStream>>;

/// The cryptography of every TLS connection.
pub(in crate::checks) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What that is, for those whose server has other.
const KNOWN: &str =
    "hospital knows TLS 1.2 and 1.3 with AES-GCM or ChaCha20, RSA, ECDSA on P-256 and P-384, and Ed25519";

/// Shakes hands. The error says why it could not be done, and whether the server is to blame.
pub(in crate::checks) fn shake_hands(
    mut stream: Timed<TcpStream>,
    name: ServerName<'static>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<TlsStream, Reason> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous() // It is the verifier that decides.
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let mut tls = ClientConnection::new(Arc::new(config), name)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).map_err(|error| objection(&error))?;
    }
    Ok(StreamOwned::new(tls, stream))
}

/// Why a connection failed, as a person says it.
fn objection(error: &io::Error) -> Reason {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => verdict(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            Reason::Fail("the server closed the connection".to_owned())
        }
        None => reason(error, spoken(error)),
    }
}

/// What an error of a handshake says of the server. What we lack is not its fault.
pub(in crate::checks) fn verdict(error: &Error) -> Reason {
    let at = |time: &UnixTime| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(time.as_secs()));
    let text = match error {
        Error::InvalidCertificate(error) => match error {
            CertificateError::ExpiredContext { not_after, .. } => format!("it ended at {}", at(not_after)),
            CertificateError::NotValidYetContext { not_before, .. } => format!("it begins at {}", at(not_before)),
            CertificateError::UnknownIssuer => "it is signed by nobody that is trusted here".to_owned(),
            CertificateError::Other(OtherError(error)) if error.is::<AuthorityEnded>() => error.to_string(),
            // webpki has no type for it that we could name.
            error if error.to_string().contains("CaUsedAsEndEntity") => {
                "the server shows a certificate that is for an \
                 authority: make it one for a server, with basicConstraints=CA:FALSE"
                    .to_owned()
            }
            error if is_unsupported(error) => {
                return Reason::Error(format!("it is signed in a way that cannot be verified here: {KNOWN}"));
            }
            CertificateError::Other(OtherError(error)) => format!("it breaks a rule for certificates: {error}"),
            error => error.to_string(),
        },
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server does not speak TLS on this port".to_owned()
        }
        Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13)
        | Error::AlertReceived(
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity,
        )
        | Error::PeerIncompatible(_) => {
            return Reason::Error(format!("the server accepts nothing of what is offered: {KNOWN}"));
        }
        error => error.to_string(),
    };
    Reason::Fail(text)
}

#[expect(deprecated, reason = "webpki may still say it in the old way")]
fn is_unsupported(error: &CertificateError) -> bool {
    matches!(
        error,
        CertificateError::UnsupportedSignatureAlgorithm
            | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
    )
}

/// Verifies a server's certificate, as it is now or will be. One that was named as trusted needs nobody to vouch for it; any
/// other needs an authority whose own certificate has not ended.
#[derive(Clone, Debug)]
pub(in crate::checks) struct Verifier {
    pub(in crate::checks) roots: Arc<Roots>,
}

impl Verifier {
    /// What is wrong with a certificate at that time.
    pub(in crate::checks) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        at: UnixTime,
    ) -> Result<(), Error> {
        let certificate = ParsedCertificate::try_from(leaf)?;
        if self.roots.are_given(leaf) {
            in_its_time(leaf, at)?;
        } else {
            let algorithms = provider().signature_verification_algorithms;
            let verify =
                |roots| verify_server_cert_signed_by_trust_anchor(&certificate, &roots, chain, at, algorithms.all);
            verify(self.roots.at(at)).map_err(|error| {
                let mut others = self.roots.iter().filter(|root| !root.life.contains(at));
                let root = others.find(|root| verify(root.alone()).is_ok()).map(|root| root.life.clone());
                root.or_else(|| ended(chain, &error)).map_or(error, |life| AuthorityEnded(life).into())
            })?;
        }
        verify_server_name(&certificate, name)
    }

    /// Of the certificates that are needed, the one that ends first between two times, if one does: a server may send, and a
    /// file hold, more of them than are needed.
    pub(in crate::checks) fn ends_first(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
        then: UnixTime,
    ) -> Option<Life> {
        let shown = [leaf].into_iter().chain(chain).filter_map(Life::of);
        let mut ending: Vec<_> = shown.chain(self.roots.iter().map(|root| root.life.clone())).collect();
        ending.retain(|life| (now.as_secs()..then.as_secs()).contains(&life.end.as_secs()));
        ending.sort();
        let after = |life: &Life| UnixTime::since_unix_epoch(life.end + Duration::from_secs(1));
        ending.into_iter().find(|life| self.verify(leaf, chain, name, after(life)).is_err())
    }
}

/// The certificate of a chain that an error is about, where it is about its time.
fn ended(chain: &[CertificateDer<'_>], error: &Error) -> Option<Life> {
    let Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) = error else { return None };
    chain.iter().filter_map(Life::of).find(|life| life.end.as_secs() == not_after.as_secs())
}

fn in_its_time(certificate: &CertificateDer<'_>, time: UnixTime) -> Result<(), Error> {
    let life = Life::of(certificate).ok_or(CertificateError::BadEncoding)?;
    let [not_before, not_after] = [life.begin, life.end].map(UnixTime::since_unix_epoch);
    if time < not_before {
        return Err(CertificateError::NotValidYetContext { time, not_before }.into());
    }
    if time > not_after {
        return Err(CertificateError::ExpiredContext { time, not_after }.into());
    }
    Ok(())
}

/// An authority that vouches for a certificate is out of its own time, and there is no other.
#[derive(Debug, thiserror::Error)]
#[error(
    "it depends on the authority {}, whose own certificate is valid from {} to {}",
    .0.subject,
    humantime::format_rfc3339_seconds(UNIX_EPOCH + .0.begin),
    humantime::format_rfc3339_seconds(UNIX_EPOCH + .0.end)
)]
struct AuthorityEnded(Life);

impl From<AuthorityEnded> for Error {
    fn from(ended: AuthorityEnded) -> Error {
        CertificateError::Other(OtherError(Arc::new(ended))).into()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(leaf, chain, name, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts any certificate, whoever has its key.
#[derive(Debug)]
pub(in crate::checks) struct Insecure;

impl ServerCertVerifier for Insecure {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    /// What is not verified need not be known.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        use SignatureScheme::*;
        let [rsa, pss] =
            [[RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512], [RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512]];
        let curves = [ECDSA_NISTP256_SHA256, ECDSA_NISTP384_SHA384, ECDSA_NISTP521_SHA512, ED25519, ED448];
        [&pss[..], &curves, &rsa, &[RSA_PKCS1_SHA1]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::tls::Authority;
    use super::super::tls_roots::Trusted;
    use super::*;
    use crate::checks::support::target::Target;
    use crate::checks::{Options, default_deadline, tcp};
    use rcgen::KeyPair;
    use std::io::Write;
    use std::net::TcpListener;
    use std::thread;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn days_from_now(days: u32) -> UnixTime {
        UnixTime::since_unix_epoch(UNIX_EPOCH.elapsed().expect("it is after 1970") + DAY * days)
    }

    fn verifier(files: &[&Authority]) -> Verifier {
        let mut all = tempfile::NamedTempFile::new().expect("a file for the test");
        for authority in files {
            all.write_all(&std::fs::read(authority.path()).expect("it was written")).expect("the file is ours");
        }
        let path = all.path().to_str().expect("a plain path");
        let trusted = Trusted::take(&mut Options::of(&[("ca", path)])).expect("there is one");
        Verifier { roots: trusted.roots().expect("it can be read") }
    }

    fn leaf(authority: &Authority) -> CertificateDer<'static> {
        authority.certificate(-1, 100, &KeyPair::generate().expect("a key"))
    }

    #[test]
    fn an_authority_that_has_ended_vouches_for_nobody() {
        let name = ServerName::try_from("localhost").expect("it is one");
        let ended = Authority::valid(-20, -10);
        let error = verifier(&[&ended]).verify(&leaf(&ended), &[], &name, days_from_now(0)).expect_err("it has ended");
        let Reason::Fail(text) = verdict(&error) else { panic!("{error}") };
        assert!(
            text.contains("it depends on the authority CN=Test authority, whose own certificate is valid"),
            "{text}"
        );
    }

    #[test]
    fn the_certificate_that_ends_first_is_one_that_is_needed() {
        let name = ServerName::try_from("localhost").expect("it is one");
        let [soon, later, gone] = [5, 50, -5].map(|until| Authority::valid(-20, until));
        let first = |authority, chain: &[CertificateDer<'_>], days| {
            let verifier = verifier(&[&soon, &later, &gone]);
            let leaf = leaf(authority);
            verifier.verify(&leaf, chain, &name, days_from_now(0)).expect("it is valid now");
            verifier.ends_first(&leaf, chain, &name, days_from_now(0), days_from_now(days)).map(|life| life.subject)
        };
        assert_eq!(first(&soon, &[], 4), None);
        assert_eq!(first(&soon, &[], 10).as_deref(), Some("CN=Test authority"), "a root counts");
        // What a server sends, and a file holds, beside what is needed does not matter.
        assert_eq!(first(&later, &[soon.own(), gone.own()], 10), None);
        assert_eq!(first(&later, &[], 200).as_deref(), Some("CN=Test authority"), "it ends before the leaf");
    }

    #[test]
    fn what_cannot_be_verified_here_is_an_error_in_a_sentence() {
        for error in [
            Error::AlertReceived(AlertDescription::HandshakeFailure),
            Error::AlertReceived(AlertDescription::ProtocolVersion),
            CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: vec![6, 8, 42],
                supported_algorithms: Vec::new(),
            }
            .into(),
        ] {
            let Reason::Error(text) = verdict(&error) else { panic!("{error}") };
            assert!(text.ends_with(KNOWN) && !text.contains(['[', '{']), "{text}");
        }
    }

    #[test]
    fn a_server_that_accepts_nothing_of_what_is_offered_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        // A fatal alert: handshake_failure.
        thread::spawn(move || {
            listener.accept().and_then(|(mut client, _)| client.write_all(b"\x15\x03\x03\0\x02\x02\x28"))
        });
        let endpoint = Target::parse(&address.to_string(), None).expect("it is one");
        let stream = tcp::connect(&endpoint, default_deadline()).expect("it listens");
        let name = ServerName::try_from("localhost").expect("it is one");
        let found = shake_hands(stream, name, Arc::new(verifier(&[&Authority::new()])));
        assert!(matches!(found, Err(Reason::Error(text)) if text.contains("accepts nothing")));
    }
}
