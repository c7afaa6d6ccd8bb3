//! Against servers that say what they are told to.

use super::*;
use crate::checks::support::ber::{ENUMERATED, INTEGER, OCTETS, SEQUENCE, element, number};
use crate::checks::support::dialogue::testing;
use crate::model::check::Status;
use proptest::prelude::*;

const BIND_RESPONSE: u8 = 0x61;
const ENTRY: u8 = 0x64;
const DONE: u8 = 0x65;
const REFERENCE: u8 = 0x73;
const EXTENDED_RESPONSE: u8 = 0x78;

fn message(id: u32, operation: u8, content: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[number(INTEGER, id), element(operation, content)].concat())
}

fn result(id: u32, operation: u8, code: u32, text: &str) -> Vec<u8> {
    let content = [number(ENUMERATED, code), element(OCTETS, b""), element(OCTETS, text.as_bytes())];
    message(id, operation, &content.concat())
}

fn bound() -> Vec<u8> {
    result(2, BIND_RESPONSE, 0, "")
}

fn entry() -> Vec<u8> {
    message(3, ENTRY, &[element(OCTETS, b"uid=anna,dc=shop"), element(SEQUENCE, b"")].concat())
}

fn done(code: u32) -> Vec<u8> {
    result(3, DONE, code, "")
}

/// A server that lets everybody in, and finds this many entries.
fn finds(entries: usize, code: u32) -> Vec<u8> {
    [bound(), entry().repeat(entries), done(code)].concat()
}

const BASE: (&str, &str) = ("base", "dc=shop");

fn find(said: Vec<u8>, pairs: &[(&str, &str)]) -> Finding {
    testing::find(&KIND, "//cn=reader,dc=shop:hunter2hunter2@{}", said, pairs)
}

#[test]
fn a_good_answer_passes_and_an_early_end_does_not() {
    let whole = finds(1, 0);
    assert_eq!(find(whole.clone(), &[]), Finding::PASS);
    assert_eq!(find(whole.clone(), &[BASE]).status, Status::Pass);
    assert_eq!(testing::find(&KIND, "//{}", finds(0, 0), &[]), Finding::PASS, "what it says of itself may be hidden");
    for end in 0..whole.len() {
        assert_eq!(find(whole[..end].to_vec(), &[BASE]).status, Status::Fail, "the first {end} bytes");
    }
}

#[test]
fn what_is_found_is_counted_as_far_as_it_matters() {
    use Status::{Error, Fail, Pass, Warn};
    for (entries, code, pairs, status, text) in [
        (0, 0, &[][..], Fail, "expected at least 1 entries, found 0"),
        (1, 0, &[], Pass, ""),
        (3, 4, &[], Pass, ""),
        (2, 0, &[("min", "3")], Fail, "expected at least 3 entries, found 2"),
        (2, 4, &[("min", "3")], Error, "the server tells of 2 entries, and that there are more"),
        (0, 4, &[], Error, "sizeLimitExceeded (4)"),
        (3, 4, &[("min", "3")], Pass, ""),
        (0, 0, &[("max", "0")], Pass, ""),
        (1, 4, &[("max", "0")], Fail, "expected at most 0 entries, found 1 or more"),
        (2, 4, &[("max", "2")], Error, "the server tells of 2 entries, and that there are more"),
        (2, 11, &[("max", "2")], Error, "the server tells of 2 entries, and that there are more"),
        (1000, 0, &[("max", "2")], Fail, "expected at most 2 entries, found 4 or more"),
        (2, 0, &[("min", "1"), ("warn_min", "3")], Warn, "expected at least 3 entries, found 2"),
        (3, 4, &[("max", "5"), ("warn_max", "2")], Error, "and that there are more"),
        (3, 0, &[("max", "5"), ("warn_max", "2")], Warn, "expected at most 2 entries, found 3"),
    ] {
        let found = find(finds(entries, code), &[&[BASE], pairs].concat());
        assert_eq!(found.status, status, "{entries} {code} {pairs:?}: {found:?}");
        assert!(found.context.unwrap_or_default().contains(text), "{entries} {code} {pairs:?}");
    }
    let figures = |entries, code| find(finds(entries, code), &[BASE, ("min", "2")]).perfdata;
    assert_eq!(figures(7, 0), [], "not all were counted");
    assert_eq!(figures(2, 0), [Perfdata::new("entries", 2.0, "")]);
}

#[test]
fn what_a_server_says_no_to_is_its_fault_or_ours() {
    for (code, name, status) in [
        (1, "operationsError", Status::Error),
        (2, "protocolError", Status::Error),
        (8, "strongerAuthRequired", Status::Error),
        (32, "noSuchObject", Status::Fail),
        (48, "inappropriateAuthentication", Status::Error),
        (49, "invalidCredentials", Status::Error),
        (50, "insufficientAccessRights", Status::Error),
        (51, "busy", Status::Fail),
        (52, "unavailable", Status::Fail),
        (80, "other", Status::Fail),
        (4711, "", Status::Error),
    ] {
        let refused = result(2, BIND_RESPONSE, code, "what is hunter2hunter2?");
        let left = result(0, EXTENDED_RESPONSE, code, "what is hunter2hunter2?");
        for said in [refused, [bound(), done(code)].concat(), [bound(), left].concat()] {
            let found = find(said, &[BASE]);
            assert_eq!(found.status, status, "{found:?}");
            let why = found.context.expect("it says why");
            assert!(why.contains(&format!("{name} ({code})")) && !why.contains("hunter2"), "{why}");
        }
    }
}

#[test]
fn what_is_out_of_turn_is_its_fault() {
    for said in [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        b"+OK ready\r\n".to_vec(),
        result(1, BIND_RESPONSE, 0, ""),
        result(2, DONE, 0, ""),
        [bound(), result(2, DONE, 0, "")].concat(),
        [bound(), bound()].concat(),
        [bound(), message(3, ENTRY, b"")].concat(),
        [bound(), message(3, REFERENCE, b"").repeat(2000), entry(), done(0)].concat(),
        b"\x30\x84\x7f\xff\xff\xff".to_vec(),
        b"\x30\x80\x02\x01\x02\x61\x07\x0a\x01\0\x04\0\x04\0\0\0".to_vec(),
    ] {
        let found = find(said, &[BASE]);
        assert!(found.status == Status::Fail, "{found:?}");
        assert!(found.context.is_some_and(|why| why.contains("it does not speak LDAP")));
    }
}

#[test]
fn where_it_refers_to_other_servers_only_its_own_entries_count() {
    let referred = message(3, REFERENCE, &element(OCTETS, b"ldap://elsewhere/"));
    let said = [bound(), referred.repeat(3), entry(), done(0)].concat();
    assert_eq!(find(said.clone(), &[BASE]).status, Status::Pass);
    assert_eq!(find(said, &[BASE, ("min", "2")]).status, Status::Fail);
}

#[test]
fn wrong_options_are_refused() {
    let anna = "//cn=anna:pw@ldap";
    for (target, pairs, text) in [
        ("//", &[][..], "the target is not [USER:PASSWORD@]HOST[:PORT]"),
        ("//ldap:x", &[], "the target is not [USER:PASSWORD@]HOST[:PORT]"),
        ("//ldap/dc=shop", &[], "give the base as base=dc=shop"),
        ("//cn=anna@ldap", &[], "there is a user without a password"),
        ("//ldap", &[("bind_dn", "cn=anna")], "there is a user without a password"),
        ("//ldap", &[("password_file", "/f")], "there is nobody to sign in"),
        ("//:pw@ldap", &[], "there is nobody to sign in"),
        (anna, &[("bind_dn", "cn=anna")], "there is a user, and a bind_dn too"),
        (anna, &[("password_file", "/f")], "give one of them"),
        (anna, &[("filter", "(uid=anna)")], "option filter: it is of a search: give base, too"),
        (anna, &[("scope", "sub")], "option scope: it is of a search: give base, too"),
        (anna, &[("min", "1")], "option min: it is of a search: give base, too"),
        (anna, &[BASE, ("scope", "tree")], "option scope: write sub, one or base"),
        (anna, &[BASE, ("filter", "(uid=anna")], "option filter: a parenthesis is missing"),
        (anna, &[BASE, ("min", "-1")], "option min: write a whole number"),
        (anna, &[BASE, ("max", "2147483647")], "option max: it is too large: write a smaller number"),
        (anna, &[BASE, ("min", "3"), ("max", "2")], "no number is at least 3 and at most 2"),
        (anna, &[BASE, ("min", "3"), ("warn_min", "2")], "option warn_min: it has to be more than min=3"),
    ] {
        for kind in [KIND, KIND_LDAPS] {
            let error = (kind.build)(target, &mut Options::of(pairs)).err().unwrap_or_default();
            assert!(error.contains(text), "{target} {pairs:?}: {error}");
        }
    }
    for name in ["ca", "insecure", "servername", "client_cert", "client_key"] {
        let error = (KIND.build)("//ldap", &mut Options::of(&[(name, "x")])).err().unwrap_or_default();
        assert!(error.contains(&format!("option {name} is for TLS: add starttls, or write ldaps://")), "{error}");
    }
}

#[test]
fn an_empty_password_would_let_nobody_in_as_somebody() {
    // Nobody is asked.
    let action = (KIND.build)("//cn=anna:@127.0.0.1:1", &mut Options::default()).expect("it is well formed");
    let found = action(crate::checks::default_deadline());
    assert!(found.status == Status::Error && found.context.is_some_and(|why| why.contains("the password is empty")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_damaged_answer_never_passes_without_the_entries(place: prop::sample::Index, byte: u8) {
        let mut said = finds(2, 0);
        let at = place.index(said.len());
        let was = std::mem::replace(&mut said[at], byte);
        let found = find(said, &[BASE, ("min", "2"), ("max", "2")]);
        prop_assert!(found.status != Status::Pass || was == byte || does_not_matter(at), "{at} {found:?}");
        prop_assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
    }
}

/// Whether a byte is of the name of an entry.
fn does_not_matter(at: usize) -> bool {
    let (first, one) = (bound().len(), entry().len());
    let head = 2 + 3 + 2 + 2;
    (0..2).any(|number| (first + number * one + head..first + (number + 1) * one - 2).contains(&at))
}
