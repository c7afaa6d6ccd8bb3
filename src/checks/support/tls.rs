//! A TLS connection to a server whose certificate is verified as the contract of `https` and `cert` has it.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, InconsistentKeys,
    InvalidMessage, OtherError, SignatureScheme, StreamOwned,
};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::noted;
use super::secrets::Secrets;
use super::timed::{reason, spoken};
use super::tls_noted::Noting;
use super::tls_roots::{Life, Roots};
use crate::checks::excerpt;
use crate::model::check::Reason;
use crate::model::transcript::{Field, note};

/// Our own certificate with its chain, and the key of it.
pub(in crate::checks) struct Identity {
    pub(in crate::checks) chain: Vec<CertificateDer<'static>>,
    pub(in crate::checks) key: PrivateKeyDer<'static>,
}

impl Identity {
    /// What signs with that key, if it is that of the certificate. Whether the server takes it is for the server to say: rustls would
    /// refuse one of version 1, as `openssl x509 -req` makes it.
    fn signing(self) -> Result<CertifiedKey, Error> {
        let key = provider().key_provider.load_private_key(self.key)?;
        let certificate = self.chain.first().and_then(|own| X509Certificate::from_der(own).ok());
        match (certificate, key.public_key()) {
            (Some((_, own)), Some(public)) if own.public_key().raw != public.as_ref() => {
                Err(InconsistentKeys::KeyMismatch.into())
            }
            _ => Ok(CertifiedKey::new(self.chain, key)),
        }
    }
}

/// The cryptography of every TLS connection.
pub(in crate::checks) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What that is, for those whose server has other.
const KNOWN: &str =
    "hospital knows TLS 1.2 and 1.3 with AES-GCM or ChaCha20, RSA, ECDSA on P-256 and P-384, and Ed25519";

/// Shakes hands, and offers a protocol by its name in ALPN. The error says why it could not be done, and whether the server is to blame.
pub(in crate::checks) fn shake_hands<S: Read + Write>(
    mut stream: S,
    name: ServerName<'static>,
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<Identity>,
    offered: Option<&'static [u8]>,
    hidden: &Secrets,
) -> Result<StreamOwned<ClientConnection, S>, Reason> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous() // It is the verifier that decides.
        .with_custom_certificate_verifier(Arc::new(Noting(verifier)));
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let told = |error| {
                let why = match error {
                    Error::InconsistentKeys(_) => "the key is not that of the certificate".to_owned(),
                    error => error.to_string(),
                };
                Reason::Error(format!("client_cert and client_key cannot be used: {why}"))
            };
            config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.signing().map_err(told)?)))
        }
    };
    config.alpn_protocols.extend(offered.map(<[u8]>::to_vec));
    let mut tls = ClientConnection::new(Arc::new(config), name)?;
    let began = Instant::now();
    let mut heard = Heard { stream: &mut stream, first: Vec::new() };
    while tls.is_handshaking() {
        if let Err(error) = tls.complete_io(&mut heard) {
            return Err(match is_of_another_protocol(&error) {
                true => {
                    let got = excerpt(&heard.first, heard.first.len(), hidden);
                    objection(&error).told(|why| format!("{why}: got {got}"))
                }
                false => objection(&error),
            });
        }
    }
    note(Field::TlsMs, noted::millis(began));
    Ok(StreamOwned::new(tls, stream))
}

/// A connection, and the first bytes that came: they tell who is there, if it is not TLS.
struct Heard<'a, S> {
    stream: &'a mut S,
    first: Vec<u8>,
}

impl<S: Read> Read for Heard<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        const ENOUGH: usize = 120;
        let count = self.stream.read(buffer)?;
        self.first.extend(&buffer[..count.min(ENOUGH - self.first.len())]);
        Ok(count)
    }
}

impl<S: Write> Write for Heard<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn is_of_another_protocol(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    matches!(error, Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)))
}

/// Why a connection failed, as a person says it.
pub(in crate::checks) fn objection(error: &io::Error) -> Reason {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => verdict(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            Reason::Fail("the server closed the connection".to_owned())
        }
        None => reason(error, spoken(error)),
    }
}

/// What an error of a handshake says of the server. Only what is surely its fault is a failure: what we lack is not.
pub(in crate::checks) fn verdict(error: &Error) -> Reason {
    use AlertDescription::{
        CertificateRequired, HandshakeFailure, InsufficientSecurity, InternalError, NoApplicationProtocol,
        ProtocolVersion, UnrecognisedName,
    };
    match error {
        Error::InvalidCertificate(error) => objection_to_certificate(error),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            Reason::Fail("the server does not speak TLS on this port".to_owned())
        }
        Error::PeerIncompatible(_)
        | Error::AlertReceived(HandshakeFailure | ProtocolVersion | InsufficientSecurity) => {
            Reason::Error(format!("the server accepts nothing of what is offered: {KNOWN}"))
        }
        Error::AlertReceived(CertificateRequired) => {
            Reason::Error("the server demands a certificate of the client, and hospital has none to show".to_owned())
        }
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_) => Reason::Fail(format!("it does not speak TLS as it should: {error}")),
        // It is asked for one, and has others.
        Error::AlertReceived(NoApplicationProtocol) => {
            Reason::Fail("the server does not speak the protocol that is asked for in TLS (ALPN)".to_owned())
        }
        Error::NoCertificatesPresented | Error::AlertReceived(InternalError | UnrecognisedName) => {
            Reason::Fail(error.to_string())
        }
        error => Reason::Error(error.to_string()),
    }
}

fn objection_to_certificate(error: &CertificateError) -> Reason {
    use CertificateError::*;
    let at = |time: &UnixTime| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(time.as_secs()));
    // webpki has no type for its errors that we could name.
    let rule = match error {
        Other(OtherError(error)) => error.to_string(),
        _ => String::new(),
    };
    Reason::Fail(match error {
        ExpiredContext { not_after, .. } => format!("it ended at {}", at(not_after)),
        NotValidYetContext { not_before, .. } => format!("it begins at {}", at(not_before)),
        UnknownIssuer => "it is signed by nobody that is trusted here".to_owned(),
        Expired
        | NotValidYet
        | Revoked
        | BadEncoding
        | BadSignature
        | NotValidForName
        | NotValidForNameContext { .. }
        | InvalidPurpose
        | InvalidPurposeContext { .. } => error.to_string(),
        Other(OtherError(error)) if error.is::<AuthorityEnded>() => rule,
        Other(OtherError(error)) if error.is::<UnusableKey>() => return Reason::Error(rule),
        Other(_) => match rule.as_str() {
            "CaUsedAsEndEntity" => {
                "the server shows a certificate that is for an authority: make it one for a server, \
                 with basicConstraints=CA:FALSE"
                    .to_owned()
            }
            "EndEntityUsedAsCa"
            | "ExtensionValueInvalid"
            | "MalformedExtensions"
            | "NameConstraintViolation"
            | "PathLenConstraintViolated"
            | "SignatureAlgorithmMismatch" => {
                format!("it breaks a rule for certificates: {rule}")
            }
            "UnsupportedCertVersion" => {
                return Reason::Error(
                    "it is not an X.509 certificate of version 3: others cannot be verified here".to_owned(),
                );
            }
            "UnsupportedCriticalExtension" => {
                return Reason::Error("it has a critical extension that cannot be verified here".to_owned());
            }
            _ => return Reason::Error(format!("it cannot be verified here: {rule}")),
        },
        #[expect(deprecated, reason = "webpki may still say it in the old way")]
        UnsupportedSignatureAlgorithm
        | UnsupportedSignatureAlgorithmContext { .. }
        | UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            return Reason::Error(format!("it is signed in a way that cannot be verified here: {KNOWN}"));
        }
        error => return Reason::Error(format!("it cannot be verified here: {error}")),
    })
}

/// A signature that cannot be verified, since the key is of a size that ours do not have.
#[derive(Debug, thiserror::Error)]
#[error("a key of {0} bits cannot be verified here: RSA has to have between 2048 and 8192")]
struct UnusableKey(usize);

/// A bad signature is not one where the library only lacks the size of a key.
fn or_unusable<'a>(error: Error, signers: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> Error {
    let bits = |signer: &CertificateDer<'_>| {
        let (_, certificate) = X509Certificate::from_der(signer).ok()?;
        match certificate.public_key().parsed().ok()? {
            PublicKey::RSA(key) => Some(key.key_size()),
            _ => None,
        }
    };
    match error {
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            let unusable = signers.into_iter().filter_map(bits).find(|bits| !(2048..=8192).contains(bits));
            unusable.map_or(error, |bits| CertificateError::Other(OtherError(Arc::new(UnusableKey(bits)))).into())
        }
        error => error,
    }
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
                let signers = chain.iter().chain(self.roots.iter().map(|root| &root.certificate));
                match root.or_else(|| ended(chain, &error)) {
                    Some(life) => AuthorityEnded(life).into(),
                    None => or_unusable(error, signers),
                }
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
            .map_err(|error| or_unusable(error, [cert]))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &provider().signature_verification_algorithms)
            .map_err(|error| or_unusable(error, [cert]))
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

    /// An RSA key of this size that nobody has.
    struct Rsa(usize);

    impl rcgen::PublicKeyData for Rsa {
        fn der_bytes(&self) -> &[u8] {
            let length = (self.0 / 8 + 1) as u16;
            let head =
                [&[0x30, 0x82][..], &(length + 9).to_be_bytes(), &[2, 0x82], &length.to_be_bytes(), &[0]].concat();
            [head, vec![0xA5; self.0 / 8], vec![2, 3, 1, 0, 1]].concat().leak()
        }

        fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
            &rcgen::PKCS_RSA_SHA256
        }
    }

    #[test]
    fn a_signature_of_a_key_whose_size_is_not_known_here_is_an_error() {
        let authority = Authority::new();
        for (bits, unusable) in [(1024, true), (2048, false), (8192, false), (16384, true)] {
            let signer = authority.certificate(-1, 100, &Rsa(bits));
            let told = verdict(&or_unusable(CertificateError::BadSignature.into(), [&signer]));
            match told {
                Reason::Error(text) if unusable => assert!(text.contains(&format!("a key of {bits} bits cannot"))),
                told => assert!(!unusable && matches!(told, Reason::Fail(_)), "{bits}: {told:?}"),
            }
        }
        let told = verdict(&or_unusable(CertificateError::BadSignature.into(), [&leaf(&authority)]));
        assert!(matches!(told, Reason::Fail(_)), "{told:?}");
    }

    #[test]
    fn a_certificate_of_ours_is_shown_with_its_own_key_alone_whatever_its_version() {
        let (authority, key, other) = (Authority::new(), KeyPair::generate(), KeyPair::generate());
        let (key, other) = (key.expect("a key"), other.expect("a key"));
        let shown = |chain: Vec<CertificateDer<'static>>, key: &KeyPair| {
            let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
            Identity { chain, key }.signing().map(drop)
        };
        let third = authority.certificate(-1, 100, &key);
        let mut first = third.to_vec();
        let version = first.windows(5).position(|part| part == [0xA0, 3, 2, 1, 2]).expect("it is of version 3");
        first[version + 4] = 0;
        for certificate in [third, first.into()] {
            assert_eq!(shown(vec![certificate.clone()], &key), Ok(()));
            assert_eq!(shown(vec![certificate], &other), Err(InconsistentKeys::KeyMismatch.into()));
        }
    }

    #[test]
    fn a_certificate_of_version_1_is_an_error() {
        let (authority, name) = (Authority::new(), ServerName::try_from("localhost").expect("it is one"));
        let mut der = leaf(&authority).to_vec();
        let version = der.windows(5).position(|part| part == [0xA0, 3, 2, 1, 2]).expect("it is of version 3");
        der[version + 4] = 0;
        let found = verifier(&[&authority]).verify(&der.into(), &[], &name, days_from_now(0));
        let told = verdict(&found.expect_err("webpki does not take it"));
        assert!(matches!(&told, Reason::Error(text) if text.contains("of version 3")), "{told:?}");
    }

    #[test]
    fn a_critical_extension_that_is_not_known_here_is_an_error() {
        let (authority, name) = (Authority::new(), ServerName::try_from("localhost").expect("it is one"));
        let leaf = authority.with_critical_extension();
        let found = verifier(&[&authority]).verify(&leaf, &[], &name, days_from_now(0));
        let told = verdict(&found.expect_err("webpki does not take it"));
        assert!(matches!(&told, Reason::Error(text) if text.contains("critical extension")), "{told:?}");
    }

    #[test]
    fn a_demand_for_a_certificate_of_ours_is_an_error() {
        let alert = Error::AlertReceived(AlertDescription::CertificateRequired);
        let told = objection(&io::Error::new(io::ErrorKind::InvalidData, alert));
        assert!(matches!(&told, Reason::Error(text) if text.contains("demands a certificate")), "{told:?}");
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
        let found =
            shake_hands(stream, name, Arc::new(verifier(&[&Authority::new()])), None, None, &Secrets::default());
        assert!(matches!(found, Err(Reason::Error(text)) if text.contains("accepts nothing")));
    }
}
