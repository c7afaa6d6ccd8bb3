use super::*;
use crate::model::check::Status;
use simple_dns::rdata::{A, AAAA, TXT};
use simple_dns::{OPCODE, ResourceRecord};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

/// A name server that knows `shop.test`, and answers by UDP until it has been idle for a while.
fn server(ip: &str) -> SocketAddr {
    let socket = UdpSocket::bind((ip, 0)).expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket takes a timeout");
    thread::spawn(move || {
        let mut buffer = [0; 512];
        loop {
            let (count, client) = match socket.recv_from(&mut buffer) {
                // A test beside this one may handle signals.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => break,
                Ok(received) => received,
            };
            // Whatever is not an answer to the question does no harm.
            let _ = socket.send_to(b"\x12\x34 stray", client);
            let reply = reply(&buffer[..count]);
            // An answer is never empty.
            if !reply.is_empty() {
                let _ = socket.send_to(&reply, client);
            }
        }
    });
    address
}

/// Empty if it was not a question: it may be a late answer to whoever had this port before.
fn reply(question: &[u8]) -> Vec<u8> {
    let Ok(packet) = Packet::parse(question) else { return Vec::new() };
    let Some(asked) = packet.questions.first() else { return Vec::new() };
    let mut reply = Packet::new_reply(packet.id());
    reply.questions.push(asked.clone());
    let record = |data| ResourceRecord::new(asked.qname.clone(), CLASS::IN, 60, data);
    match (asked.qname.to_string().as_str(), asked.qtype) {
        ("shop.test", QTYPE::TYPE(TYPE::A)) => {
            reply.answers.push(record(RData::A(A { address: Ipv4Addr::new(192, 0, 2, 7).into() })));
        }
        ("shop.test", QTYPE::TYPE(TYPE::AAAA)) => {
            reply.answers.push(record(RData::AAAA(AAAA {
                address: "2001:db8::7".parse::<Ipv6Addr>().expect("it is one").into(),
            })));
        }
        ("shop.test", QTYPE::TYPE(TYPE::TXT)) => {
            reply.answers.push(record(RData::TXT(TXT::new().with_string("v=spf1").expect("it is short"))));
        }
        ("shop.test", _) => {}
        // Those that have one family only, and what the server does when it is asked for the other.
        (name, QTYPE::TYPE(TYPE::A)) if name.starts_with("v4-") => {
            reply.answers.push(record(RData::A(A { address: Ipv4Addr::new(192, 0, 2, 7).into() })));
        }
        (name, QTYPE::TYPE(TYPE::AAAA)) if name.starts_with("v6-") => {
            reply.answers.push(record(RData::AAAA(AAAA {
                address: "2001:db8::7".parse::<Ipv6Addr>().expect("it is one").into(),
            })));
        }
        ("v4-silent.test" | "v6-silent.test", _) => return Vec::new(),
        ("v4-broken.test" | "v6-broken.test", _) => *reply.rcode_mut() = RCODE::ServerFailure,
        // Answers that are about something else.
        ("other-question.test", _) => {
            reply.questions = vec![Question::new(Name::new_unchecked("evil.test"), asked.qtype, asked.qclass, false)];
            reply.answers.push(record(RData::A(A { address: 1 })));
        }
        ("other-owner.test", _) => {
            let evil = Name::new_unchecked("evil.test");
            reply.answers.push(ResourceRecord::new(evil, CLASS::IN, 60, RData::A(A { address: 1 })));
        }
        ("other-class.test", _) => {
            reply.answers.push(ResourceRecord::new(asked.qname.clone(), CLASS::CH, 60, RData::A(A { address: 1 })));
        }
        ("other-opcode.test", _) => {
            *reply.opcode_mut() = OPCODE::Notify;
            reply.answers.push(record(RData::A(A { address: 1 })));
        }
        ("other-id.test", _) => {
            reply = Packet::new_reply(packet.id().wrapping_add(100));
            reply.questions.push(asked.clone());
            reply.answers.push(record(RData::A(A { address: 1 })));
        }
        ("alias.test", QTYPE::TYPE(TYPE::A)) => {
            let [first, second] = ["b.test", "C.test"].map(Name::new_unchecked);
            let own = |name: &Name<'static>, data| ResourceRecord::new(name.clone(), CLASS::IN, 60, data);
            // The wrong way round.
            reply.answers.push(own(&second, RData::A(A { address: Ipv4Addr::new(192, 0, 2, 7).into() })));
            reply.answers.push(own(&first, RData::CNAME(Name::new_unchecked("c.test").into())));
            reply.answers.push(record(RData::CNAME(first.into())));
        }
        ("broken.test", _) => *reply.rcode_mut() = RCODE::ServerFailure,
        _ => *reply.rcode_mut() = RCODE::NameError,
    }
    let mut bytes = reply.build_bytes_vec().expect("it is well formed");
    if asked.qname.to_string() == "v4-rest.test" {
        // One additional record, with a name that points to itself.
        bytes[11] = 1;
        let own = 0xC000 | u16::try_from(bytes.len()).expect("it is short");
        bytes.extend(own.to_be_bytes());
    }
    bytes
}

fn ask(name: &str, server: SocketAddr, pairs: &[(&str, &str)]) -> Finding {
    ask_for(Duration::from_secs(5), name, server, pairs)
}

fn ask_for(limit: Duration, name: &str, server: SocketAddr, pairs: &[(&str, &str)]) -> Finding {
    let server = server.to_string();
    let pairs = [&[("server", server.as_str())], pairs].concat();
    build(name, &mut Options::of(&pairs)).expect("it is well formed")(Deadline::at(Instant::now() + limit))
}

fn text(found: Finding) -> String {
    assert_eq!(found.status, Status::Fail, "{found:?}");
    found.context.expect("a failure says why")
}

#[test]
fn the_system_resolves_localhost() {
    assert_eq!(assert_dns("localhost"), Ok(()));
    let found = build("localhost", &mut Options::of(&[("type", "a"), ("address", "127.0.0.1")]));
    assert_eq!(found.expect("it is well formed")(default_deadline()), Finding::PASS);
}

#[test]
fn an_unknown_name_is_a_failure_that_says_who_was_asked() {
    let text = match assert_dns("no-such-host.invalid") {
        Err(Reason::Fail(text)) => text,
        // Without a name server nobody knows.
        Err(Reason::Error(text)) if text.contains("Temporary failure") => text,
        other => panic!("it does not exist: {other:?}"),
    };
    assert!(text.starts_with("expected the system's resolver to find an address of no-such-host.invalid: "), "{text}");
}

#[test]
fn a_server_is_asked_on_both_families() {
    for ip in ["127.0.0.1", "::1"] {
        let server = server(ip);
        assert_eq!(ask("shop.test", server, &[]), Finding::PASS);
        assert_eq!(ask("shop.test", server, &[("type", "TXT")]), Finding::PASS);
        assert_eq!(ask("shop.test", server, &[("address", "192.0.2.7,2001:db8::7")]), Finding::PASS);
    }
}

#[test]
fn what_is_wrong_behind_the_answers_does_not_make_them_unreadable() {
    let server = server("127.0.0.1");
    assert_eq!(ask("v4-rest.test", server, &[("type", "A"), ("address", "192.0.2.7")]), Finding::PASS);
}

#[test]
fn what_the_server_says_instead_is_told() {
    let server = server("127.0.0.1");
    for (name, pairs, expected) in [
        ("other.test", vec![], "an address of other.test: there is no such name (NXDOMAIN)"),
        ("broken.test", vec![("type", "MX")], "MX of broken.test: it failed (SERVFAIL)"),
        ("shop.test", vec![("type", "MX")], "MX of shop.test: it knows the name, and has no such record"),
        (
            "shop.test",
            vec![("type", "A"), ("address", "192.0.2.8")],
            "A of shop.test: expected 192.0.2.8 among them, got 192.0.2.7",
        ),
    ] {
        let text = text(ask(name, server, &pairs));
        assert!(text.starts_with(&format!("expected {server} to find {expected} (in ")), "{text}");
    }
}

#[test]
fn a_name_with_one_family_resolves_whatever_the_server_says_of_the_other() {
    let server = server("127.0.0.1");
    let (v4, v6) = ("192.0.2.7", "2001:db8::7");
    for (family, good, missing, kind) in [("v4", v4, v6, "AAAA"), ("v6", v6, v4, "A")] {
        for (what, told) in [("silent", "came in time"), ("broken", "SERVFAIL"), ("unknown", "NXDOMAIN")] {
            let name = format!("{family}-{what}.test");
            let began = Instant::now();
            let long = Duration::from_secs(60);
            assert_eq!(ask_for(long, &name, server, &[]), Finding::PASS, "{name}");
            assert_eq!(ask_for(long, &name, server, &[("address", good)]), Finding::PASS, "{name}");
            assert!(began.elapsed() < long / 3, "{name} is not waited for when it does not matter");
            // Where it matters, it is told.
            let limit = Duration::from_millis(if what == "silent" { 1000 } else { 20_000 });
            for pairs in [[("address", missing)], [("type", kind)]] {
                let text = text(ask_for(limit, &name, server, &pairs));
                assert!(text.contains(told), "{name} {pairs:?}: {text}");
            }
        }
    }
}

#[test]
fn an_answer_about_something_else_is_not_believed() {
    let server = server("127.0.0.1");
    for (name, told) in [
        ("other-question.test", "nothing that answers the question came in time"),
        ("other-opcode.test", "nothing that answers the question came in time"),
        ("other-id.test", "nothing that answers the question came in time"),
        ("other-owner.test", "it knows the name, and has no such record"),
        ("other-class.test", "it knows the name, and has no such record"),
    ] {
        let text = text(ask_for(Duration::from_millis(500), name, server, &[("type", "A")]));
        assert!(text.contains(told), "{name}: {text}");
    }
    assert_eq!(ask("alias.test", server, &[("type", "A"), ("address", "192.0.2.7")]), Finding::PASS);
}

#[test]
fn each_address_of_a_server_is_asked() {
    // The name has 127.0.0.1 and, on most hosts, ::1; the server has only one of them.
    let port = server("127.0.0.1").port().to_string();
    let name = format!("localhost:{port}");
    let action = build("shop.test", &mut Options::of(&[("server", &name)])).expect("it is well formed");
    assert_eq!(action(default_deadline()), Finding::PASS);
}

/// A server whose answer by UDP is cut off, and what it does by TCP.
fn cut_off(by_tcp: fn(&[u8]) -> Vec<u8>) -> SocketAddr {
    // TCP needs the same port: another process may have taken it.
    let (udp, tcp) = std::iter::repeat_with(|| UdpSocket::bind("127.0.0.1:0").expect("a free port"))
        .find_map(|udp| TcpListener::bind(udp.local_addr().ok()?).ok().map(|tcp| (udp, tcp)))
        .expect("it goes on for ever");
    let address = udp.local_addr().expect("it is bound");
    thread::spawn(move || {
        let mut buffer = [0; 512];
        let (count, client) = udp.recv_from(&mut buffer)?;
        let mut cut = reply(&buffer[..count]);
        cut[2] |= 0x02;
        udp.send_to(&cut, client)?;
        let (mut client, _) = tcp.accept()?;
        let count = client.read(&mut buffer)?;
        client.write_all(&by_tcp(&buffer[2..count]))
    });
    address
}

fn framed(answer: &[u8]) -> Vec<u8> {
    [&(answer.len() as u16).to_be_bytes()[..], answer].concat()
}

#[test]
fn a_long_answer_that_does_not_come_by_tcp_says_so() {
    let found = text(ask("shop.test", cut_off(|_| Vec::new()), &[("type", "A")]));
    let expected = "its answer by UDP is cut off, and by TCP it closed the connection before the end";
    assert!(found.contains(expected), "{found}");
    let other_id = |question: &[u8]| {
        let mut answer = reply(question);
        answer[0] ^= 1;
        framed(&answer)
    };
    let found = text(ask("shop.test", cut_off(other_id), &[("type", "A")]));
    assert!(found.contains("and by TCP it answers another question"), "{found}");
}

#[test]
fn a_long_answer_is_fetched_by_tcp() {
    let address = cut_off(|question| framed(&reply(question)));
    assert_eq!(ask("shop.test", address, &[("type", "A"), ("address", "192.0.2.7")]), Finding::PASS);
}

#[test]
fn a_silent_server_is_asked_again_and_is_a_failure_before_the_deadline() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("it is bound").to_string();
    let action = build("shop.test", &mut Options::of(&[("server", &address)])).expect("it is well formed");
    let found = text(action(Deadline::at(Instant::now() + Duration::from_millis(500))));
    assert!(found.contains("nothing came in time"), "{found}");
    socket.set_nonblocking(true).expect("a socket can be");
    let asked = std::iter::from_fn(|| socket.recv(&mut [0; 512]).ok()).count();
    assert_eq!(asked, 2 * TRIES as usize, "both families at once");
}

#[test]
fn wrong_options_are_named() {
    for (pairs, expected) in [
        (vec![("type", "B")], "option type: unknown type (known: A, AAAA, "),
        (vec![("type", "MX")], "type=MX needs a server="),
        (vec![("address", "x")], "option address: write an IPv4 or IPv6 address"),
        (vec![("type", "A"), ("address", "::1")], "a record of type A cannot hold the address"),
        (vec![("server", "ns:x")], "option server: write an address"),
    ] {
        let Err(error) = build("shop.test", &mut Options::of(&pairs)) else { panic!("{pairs:?}") };
        assert!(error.starts_with(expected), "{error}");
    }
    for target in ["", "//", "a..b", "shop.test/x", "shop.test:53"] {
        assert!(build(target, &mut Options::default()).is_err(), "{target}");
    }
}

#[test]
fn records_are_matched_as_dig_prints_them() {
    use simple_dns::rdata::{CAA, MX, PTR, SOA, SRV};
    let name = || Name::new_unchecked("mail.test");
    let txt = TXT::new().with_string("v=spf1 ").and_then(|txt| txt.with_string("-all")).expect("they are short");
    let tag = "issue".try_into().expect("it is short");
    let soa = SOA { mname: name(), rname: name(), serial: 7, refresh: 1, retry: 2, expire: 3, minimum: 4 };
    for (data, text) in [
        (RData::MX(MX { preference: 10, exchange: name() }), "10 mail.test"),
        (RData::SRV(SRV { priority: 1, weight: 2, port: 389, target: name() }), "1 2 389 mail.test"),
        (RData::CAA(CAA { flag: 0, tag, value: b"letsencrypt.org"[..].into() }), "0 issue letsencrypt.org"),
        (RData::TXT(txt), "v=spf1 -all"),
        (RData::PTR(PTR(name())), "mail.test"),
        (RData::SOA(soa), "mail.test mail.test 7 1 2 3 4"),
        (RData::A(A { address: 0x7f00_0001 }), "127.0.0.1"),
    ] {
        assert_eq!(spoken_record(&data), text);
    }
    let server = server("127.0.0.1");
    assert_eq!(ask("shop.test", server, &[("type", "TXT"), ("match", "^v=spf1")]), Finding::PASS);
    let found = text(ask("shop.test", server, &[("type", "TXT"), ("match", "^v=DMARC")]));
    assert!(found.contains("expected one that matches \"^v=DMARC\", got \"v=spf1\""), "{found}");
    assert_eq!(ask("shop.test", server, &[("match", "^192\\.")]), Finding::PASS);
}

#[test]
fn an_address_is_asked_for_by_the_name_that_has_its_names() {
    let reverse = |address: &str| reverse(address.parse().expect("it is one"));
    assert_eq!(reverse("192.0.2.7"), "7.2.0.192.in-addr.arpa");
    assert_eq!(reverse("2001:db8::7"), "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
    assert!(build("192.0.2.7", &mut Options::of(&[("type", "PTR"), ("server", "::1")])).is_ok());
    assert!(build("2001:db8::7", &mut Options::of(&[("type", "PTR"), ("server", "::1")])).is_ok());
    let error = build("shop.test", &mut Options::of(&[("tcp", "")])).err().unwrap_or_default();
    assert!(error.starts_with("tcp needs a server="), "{error}");
}

#[test]
fn a_server_can_be_asked_by_tcp_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        let (mut client, _) = listener.accept()?;
        let mut length = [0; 2];
        client.read_exact(&mut length)?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        client.read_exact(&mut question)?;
        let reply = reply(&question);
        client.write_all(&[&(reply.len() as u16).to_be_bytes()[..], &reply].concat())?;
        client.read_to_end(&mut Vec::new())
    });
    assert_eq!(ask("shop.test", address, &[("type", "A"), ("tcp", ""), ("address", "192.0.2.7")]), Finding::PASS);
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    assert!(text(ask("shop.test", free, &[("type", "A"), ("tcp", "")])).contains("Connection refused"));
}
