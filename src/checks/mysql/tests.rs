//! Against servers that say what they are told to.

use super::*;
use crate::checks::support::connection::Connection;
use crate::checks::support::dialogue::testing;
use crate::checks::support::testing::tls::Authority;
use crate::model::check::Status;
use mysql_common::constants::{CapabilityFlags, StatusFlags};
use mysql_common::packets::HandshakePacket;
use mysql_common::proto::MySerialize;
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

const ANSWER: &[(&str, &str)] = &[("query", "select 41 + 1"), ("equals", "42")];

const OK: &[u8] = b"\0\0\0\x02\0\0\0";
const EOF: &[u8] = b"\xfe\0\0\x02\0";

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let [a, b, c, _] = (payload.len() as u32).to_le_bytes();
    [&[a, b, c, sequence], payload].concat()
}

/// The greeting of a server that proposes this way to sign in.
fn greeting(version: &str, plugin: &str) -> Vec<u8> {
    let offered = CapabilityFlags::CLIENT_PROTOCOL_41
        | CapabilityFlags::CLIENT_SECURE_CONNECTION
        | CapabilityFlags::CLIENT_PLUGIN_AUTH
        | CapabilityFlags::CLIENT_SSL;
    let greeting = HandshakePacket::new(
        10,
        version.as_bytes(),
        7,
        *b"abcdefgh",
        Some(&b"ijklmnopqrst\0"[..]),
        offered,
        45,
        StatusFlags::SERVER_STATUS_AUTOCOMMIT,
        Some(plugin.as_bytes()),
    );
    let mut payload = Vec::new();
    greeting.serialize(&mut payload);
    packet(0, &payload)
}

/// A table with one row.
fn table(cells: &[(&str, Option<&str>)]) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let mut said = vec![packet(1, &[cells.len() as u8])];
    for (number, (name, _)) in (2..).zip(cells) {
        let description = [text("def"), text(""), text(""), text(""), text(name), text("")].concat();
        said.push(packet(number, &[&description[..], b"\x0c\x21\0\0\0\0\0\xfd\0\0\0\0\0"].concat()));
    }
    let next = cells.len() as u8 + 2;
    said.push(packet(next, EOF));
    let row: Vec<_> = cells.iter().flat_map(|(_, value)| value.map_or(vec![0xfb], text)).collect();
    said.extend([packet(next + 1, &row), packet(next + 2, EOF)]);
    said.concat()
}

/// A server that lets everybody in, and then says this.
fn lets_in(answers: &[Vec<u8>]) -> Vec<u8> {
    [greeting("8.0.36", "mysql_native_password"), packet(2, OK), packet(1, OK), answers.concat()].concat()
}

fn find(said: Vec<u8>, pairs: &[(&str, &str)]) -> Finding {
    testing::find(&KIND, "//anna:secret@{}/shop", said, pairs)
}

fn error(code: u16, state: &str) -> Vec<u8> {
    [b"\xff", &code.to_le_bytes()[..], state.as_bytes(), b"no"].concat()
}

#[test]
fn a_good_answer_passes_and_an_early_end_does_not() {
    let whole = lets_in(&[table(&[("41 + 1", Some("42"))])]);
    assert_eq!(find(whole.clone(), ANSWER), Finding::PASS);
    assert_eq!(find(lets_in(&[table(&[("1", Some("1"))])]), &[]), Finding::PASS);
    for end in 0..whole.len() {
        assert_eq!(find(whole[..end].to_vec(), ANSWER).status, Status::Fail, "the first {end} bytes");
    }
}

#[test]
fn no_row_and_null_are_no_value() {
    assert_eq!(find(lets_in(&[packet(1, OK)]), ANSWER).status, Status::Fail);
    assert_eq!(find(lets_in(&[packet(1, OK)]), &[]).status, Status::Fail);
    assert_eq!(find(lets_in(&[table(&[("x", None)])]), ANSWER).status, Status::Fail);
    // LOAD DATA LOCAL INFILE.
    assert_eq!(find(lets_in(&[packet(1, b"\xfb/etc/passwd")]), ANSWER).status, Status::Error);
}

#[test]
fn what_the_server_says_no_to_is_its_fault_or_ours() {
    for (code, state, status) in [
        (1045, "#28000", Status::Error),
        (1049, "#42000", Status::Error),
        (1227, "#42000", Status::Error),
        (1130, "", Status::Error),
        (1040, "", Status::Fail),
        (1040, "#08004", Status::Fail),
        (1053, "#08S01", Status::Fail),
    ] {
        let early = packet(0, &error(code, state));
        let late = [greeting("8.0.36", "mysql_native_password"), packet(2, &error(code, state))].concat();
        let later = lets_in(&[packet(1, &error(code, state))]);
        for said in [early, late, later] {
            let found = find(said, ANSWER);
            assert_eq!(found.status, status, "{found:?}");
            assert!(found.context.is_some_and(|why| why.contains(&format!("it says \"no\" ({code}, "))));
        }
    }
}

#[test]
fn a_server_of_another_protocol_is_a_failure() {
    for said in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"220 mail ESMTP\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b""] {
        assert_eq!(find(said.to_vec(), &[]).status, Status::Fail);
    }
}

#[test]
fn what_it_says_of_those_that_it_follows_is_judged() {
    let follows = |receives, applies, behind| {
        table(&[
            ("Replica_IO_Running", Some(receives)),
            ("Seconds_Behind_Source", behind),
            ("Replica_SQL_Running", Some(applies)),
            ("Last_IO_Error", Some("")),
            ("Last_SQL_Error", Some("no such table")),
        ])
    };
    let alone = || packet(1, OK);
    let writable = |value| table(&[("@@global.read_only", Some(value))]);
    for (answers, pairs, expected) in [
        (vec![follows("Yes", "Yes", Some("7"))], &[("role", "replica"), ("lag", "7s")][..], ""),
        (vec![follows("Yes", "Yes", Some("7"))], &[("lag", "6s")], "it may be 6s behind its primary, and is 7s"),
        (vec![follows("Yes", "Yes", None)], &[("lag", "6s")], "does not know how far"),
        (vec![follows("Yes", "Yes", Some("0"))], &[("role", "primary")], "it is a replica, and has to be a primary"),
        (vec![follows("Connecting", "Yes", None)], &[("role", "replica")], "does not receive"),
        (vec![follows("Yes", "No", None)], &[("lag", "6s")], "is \"No\", as \"no such table\""),
        (vec![alone(), writable("0")], &[("role", "primary")], ""),
        (vec![alone(), writable("1")], &[("role", "primary")], "it is read-only"),
        (vec![alone()], &[("role", "replica")], "it is a primary, and has to be a replica"),
        (vec![alone()], &[("lag", "1s")], ""),
        // Before MySQL 8.0.22.
        (vec![packet(1, &error(1064, "#42000")), follows("Yes", "Yes", Some("7"))], &[("lag", "6s")], "and is 7s"),
    ] {
        let found = find(lets_in(&answers), pairs);
        let passes = found.status == Status::Pass;
        let context = found.context.unwrap_or_default();
        assert!(passes == expected.is_empty() && context.contains(expected), "{pairs:?}: {context}");
    }
    let found = find(lets_in(&[follows("Yes", "Yes", Some("7"))]), &[("lag", "9s"), ("warn_lag", "6s")]);
    assert_eq!(found.status, Status::Warn, "{found:?}");
    let found = find(lets_in(&[packet(1, &error(1227, "#42000"))]), &[("lag", "6s")]);
    assert_eq!(found.status, Status::Error, "who may not see it cannot tell: {found:?}");
}

fn receive(client: &mut (impl Read + ?Sized)) -> io::Result<Vec<u8>> {
    let mut head = [0; 4];
    client.read_exact(&mut head)?;
    let mut payload = vec![0; usize::from(head[0]) | usize::from(head[1]) << 8];
    client.read_exact(&mut payload)?;
    Ok(payload)
}

/// A server that asks for the password as it is, with TLS if the client wants it. What it is sent last.
fn wants_the_password(tls: Option<&Authority>) -> (String, thread::JoinHandle<io::Result<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let config = tls.map(|authority| authority.certify(-1, 10));
    fn talk(client: &mut (impl Read + Write), sequence: u8) -> io::Result<Vec<u8>> {
        receive(client)?;
        client.write_all(&packet(sequence, &[1, 4]))?;
        client.flush()?;
        receive(client)
    }
    let server = thread::spawn(move || {
        let (mut client, _) = listener.accept()?;
        client.write_all(&greeting("8.0.36", "caching_sha2_password"))?;
        let Some(config) = config else { return talk(&mut client, 2) };
        receive(&mut client)?;
        let connection = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
        talk(&mut rustls::StreamOwned::new(connection, client), 3)
    });
    (address, server)
}

#[test]
fn the_password_itself_is_said_with_tls_alone() {
    let authority = Authority::new();
    let ca = [("tls", ""), ("ca", authority.path())];
    for (tls, pairs, said) in [(Some(&authority), &ca[..], Some(&b"secret\0"[..])), (None, &[], None)] {
        let (address, server) = wants_the_password(tls);
        let action = build(&format!("//anna:secret@{address}"), &mut Options::of(pairs)).expect("it is well formed");
        let found = action(crate::checks::default_deadline());
        let heard = server.join().expect("the server does not panic");
        assert_eq!(heard.ok().as_deref(), said, "{found:?}");
        let why = found.context.unwrap_or_default();
        // With TLS, it has left without an answer.
        let status = if tls.is_some() { Status::Fail } else { Status::Error };
        assert!(found.status == status && (tls.is_some() || why.contains("only said with TLS: give tls")), "{why}");
    }
    let found = find(greeting("8.0.36", "caching_sha2_password"), &[("tls", "")]);
    assert_eq!(found.status, Status::Fail, "{found:?}");
}

/// A server of MySQL 8, which keeps no password but what is made of it, and asks for it unless it remembers that.
fn keeps_a_hash(
    remembers: bool,
    tls: Option<&Authority>,
    key: Option<PathBuf>,
) -> (String, thread::JoinHandle<io::Result<()>>) {
    const NONCE: &[u8] = b"abcdefghijklmnopqrst";
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let config = tls.map(|authority| authority.certify(-1, 10));
    let hash = |bytes: &[u8]| <[u8; 32]>::from(Sha256::digest(bytes));
    let kept = hash(&hash(b"secret"));
    let is_known = move |response: &[u8]| {
        let user = response[32..].iter().position(|byte| *byte == 0).map_or(0, |end| 32 + end);
        let once =
            response[user + 2..].iter().zip(hash(&[&kept[..], NONCE].concat())).map(|(byte, other)| byte ^ other);
        hash(&once.take(32).collect::<Vec<_>>()) == kept
    };
    let is_same = move |told: Vec<u8>| match &key {
        None => told == b"secret\0",
        Some(key) => {
            let told = decrypted(&told, key);
            told.iter().zip(NONCE).map(|(byte, other)| byte ^ other).eq(*b"secret\0")
        }
    };
    let talk = move |client: &mut dyn Connection, sequence: u8| -> io::Result<()> {
        let response = receive(client)?;
        let end = match (is_known(&response), remembers) {
            (true, true) => [packet(sequence, &[1, 3]), packet(sequence + 1, OK)].concat(),
            (true, false) => {
                client.write_all(&packet(sequence, &[1, 4]))?;
                client.flush()?;
                let is_same = is_same(receive(client)?);
                packet(sequence + 2, if is_same { OK } else { b"\xff\x15\x04#28000no" })
            }
            (false, _) => packet(sequence, b"\xff\x15\x04#28000no"),
        };
        client.write_all(&end)?;
        client.flush()?;
        for answer in [packet(1, OK), table(&[("1", Some("1"))])] {
            receive(client)?;
            client.write_all(&answer)?;
            client.flush()?;
        }
        Ok(())
    };
    let server = thread::spawn(move || {
        let (mut client, _) = listener.accept()?;
        client.write_all(&greeting("8.0.36", "caching_sha2_password"))?;
        let Some(config) = config else { return talk(&mut client, 2) };
        receive(&mut client)?;
        let connection = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
        talk(&mut rustls::StreamOwned::new(connection, client), 3)
    });
    (address, server)
}

fn decrypted(bytes: &[u8], key: &Path) -> Vec<u8> {
    let mut openssl = Command::new("openssl");
    openssl.args(["pkeyutl", "-decrypt", "-pkeyopt", "rsa_padding_mode:oaep", "-inkey"]).arg(key);
    let mut openssl = openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it is installed");
    openssl.stdin.take().expect("it is a pipe").write_all(bytes).expect("it reads");
    openssl.wait_with_output().expect("it ends").stdout
}

#[test]
fn a_server_that_keeps_a_hash_lets_in_who_has_the_password() {
    let authority = Authority::new();
    let with_tls = [("tls", ""), ("ca", authority.path())];
    for (remembers, tls, password, status) in [
        (true, None, "secret", Status::Pass),
        (true, Some(&authority), "secret", Status::Pass),
        (false, Some(&authority), "secret", Status::Pass),
        (true, None, "wrong1", Status::Error),
        (false, Some(&authority), "wrong1", Status::Error),
        (false, None, "secret", Status::Error),
    ] {
        let (address, server) = keeps_a_hash(remembers, tls, None);
        let pairs = if tls.is_some() { &with_tls[..] } else { &[] };
        let action =
            build(&format!("//anna:{password}@{address}"), &mut Options::of(pairs)).expect("it is well formed");
        let found = action(crate::checks::default_deadline());
        assert_eq!(found.status, status, "{remembers} {} {password}: {found:?}", tls.is_some());
        drop(server.join().expect("the server does not panic"));
    }
}

#[test]
#[ignore = "needs openssl"]
fn a_server_whose_key_is_known_is_told_the_password_without_tls() {
    let folder = tempfile::tempdir().expect("there is room");
    let [key, public] = ["key.pem", "public.pem"].map(|name| folder.path().join(name).display().to_string());
    for arguments in [&["genrsa", "-out", &key, "2048"][..], &["rsa", "-in", &key, "-pubout", "-out", &public]] {
        let made = Command::new("openssl").args(arguments).output().expect("it is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let pairs = [("server_public_key", public.as_str())];
    let (address, server) = keeps_a_hash(false, None, Some(key.into()));
    let action = build(&format!("//anna:secret@{address}"), &mut Options::of(&pairs)).expect("it is well formed");
    assert_eq!(action(crate::checks::default_deadline()), Finding::PASS);
    server.join().expect("the server does not panic").expect("it was heard");
}

#[test]
fn a_server_without_tls_is_a_failure_for_who_wants_it_and_is_told_no_password() {
    let mut said = greeting("8.0.36", "mysql_native_password");
    // The bit of CLIENT_SSL is in the second byte of the capabilities, behind version, number, nonce and a zero.
    let capabilities = 4 + 1 + "8.0.36\0".len() + 4 + 8 + 1;
    said[capabilities + 1] &= !0x08;
    let found = find(said, &[("tls", ""), ("insecure", "")]);
    assert!(found.status == Status::Fail && found.context.is_some_and(|why| why.contains("it does not offer TLS")));
}

#[test]
fn ways_to_sign_in_that_are_not_known_are_no_fault_of_the_server() {
    for (switch, why) in [
        (&b"\xfemysql_old_password\0abcdefgh\0"[..], "not known here: \"mysql_old_password\""),
        (b"\xfe", "as MySQL 4.0 did"),
        (b"\xfeauth_gssapi_client\0", "not known here: \"auth_gssapi_client\""),
        (b"\xfemysql_clear_password\0", "only said with TLS"),
        (b"\xfesha256_password\0abcdefghijklmnopqrst\0", "only said with TLS"),
    ] {
        let found = find([greeting("8.0.36", "mysql_native_password"), packet(2, switch)].concat(), ANSWER);
        assert!(
            found.status == Status::Error && found.context.as_ref().is_some_and(|it| it.contains(why)),
            "{found:?}"
        );
    }
    let again: Vec<_> = (0..1000)
        .map(|step: u32| packet((step * 2 + 2) as u8, b"\xfemysql_native_password\0abcdefghijklmnopqrst\0"))
        .collect();
    let found = find([greeting("8.0.36", "mysql_native_password"), again.concat()].concat(), ANSWER);
    assert_eq!(found.status, Status::Fail, "{found:?}");
    // Nonces of the wrong length.
    for switch in [&b"\xfeclient_ed25519\0short"[..], b"\xfecaching_sha2_password\0short"] {
        let found = find([greeting("8.0.36", "mysql_native_password"), packet(2, switch)].concat(), ANSWER);
        assert_eq!(found.status, Status::Fail, "{found:?}");
    }
}

#[test]
fn wrong_options_are_refused() {
    for (target, pairs, text) in [
        (
            "//anna@localhost/shop?ssl-mode=required",
            &[][..],
            "the target is not [USER:PASSWORD@]HOST[:PORT][/DATABASE]",
        ),
        ("//", &[], "the target is not [USER:PASSWORD@]HOST[:PORT]"),
        ("//localhost", &[("role", "master")], "option role: write primary or replica"),
        ("//localhost", &[("lag", "0")], "option lag: it has to be longer than 0"),
        ("//localhost", &[("ca", "/x")], "option ca: it is for TLS: give tls, too"),
        ("//localhost", &[("query", "select 1"), ("min", "two")], "option min: write a number"),
        ("//a:b@localhost", &[("password_file", "/x")], "there is a password, and a password_file too"),
    ] {
        let error = build(target, &mut Options::of(pairs)).err().unwrap_or_default();
        assert!(error.starts_with(text), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_damaged_answer_never_passes_without_the_value(place: prop::sample::Index, byte: u8) {
        let mut said = lets_in(&[table(&[("41 + 1", Some("42"))])]);
        let at = place.index(said.len());
        said[at] = byte;
        let found = find(said.clone(), ANSWER);
        let has_value = said.windows(3).any(|window| window == b"\x0242");
        prop_assert!(found.status != Status::Pass || has_value, "{found:?}");
        prop_assert!(!format!("{found:?}").contains("secret"), "{found:?}");
    }
}
