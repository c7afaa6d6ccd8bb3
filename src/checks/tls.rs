//! `tls://HOST:PORT`: a TLS connection can be made, the certificate is trusted, and what comes back matches.

use std::time::Instant;

use super::support::exchange::Exchange;
use super::support::opt::{Opt, joined};
use super::support::target::{Target, authority};
use super::support::timed;
use super::support::tls_settings::{self, TlsSettings};
use super::{Action, Kind, Options, Runs, since, tcp};
use crate::model::check::{Deadline, Finding, Result};
use crate::model::control::Control;

const OPTIONS: [Opt; 7] = joined(Exchange::OPTIONS, tls_settings::OPTIONS);

pub(super) const KIND: Kind = Kind {
    scheme: "tls",
    port: Some(443),
    options: &OPTIONS,
    runs: Runs::OnThread,
    controls: Control::NETWORK,
    title: "{target} accepts TLS connections",
    passes: "a TLS connection can be made, and the certificate is trusted",
    notices: &["refused", "black_hole", "rubbish", "stranger: another certificate", "starved"],
    examples: &["tls://localhost:636", "tls://localhost:6380#send=PING%0D%0A&match=PONG"],
    build,
};

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let wrong = || "the target is not HOST:PORT, as in tls://ldap:636".to_owned();
    let server = Target::parse(authority(target), None).ok_or_else(wrong)?;
    let exchange = Exchange::take(options)?;
    let settings = TlsSettings::take(options)?;
    Ok(Box::new(move |deadline| Finding::from(check(&server, &settings, &exchange, deadline))))
}

fn check(server: &Target, settings: &TlsSettings, exchange: &Exchange, deadline: Deadline) -> Result {
    let (began, deadline) = (Instant::now(), timed::before(deadline));
    let told = |why| format!("expected {server} to accept a TLS connection: {why} ({})", since(began));
    let stream = tcp::connect(server, deadline).map_err(|reason| reason.told(told))?;
    let stream = settings.shake_hands(stream, server.name(), true).map_err(|reason| reason.told(told))?;
    exchange.run(stream, deadline, &server.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::support::testing::tls::{Authority, https};
    use super::*;
    use crate::checks::default_deadline;
    use crate::model::check::Status;
    use std::net::SocketAddr;

    fn found(address: SocketAddr, pairs: &[(&str, &str)]) -> Finding {
        let action = build(&format!("//localhost:{}", address.port()), &mut Options::of(pairs));
        action.expect("it is well formed")(default_deadline())
    }

    #[test]
    fn what_is_said_over_tls_is_matched() {
        let authority = Authority::new();
        let server = || https("127.0.0.1", authority.certify(-1, 100), vec!["hello\r\n".to_owned()]).0;
        let send = ("send", "GET / HTTP/1.1\r\n\r\n");
        let ca = ("ca", authority.path());
        assert_eq!(found(server(), &[ca]), Finding::PASS);
        assert_eq!(found(server(), &[ca, send, ("match", "^hello$")]), Finding::PASS);
        let finding = found(server(), &[ca, send, ("match", "^bye")]);
        assert!(finding.status == Status::Fail && finding.context.is_some_and(|why| why.contains("got \"hello")));
        let finding = found(server(), &[]);
        assert!(
            finding.status == Status::Fail && finding.context.is_some_and(|why| why.contains("nobody that is trusted"))
        );
        assert_eq!(found(server(), &[("insecure", "")]).status, Status::Pass);
        let finding = found(server(), &[ca, ("servername", "other.example")]);
        assert!(finding.status == Status::Fail, "{finding:?}");
    }

    #[test]
    fn a_server_that_wants_to_know_us_is_shown_our_certificate_and_key() {
        use std::io::Write;
        use std::os::unix::fs::PermissionsExt;
        use std::sync::Arc;

        use rcgen::KeyPair;
        use rustls::pki_types::PrivatePkcs8KeyDer;
        use rustls::server::WebPkiClientVerifier;

        let authority = Authority::new();
        let ca = ("ca", authority.path());
        let key = KeyPair::generate().expect("a key");
        let certificate = authority.certificate(-1, 30, &key);
        let roots = super::super::support::tls_roots::Trusted::take(&mut Options::of(&[ca]));
        let roots = roots.and_then(|trusted| trusted.roots()).expect("there is one");
        let roots = roots.at(rustls::pki_types::UnixTime::now());
        let provider = super::super::support::tls::provider;
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_client_cert_verifier(clients.expect("there is somebody to trust"))
            .with_single_cert(vec![certificate.clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into());
        let config = Arc::new(config.expect("the key belongs to the certificate"));
        let server = || https("127.0.0.1", config.clone(), vec!["hello\r\n".to_owned()]).0;
        let file = |text: &str, mode| {
            let mut file = tempfile::NamedTempFile::new().expect("there is room");
            file.write_all(text.as_bytes()).expect("it is ours");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("it is ours");
            file
        };
        let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &certificate);
        let pem = file(&format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n"), 0o644);
        let path = |file: &tempfile::NamedTempFile| file.path().display().to_string();
        let exchange = [("send", "GET / HTTP/1.1\r\n\r\n"), ("match", "hello")];
        let with = |key: &tempfile::NamedTempFile| {
            let (certificate, key) = (path(&pem), path(key));
            let own = [("client_cert", certificate.as_str()), ("client_key", key.as_str())];
            found(server(), &[&[ca][..], &exchange, &own].concat())
        };
        assert_eq!(with(&file(&key.serialize_pem(), 0o600)), Finding::PASS);
        let says = |finding: Finding, why: &str| {
            let context = finding.context.unwrap_or_default();
            assert!(
                finding.status == Status::Error && context.contains(why) && !context.contains("PRIVATE"),
                "{context}"
            );
        };
        says(found(server(), &[&[ca][..], &exchange].concat()), "the server demands a certificate of the client");
        says(with(&file(&key.serialize_pem(), 0o644)), "everybody may read it");
        says(with(&file("no key", 0o600)), "there is no PEM key in it");
        let other = KeyPair::generate().expect("a key").serialize_pem();
        says(with(&file(&other, 0o600)), "client_cert and client_key cannot be used");
    }

    #[test]
    fn wrong_options_are_refused() {
        for (target, pairs, text) in [
            ("//localhost", &[][..], "the target is not HOST:PORT"),
            ("//localhost:1", &[("client_cert", "/x")][..], "client_cert and client_key go together"),
            ("//localhost:1", &[("servername", "a b")][..], "option servername: write a host"),
        ] {
            let error = build(target, &mut Options::of(pairs)).err().unwrap_or_default();
            assert!(error.starts_with(text), "{error}");
        }
    }
}
