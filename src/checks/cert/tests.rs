use super::super::support::testing::tls::{self, Authority, https};
use super::*;
use crate::model::check::Status;
use rcgen::KeyPair;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{ALL_VERSIONS, ServerConfig};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use tempfile::TempPath;

/// What is found, without its figures.
fn run(address: SocketAddr, pairs: &[(&str, &str)]) -> Finding {
    let action = build(&address.to_string(), &mut Options::of(pairs)).expect("it is well formed");
    Finding { perfdata: Vec::new(), ..action(default_deadline()) }
}

fn text(found: Finding) -> String {
    assert_eq!(found.status, Status::Fail, "{found:?}");
    found.context.expect("a failure says why")
}

/// A server whose certificate is valid between two days, counted from now.
fn server(authority: &Authority, from: i64, until: i64) -> SocketAddr {
    https("127.0.0.1", authority.certify(from, until), vec![String::new()]).0
}

#[test]
fn a_good_certificate_passes_on_both_families() {
    let authority = Authority::new();
    for ip in ["127.0.0.1", "::1"] {
        let (address, _heads) = https(ip, authority.certify(-1, 30), vec![String::new()]);
        assert_eq!(run(address, &[("ca", authority.path())]), Finding::PASS, "{ip}");
    }
}

#[test]
fn a_certificate_that_ends_in_two_days_is_a_failure_that_says_when() {
    let authority = Authority::new();
    let address = server(&authority, -1, 2);
    let found = text(run(address, &[("ca", authority.path())]));
    let expected = format!(
        "expected the certificate of {address} to be good: \
         it has to last for 14 more days, and CN=shop ends in 2 days, at 20"
    );
    assert!(found.starts_with(&expected), "{found}");
    assert_eq!(run(server(&authority, -1, 2), &[("ca", authority.path()), ("days", "1")]), Finding::PASS);
}

#[test]
fn a_certificate_out_of_its_time_is_a_failure() {
    let authority = Authority::new();
    let ended = text(run(server(&authority, -9, -2), &[("ca", authority.path())]));
    assert!(ended.contains("to be good: it ended at 20"), "{ended}");
    let early = text(run(server(&authority, 2, 30), &[("ca", authority.path())]));
    assert!(early.contains("to be good: it begins at 20"), "{early}");
}

#[test]
fn a_certificate_of_nobody_known_is_a_failure() {
    let found = text(run(server(&Authority::new(), -1, 30), &[("ca", Authority::new().path())]));
    // Both authorities have the same name, so only the signature distinguishes them.
    assert!(found.contains("to be good: "), "{found}");
}

#[test]
fn a_certificate_for_another_name_is_a_failure() {
    let authority = Authority::new();
    let pairs = [("ca", authority.path()), ("servername", "shop.example")];
    let found = text(run(server(&authority, -1, 30), &pairs));
    assert!(found.contains("not valid for name \"shop.example\""), "{found}");
    let pairs = [("ca", authority.path()), ("servername", "localhost")];
    assert_eq!(run(server(&authority, -1, 30), &pairs), Finding::PASS);
}

#[test]
fn a_self_signed_certificate_that_is_given_as_ca_is_trusted() {
    // As `openssl req -x509` makes them: an authority's.
    let make = |from, until| {
        let key = KeyPair::generate().expect("a key");
        let mut params = tls::params(from, until);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("it can sign");
        let mut file = tempfile::NamedTempFile::new().expect("a file for the test");
        file.write_all(certificate.pem().as_bytes()).expect("the file is ours");
        (certificate.der().clone(), key, file.into_temp_path())
    };
    let look = |(certificate, key, _): &(_, _, _), ca: &TempPath, pairs: &[_]| {
        let config = tls::server(CertificateDer::clone(certificate), key, ALL_VERSIONS);
        let (address, _heads) = https("127.0.0.1", config, vec![String::new()]);
        run(address, &[&[("ca", ca.to_str().expect("a plain path"))], pairs].concat())
    };
    let good = make(-1, 30);
    assert_eq!(look(&good, &good.2, &[]), Finding::PASS);
    for (shown, given, pairs, expected) in [
        (&good, &make(-1, 30), vec![], "to be good: "),
        (&good, &good, vec![("servername", "shop.example")], "not valid for name \"shop.example\""),
        (&good, &good, vec![("days", "31")], "it has to last for 31 more days, and CN=shop ends in 30 days"),
    ] {
        let found = text(look(shown, &given.2, &pairs));
        assert!(found.contains(expected), "{found}");
    }
    for (from, until, expected) in [(-9, -2, "it ended at 20"), (2, 30, "it begins at 20")] {
        let made = make(from, until);
        let found = text(look(&made, &made.2, &[]));
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn a_certificate_whose_key_the_server_does_not_have_is_not_good() {
    let authority = Authority::new();
    let [own, other] = std::array::from_fn(|_| KeyPair::generate().expect("a key"));
    for version in ALL_VERSIONS {
        for (days, key, proven) in [(30, &own, true), (30, &other, false), (2, &other, false)] {
            let config = tls::server(authority.certificate(-1, days, &own), key, &[version]);
            let (address, _heads) = https("127.0.0.1", config, vec![String::new()]);
            let found = run(address, &[("ca", authority.path())]);
            match proven {
                true => assert_eq!(found, Finding::PASS, "{version:?}"),
                false => assert!(text(found).contains("to be good: the server does not prove that it has the key: ")),
            }
        }
    }
}

#[test]
fn that_a_server_wants_a_certificate_of_the_client_is_another_matter() {
    let authority = Authority::new();
    let key = KeyPair::generate().expect("a key");
    let ca = [("ca", authority.path())];
    for version in ALL_VERSIONS {
        let roots = Trusted::take(&mut Options::of(&ca)).and_then(|trusted| trusted.roots()).expect("there is one");
        let roots = roots.at(UnixTime::now());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crate::checks::support::tls::provider())
                .build();
        let config = ServerConfig::builder_with_provider(crate::checks::support::tls::provider())
            .with_protocol_versions(&[version])
            .expect("the provider has them")
            .with_client_cert_verifier(clients.expect("there is somebody to trust"))
            .with_single_cert(
                vec![authority.certificate(-1, 30, &key)],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            );
        let config = Arc::new(config.expect("the key belongs to the certificate"));
        let (address, _heads) = https("127.0.0.1", config, vec![String::new()]);
        assert_eq!(run(address, &ca), Finding::PASS, "{version:?}");
    }
}

#[test]
fn who_speaks_no_tls_or_not_at_all_is_a_failure() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = listener.local_addr().expect("it is bound");
    let action = build(&silent.to_string(), &mut Options::of(&[("ca", authority.path())])).expect("it is well formed");
    let deadline = Deadline::at(Instant::now() + Duration::from_millis(500));
    assert!(text(action(deadline)).contains("to be good: nothing came in time"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let plain = listener.local_addr().expect("it is bound");
    thread::spawn(move || listener.accept().and_then(|(mut client, _)| client.write_all(b"220 mail ESMTP\r\n")));
    let found = text(run(plain, &[("ca", authority.path())]));
    let told = "to be good: the server does not speak TLS on this port: got \"220 mail ESMTP\\r\\n\" (in ";
    assert!(found.contains(told), "{found}");
}

#[test]
fn the_assertion_trusts_the_system_alone() {
    let authority = Authority::new();
    let found = assert_cert(&server(&authority, -1, 30).to_string());
    assert!(matches!(&found, Err(Reason::Fail(_) | Reason::Error(_))), "{found:?}");
}

#[test]
fn what_is_no_host_is_refused_at_once() {
    for target in ["", "//", "shop:x", "sh op"] {
        assert!(build(target, &mut Options::of(&[])).is_err(), "{target}");
    }
    let Err(error) = build("shop", &mut Options::of(&[("days", "soon")])) else { panic!("no number") };
    assert!(error.starts_with("option days: "), "{error}");
}

#[test]
fn how_many_days_are_left_is_told_whether_they_are_enough_or_not() {
    let authority = Authority::new();
    for (until, status) in [(30, Status::Pass), (2, Status::Fail)] {
        let address = server(&authority, -1, until).to_string();
        let action = build(&address, &mut Options::of(&[("ca", authority.path())])).expect("it is well formed");
        let found = action(default_deadline());
        assert_eq!((found.status, found.perfdata), (status, vec![Perfdata::new("days_left", until as f64, "")]));
    }
    let ending = Authority::valid(-1, 20);
    let address = server(&ending, -1, 30).to_string();
    let action = build(&address, &mut Options::of(&[("ca", ending.path())])).expect("it is well formed");
    assert_eq!(action(default_deadline()).perfdata, [Perfdata::new("days_left", 20.0, "")], "its authority ends first");
}

#[test]
fn the_certificate_of_a_mail_server_is_seen_after_starttls() {
    let authority = Authority::new();
    let config = authority.certify(-1, 100);
    let server = |greeting: &'static str| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let config = config.clone();
        thread::spawn(move || {
            let (mut client, _) = listener.accept()?;
            client.write_all(greeting.as_bytes())?;
            let mut reader = std::io::BufReader::new(client.try_clone()?);
            for answer in ["250-mail\r\n250 STARTTLS\r\n", "220 go ahead\r\n"] {
                std::io::BufRead::read_line(&mut reader, &mut String::new())?;
                client.write_all(answer.as_bytes())?;
            }
            let mut connection = rustls::ServerConnection::new(config).map_err(std::io::Error::other)?;
            while connection.is_handshaking() {
                connection.complete_io(&mut client)?;
            }
            Ok::<_, std::io::Error>(())
        });
        address
    };
    let pairs = [("ca", authority.path()), ("starttls", "smtp")];
    assert_eq!(run(server("220 mail ESMTP\r\n"), &pairs), Finding::PASS);
    let found = text(run(server("554 go away\r\n"), &pairs));
    assert!(found.contains("to be good: its greeting is \"554 go away\""), "{found}");
    let error = build("mail", &mut Options::of(&[("starttls", "ftp")])).err();
    assert_eq!(error.as_deref(), Some("option starttls: write smtp, imap, pop3, ldap, postgres or mysql"));
}
