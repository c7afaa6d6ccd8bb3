//! Against brokers that say what they are told to.

use super::*;
use crate::checks::support::dialogue::testing;
use crate::model::check::Status;
use proptest::prelude::*;

fn frame(channel: u8, class: u16, method: u16, arguments: &[u8]) -> Vec<u8> {
    let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat();
    [&[1, 0, channel][..], &(payload.len() as u32).to_be_bytes(), &payload, b"\xce"].concat()
}

fn start(mechanisms: &str, about: &[u8]) -> Vec<u8> {
    let long = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    frame(0, 10, 10, &[&b"\0\x09"[..], &long(about), &long(mechanisms.as_bytes()), &long(b"en_US")].concat())
}

fn close(class: u16, method: u16, code: u16) -> Vec<u8> {
    frame(if class == 10 { 0 } else { 1 }, class, method, &[&code.to_be_bytes()[..], b"\x02no", &[0; 4]].concat())
}

/// A broker that lets everybody in, and has a queue with these messages and consumers.
fn lets_in(messages: u32, consumers: u32) -> Vec<Vec<u8>> {
    let counts = [messages.to_be_bytes(), consumers.to_be_bytes()].concat();
    vec![
        start("AMQPLAIN PLAIN", b"\x01at\x01"),
        frame(0, 10, 30, b"\x07\xff\0\x02\0\0\0\x3c"),
        frame(0, 10, 41, b"\0"),
        [&[8, 0, 0, 0, 0, 0, 0, 0xce], &frame(1, 20, 11, b"\0\0\0\0")[..]].concat(),
        frame(1, 50, 11, &[b"\x06orders", &counts[..]].concat()),
    ]
}

fn find(said: Vec<u8>, pairs: &[(&str, &str)]) -> Finding {
    testing::find(&KIND, "//anna:secret@{}/shop", said, pairs)
}

const QUEUE: &[(&str, &str)] = &[("queue", "orders")];

#[test]
fn a_good_answer_passes_and_an_early_end_does_not() {
    let whole = lets_in(3, 1).concat();
    assert_eq!(find(whole.clone(), &[]).status, Status::Pass);
    assert_eq!(find(whole.clone(), QUEUE).status, Status::Pass);
    for end in 0..whole.len() {
        assert_eq!(find(whole[..end].to_vec(), QUEUE).status, Status::Fail, "the first {end} bytes");
    }
}

#[test]
fn what_is_in_a_queue_is_judged_and_told() {
    for (pairs, expected) in [
        (&[("max_messages", "3"), ("min_consumers", "1")][..], ""),
        (&[("max_messages", "2")], "at most 2 messages may wait in \"orders\", and 3 do"),
        (&[("min_consumers", "2")], "at least 2 consumers have to take messages out of \"orders\", and 1 do"),
    ] {
        let found = find(lets_in(3, 1).concat(), &[QUEUE, pairs].concat());
        let figures: Vec<_> = found.perfdata.iter().map(ToString::to_string).collect();
        assert_eq!(figures, ["'messages'=3", "'consumers'=1"], "{pairs:?}");
        let passes = found.status == Status::Pass;
        assert!(passes == expected.is_empty() && found.context.unwrap_or_default().contains(expected), "{pairs:?}");
    }
}

#[test]
fn what_the_broker_says_no_to_is_its_fault_or_ours() {
    let so_far = |count| lets_in(3, 1)[..count].concat();
    for (count, class, method, code, status) in [
        (1, 10, 50, 403, Status::Error),
        (2, 10, 50, 530, Status::Error),
        (2, 10, 50, 541, Status::Fail),
        (3, 10, 50, 320, Status::Fail),
        (4, 20, 40, 404, Status::Fail),
        (4, 20, 40, 403, Status::Error),
        (4, 20, 40, 405, Status::Error),
    ] {
        let found = find([so_far(count), close(class, method, code)].concat(), QUEUE);
        assert_eq!(found.status, status, "{found:?}");
        assert!(found.context.is_some_and(|why| why.contains(&format!("it says \"no\" ({code})"))));
    }
}

#[test]
fn other_versions_and_ways_to_sign_in_are_not_its_fault_and_other_protocols_are() {
    for (said, status, why) in [
        (b"AMQP\x03\x01\0\0".to_vec(), Status::Error, "it speaks AMQP 1.0.0"),
        (start("EXTERNAL XPLAIN", b""), Status::Error, "none is known here: \"EXTERNAL XPLAIN\""),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            Status::Fail,
            "it does not speak AMQP 0-9-1: got \"HTTP/1.1 400 Bad Request\\r\\n\\r\\n\"",
        ),
        (b"220 mail ESMTP\r\n".to_vec(), Status::Fail, "it does not speak AMQP 0-9-1: got \"220 mail ESMTP\\r\\n\""),
        (frame(0, 10, 30, b"\0\0\0\0\0\0\0\0"), Status::Fail, "it does not speak AMQP"),
        ([8, 0, 0, 0, 0, 0, 0, 0xce].repeat(1000), Status::Fail, "it does not speak AMQP"),
        (vec![], Status::Fail, "it closed the connection"),
    ] {
        let found = find(said, &[]);
        assert!(found.status == status && found.context.as_ref().is_some_and(|it| it.contains(why)), "{found:?}");
    }
}

#[test]
fn tables_in_tables_cost_no_stack() {
    let nested = (0..5_000).fold(Vec::new(), |inner: Vec<u8>, _| {
        [&b"A"[..], &(inner.len() as u32).to_be_bytes()].concat().into_iter().chain(inner).collect()
    });
    let mut said = lets_in(3, 1);
    said[0] = start("PLAIN", &[&b"\x01a"[..], &nested].concat());
    assert_eq!(find(said.concat(), QUEUE).status, Status::Pass);
}

#[test]
fn wrong_options_are_refused() {
    let long = &*"x".repeat(256);
    for (target, pairs, text) in [
        ("//localhost/shop?heartbeat=10", &[][..], "the target is not [USER:PASSWORD@]HOST[:PORT][/VHOST]"),
        ("//", &[], "the target is not [USER:PASSWORD@]HOST[:PORT]"),
        (&*format!("//localhost/{long}"), &[], "a vhost has a name of at most 255 bytes"),
        ("//localhost", &[("queue", long)], "option queue: write a name of at most 255 bytes"),
        ("//localhost", &[("max_messages", "1")], "option max_messages: it is of a queue: give queue, too"),
        ("//localhost", &[("warn_max_messages", "1")], "option warn_max_messages: it is of a queue: give queue, too"),
        ("//localhost", &[("min_consumers", "1")], "option min_consumers: it is of a queue: give queue, too"),
        ("//localhost", &[("queue", "a"), ("max_messages", "-1")], "option max_messages: write a whole number"),
        ("//localhost", &[("queue", "a"), ("min_consumers", "few")], "option min_consumers: write a whole number"),
    ] {
        let error = (KIND.build)(target, &mut Options::of(pairs)).err().unwrap_or_default();
        assert!(error.starts_with(text), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_damaged_answer_never_passes_without_the_queue(place: prop::sample::Index, byte: u8) {
        let mut said = lets_in(3, 1).concat();
        let at = place.index(said.len());
        said[at] = byte;
        let counts = said[said.len() - 9..].to_vec();
        let found = find(said, &[QUEUE, &[("max_messages", "3"), ("min_consumers", "1")]].concat());
        let is_within = counts[..4] <= [0, 0, 0, 3][..] && counts[4..8] >= [0, 0, 0, 1][..] && counts[8] == 0xce;
        prop_assert!(found.status != Status::Pass || is_within, "{found:?}");
        prop_assert!(!format!("{found:?}").contains("secret"), "{found:?}");
    }
}
