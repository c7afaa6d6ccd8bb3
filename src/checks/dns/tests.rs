use super::*;
use crate::model::check::Status;
use simple_dns::ResourceRecord;
use simple_dns::rdata::{A, AAAA, TXT};
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
        while let Ok((count, client)) = socket.recv_from(&mut buffer) {
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

fn reply(question: &[u8]) -> Vec<u8> {
    let packet = Packet::parse(question).expect("our own question can be read");
    let asked = packet.questions.first().expect("there is one question");
    let mut reply = Packet::new_reply(packet.id());
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
        ("broken.test", _) => *reply.rcode_mut() = RCODE::ServerFailure,
        _ => *reply.rcode_mut() = RCODE::NameError,
    }
    reply.build_bytes_vec().expect("it is well formed")
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
    let Err(Reason::Fail(text)) = assert_dns("no-such-host.invalid") else { panic!("it does not exist") };
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
        for (what, told) in [("silent", "nothing came in time"), ("broken", "SERVFAIL"), ("unknown", "NXDOMAIN")] {
            let name = format!("{family}-{what}.test");
            let began = Instant::now();
            let long = Duration::from_secs(60);
            assert_eq!(ask_for(long, &name, server, &[]), Finding::PASS, "{name}");
            assert_eq!(ask_for(long, &name, server, &[("address", good)]), Finding::PASS, "{name}");
            assert!(began.elapsed() < long / 3, "{name} is not waited for when it does not matter");
            // Where it matters, it is told.
            let limit = Duration::from_millis(if what == "silent" { 300 } else { 20_000 });
            for pairs in [[("address", missing)], [("type", kind)]] {
                let text = text(ask_for(limit, &name, server, &pairs));
                assert!(text.contains(told), "{name} {pairs:?}: {text}");
            }
        }
    }
}

#[test]
fn a_long_answer_is_fetched_by_tcp() {
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
        let answer = reply(&buffer[2..count]);
        client.write_all(&[&(answer.len() as u16).to_be_bytes()[..], &answer].concat())
    });
    assert_eq!(ask("shop.test", address, &[("type", "A"), ("address", "192.0.2.7")]), Finding::PASS);
}

#[test]
fn a_silent_server_is_asked_again_and_is_a_failure_before_the_deadline() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("it is bound").to_string();
    let action = build("shop.test", &mut Options::of(&[("server", &address)])).expect("it is well formed");
    let found = text(action(Deadline::at(Instant::now() + Duration::from_millis(300))));
    assert!(found.contains("nothing came in time"), "{found}");
    socket.set_nonblocking(true).expect("a socket can be");
    let asked = std::iter::from_fn(|| socket.recv(&mut [0; 512]).ok()).count();
    assert_eq!(asked, 2 * TRIES as usize, "both families at once");
}

#[test]
fn wrong_options_are_named() {
    for (pairs, expected) in [
        (vec![("type", "B")], "option type=\"B\": unknown type (known: A, AAAA, "),
        (vec![("type", "MX")], "type=MX needs a server="),
        (vec![("address", "x")], "option address=\"x\": write an IPv4 or IPv6 address"),
        (vec![("type", "A"), ("address", "::1")], "a record of type A cannot hold the address"),
        (vec![("server", "ns:x")], "option server=\"ns:x\": write an address"),
    ] {
        let Err(error) = build("shop.test", &mut Options::of(&pairs)) else { panic!("{pairs:?}") };
        assert!(error.starts_with(expected), "{error}");
    }
    for target in ["", "//", "a..b", "shop.test/x", "shop.test:53"] {
        assert!(build(target, &mut Options::default()).is_err(), "{target}");
    }
}
