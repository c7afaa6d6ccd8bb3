use super::super::support::dialogue::testing::in_time;
use super::super::support::testing::{answer, http};
use super::*;
use crate::model::check::{DEFAULT_TIMEOUT, Status};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

fn run(scheme: &str, target: &str, pairs: &[(&str, &str)]) -> Finding {
    build(scheme, target, &mut Options::of(pairs)).expect("it is well formed")(default_deadline())
}

fn get(address: SocketAddr, pairs: &[(&str, &str)]) -> Finding {
    run("http", &format!("//{address}/ping"), pairs)
}

fn text(found: Finding) -> String {
    assert_eq!(found.status, Status::Fail, "{found:?}");
    found.context.expect("a failure says why")
}

#[test]
fn success_passes_on_both_families() {
    for ip in ["127.0.0.1", "::1"] {
        let (address, heads) = http(ip, vec![answer("204 No Content", "")]);
        assert_eq!(get(address, &[]), Finding::PASS);
        let head = heads.recv().expect("it was asked").to_ascii_lowercase();
        assert!(head.starts_with("get /ping http/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("host: {address}\r\n")), "{head}");
        assert!(head.contains("user-agent: hospital/"), "{head}");
    }
}

#[test]
fn another_status_is_a_failure_that_says_which_and_where() {
    let (address, _heads) = http("127.0.0.1", vec![answer("503 Service Unavailable", "no")]);
    let text = text(get(address, &[]));
    let expected = format!("expected http://{address}/ping to answer with 2xx: got 503 Service Unavailable (in ");
    assert!(text.starts_with(&expected), "{text}");
}

#[test]
fn the_status_can_be_set() {
    let answers = || vec![answer("404 Not Found", "")];
    assert_eq!(get(http("127.0.0.1", answers()).0, &[("status", "200,404")]), Finding::PASS);
    assert!(text(get(http("127.0.0.1", answers()).0, &[("status", "3xx")])).contains("to answer with 3xx: got 404"));
    assert_eq!(assert_http_response(&format!("http://{}/", http("::1", answers()).0), 404), Ok(()));
    let found = assert_http_response(&format!("http://{}/", http("::1", answers()).0), 200);
    assert!(matches!(&found, Err(Reason::Fail(text)) if text.contains("with 200: got 404 Not Found")), "{found:?}");
}

#[test]
fn a_redirect_is_the_answer_unless_it_may_be_followed() {
    let redirect = || "HTTP/1.1 302 Found\r\nLocation: /login?token=hunter2\r\nContent-Length: 0\r\n\r\n".to_owned();
    let found = text(get(http("127.0.0.1", vec![redirect()]).0, &[]));
    assert!(found.contains("got 302 Found to /login?token=***"), "{found}");
    let (address, heads) = http("127.0.0.1", vec![redirect(), answer("200 OK", "")]);
    assert_eq!(get(address, &[("redirects", "1")]), Finding::PASS);
    assert!(heads.iter().nth(1).expect("it followed").starts_with("GET /login?token=hunter2 "));
    let (address, _heads) = http("127.0.0.1", vec![redirect(), redirect()]);
    assert!(text(get(address, &[("redirects", "1")])).contains("it redirected more than 1 times"));
}

#[test]
fn a_redirect_to_another_host_gets_no_header_of_ours() {
    let redirect = |to: &str| format!("HTTP/1.1 307 Go\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    let (other, heads) = http("127.0.0.1", vec![answer("200 OK", "")]);
    let (named, own_heads) = http("127.0.0.1", vec![redirect("/next"), redirect(&format!("http://{other}/there"))]);
    let pairs = ["X-Token: hunter2", "Cookie: id=hunter2", "Host: hunter2.example", "User-Agent: hunter2"];
    let pairs: Vec<_> = pairs.into_iter().map(|field| ("header", field)).chain([("redirects", "2")]).collect();
    assert_eq!(run("http", &format!("//user:hunter2@{named}/"), &pairs), Finding::PASS);
    for path in ["/", "/next"] {
        let head = own_heads.recv().expect("it was asked");
        assert!(head.starts_with(&format!("GET {path} ")) && head.matches("hunter2").count() == 4, "{head}");
        assert!(head.to_ascii_lowercase().contains("authorization: basic "), "{head}");
    }
    let head = heads.recv().expect("it was asked").to_ascii_lowercase();
    assert!(head.starts_with("get /there ") && head.contains(&format!("host: {other}\r\n")), "{head}");
    assert!(!head.contains("hunter2") && !head.contains("authorization") && !head.contains("x-token"), "{head}");
}

#[test]
fn a_redirect_to_what_cannot_be_followed_tells_its_scheme_and_no_secret() {
    for (to, told) in [
        ("ftp://us:hunter2@shop/", "ftp:…, which is not http"),
        ("mailto:hunter2", "mailto:…, which is not http"),
        ("http://us:hunter2@", "http:…, which is not a URL"),
        ("http://us:hunter2@sh[op/", "http:…, which is not a URL"),
        ("http:/us:hunter2@shop/", "http:…, which is not a URL"),
        ("//us:hunter2@sh[op/", "what is not a URL"),
        ("us+hunter2@shop:80/", "what is not a URL"),
    ] {
        let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        for redirects in ["0", "1"] {
            let found = text(get(http("127.0.0.1", vec![redirect.clone()]).0, &[("redirects", redirects)]));
            assert!(!found.contains("hunter2") && (redirects == "0" || found.contains(told)), "{to}: {found}");
        }
    }
}

#[test]
fn a_text_in_an_unknown_charset_is_judged_only_where_something_matches() {
    let found = |body: &[u8], option| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let answer = [b"HTTP/1.1 200 OK\r\n\r\n", body].concat();
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept()?;
            client.write_all(&answer)?;
            client.shutdown(std::net::Shutdown::Write)?;
            client.read_to_end(&mut Vec::new())
        });
        get(address, &[option]).status
    };
    let latin = b"gr\xF6\xDFe: ok";
    assert_eq!(found(latin, ("match", "ok$")), Status::Pass);
    assert_eq!(found(latin, ("match", "größe")), Status::Error);
    assert_eq!(found(b"plain", ("match", "größe")), Status::Fail);
    let utf16: Vec<u8> = "{\"a\": 1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(found(&utf16, ("json", "/a=1")), Status::Error);
    assert_eq!(found(b"{\"a\": \"\xF6\"}", ("json", "/a=1")), Status::Error);
    assert_eq!(found(b"{\"a\"", ("json", "/a=1")), Status::Fail);
}

#[test]
fn a_request_without_a_body_says_so() {
    for (method, length) in [("POST", 1), ("PUT", 1), ("PATCH", 1), ("GET", 0), ("DELETE", 0)] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let server = std::thread::spawn(move || {
            let (mut client, _) = listener.accept()?;
            client.write_all(answer("200 OK", "").as_bytes())?;
            std::io::read_to_string(client)
        });
        assert_eq!(get(address, &[("method", method)]), Finding::PASS, "{method}");
        let sent = server.join().expect("it does not panic").expect("the client leaves").to_ascii_lowercase();
        assert_eq!(sent.matches("\r\ncontent-length: 0\r\n").count(), length, "{sent}");
        assert!(!sent.contains("transfer-encoding") && sent.ends_with("\r\n\r\n"), "{sent}");
        assert_eq!(sent.matches("\r\n\r\n").count(), 1, "nothing follows the head: {sent}");
    }
}

#[test]
fn the_method_and_the_fields_are_sent() {
    let (address, heads) = http("127.0.0.1", vec!["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_owned()]);
    let pairs =
        [("method", "HEAD"), ("header", "X-One: 1"), ("header", "Host: shop.example"), ("header", "X-Two: a:b")];
    assert_eq!(get(address, &pairs), Finding::PASS);
    let head = heads.recv().expect("it was asked").to_ascii_lowercase();
    assert!(head.starts_with("head "), "{head}");
    for field in ["x-one: 1\r\n", "x-two: a:b\r\n", "host: shop.example\r\n"] {
        assert_eq!(head.matches(field).count(), 1, "{head}");
    }
    assert_eq!(head.matches("host:").count(), 1, "{head}");
}

#[test]
fn a_password_is_sent_and_never_shown() {
    let (address, heads) = http("127.0.0.1", vec![answer("401 Unauthorized", "")]);
    let found = text(run("http", &format!("//user:p%40ss@{address}/?key=hunter2"), &[]));
    assert!(found.starts_with(&format!("expected http://{address}/?key=*** to answer")), "{found}");
    let head = heads.recv().expect("it was asked").to_ascii_lowercase();
    assert!(head.contains(&format!("authorization: {}", "Basic dXNlcjpwQHNz".to_ascii_lowercase())), "{head}");
    assert!(head.contains("get /?key=hunter2 "), "{head}");
}

#[test]
fn the_body_has_to_match() {
    let answers = || vec![answer("200 OK", "all is well\n")];
    assert_eq!(get(http("127.0.0.1", answers()).0, &[("match", "^all .* well$|well\n")]), Finding::PASS);
    let (address, _heads) = http("127.0.0.1", answers());
    let found = text(get(address, &[("match", "ill")]));
    let expected =
        format!("expected the answer of http://{address}/ping to match \"ill\": got \"all is well\\n\" (in ");
    assert!(found.starts_with(&expected), "{found}");
}

#[test]
fn the_body_has_to_hold_its_values() {
    let answers = || vec![answer("200 OK", r#"{"status": "pass", "queue": {"length": 3}}"#)];
    let good = [("json", "/status=pass"), ("json", "/queue/length=3")];
    assert_eq!(get(http("127.0.0.1", answers()).0, &good), Finding::PASS);
    let found = text(get(http("127.0.0.1", answers()).0, &[("json", "/status=fail")]));
    assert!(found.contains("to have \"fail\" at /status: got \"pass\""), "{found}");
    let found = text(get(http("127.0.0.1", vec![answer("200 OK", "<html>")]).0, &[("json", "/status=pass")]));
    assert!(found.contains("to be JSON: ") && found.contains("got \"<html>\""), "{found}");
}

#[test]
fn what_is_packed_or_in_another_charset_is_searched_as_text() {
    let said = |fields: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{fields}\r\n\r\n", body.len());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let answer = [head.as_bytes(), body].concat();
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept()?;
            let _ = client.read(&mut [0; 4096])?;
            client.write_all(&answer)
        });
        address
    };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"ERROR: no database").expect("a vector takes all");
    let gzip = gzip.finish().expect("a vector takes all");
    assert_eq!(get(said("Content-Encoding: gzip", &gzip), &[("match", "^ERROR")]), Finding::PASS);
    let found = text(get(said("Content-Encoding: gzip", &gzip), &[("match", "all is well")]));
    assert!(found.contains("got \"ERROR: no database\""), "{found}");
    let found = text(get(said("Content-Encoding: gzip", &gzip[..gzip.len() - 9]), &[("match", "all is well")]));
    assert!(found.contains("to answer in full: it ended after "), "{found}");
    let utf16: Vec<u8> = "\u{feff}{\"status\":\"UP\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(get(said("Content-Type: application/json", &utf16), &[("json", "/status=UP")]), Finding::PASS);
    // What cannot be read tells nothing, whatever is expected of it.
    for (fields, why) in [
        ("Content-Encoding: br", "it is encoded as \"br\", which cannot be read here"),
        ("Content-Type: text/plain; charset=koi8-r", "it is in the charset \"koi8-r\", which cannot be read here"),
        ("Content-Encoding: gzip", "invalid gzip header"),
    ] {
        let found = get(said(fields, b"not packed at all"), &[("match", "packed")]);
        assert_eq!(found.status, Status::Error, "{found:?}");
        let context = found.context.expect("an error says why");
        assert!(context.starts_with("cannot judge the body of http://") && context.contains(why), "{context}");
    }
    assert_eq!(get(said("Content-Encoding: br", b"x"), &[]), Finding::PASS);
}

#[test]
fn lines_are_searched_one_by_one() {
    let body = "first\r\nstatus ok\r\nlast\r\n";
    assert_eq!(get(http("127.0.0.1", vec![answer("200 OK", body)]).0, &[("match", "^status ok$")]), Finding::PASS);
}

#[test]
fn the_zone_of_an_address_is_for_the_connection_only() {
    let expected = || ExpectedAnswer::status(Statuses::one(200));
    let probe = Probe::new("http://user:pw@[fe80::1%25eth0]:81/x?y=%25", expected()).expect("it is a URL");
    assert_eq!((probe.server.host.as_str(), probe.server.port), ("fe80::1%eth0", 81));
    assert_eq!(probe.uri, "http://[fe80::1]:81/x?y=%25");
    let probe = Probe::new("http://[::1]/%5D]%25", expected()).expect("it is a URL");
    assert_eq!((probe.server.host.as_str(), probe.server.port), ("::1", 80));
}

/// A server for one client: it says something at once, something more after a while, and closes.
fn halting(first: &'static str, pause: Duration, second: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept()?;
        // A request that was not read would have the answer be overtaken by a reset.
        let _ = client.read(&mut [0; 4096])?;
        client.write_all(first.as_bytes())?;
        std::thread::sleep(pause);
        client.write_all(second.as_bytes())
    });
    address
}

const CUT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello";

#[test]
fn a_body_that_ends_early_is_a_failure() {
    let found = text(get(halting(CUT, Duration::ZERO, ""), &[("match", "hello")]));
    assert!(found.contains("to answer in full: ") && found.contains(" after 5 bytes (in "), "{found}");
}

#[test]
fn an_answer_that_breaks_off_is_a_failure_without_match_too() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    for cut in [CUT, chunked] {
        let found = text(get(halting(cut, Duration::ZERO, ""), &[]));
        assert!(found.contains("to answer in full: ") && found.contains(" after 5 bytes (in "), "{found}");
    }
    // Nor is one that stalls an answer.
    let (address, _heads) = http("127.0.0.1", vec![CUT.to_owned()]);
    let action = build("http", &format!("//{address}/"), &mut Options::default()).expect("it is well formed");
    let found = text(action(Deadline::at(Instant::now() + Duration::from_millis(500))));
    assert!(found.contains("to answer in full: the rest did not come in time after 5 bytes"), "{found}");
    // HEAD is answered without the body that its length is of.
    let (address, _heads) = http("127.0.0.1", vec![CUT.trim_end_matches("hello").to_owned()]);
    assert_eq!(get(address, &[("method", "HEAD")]), Finding::PASS);
}

#[test]
fn a_body_beyond_the_limit_is_said_to_be_too_long() {
    let long = format!("{{\"status\": \"pass\", \"rest\": \"{}\"}}", "x".repeat(3 << 20));
    let found = |pairs| get(http("127.0.0.1", vec![answer("200 OK", &long)]).0, pairs);
    for pairs in [&[("json", "/status=pass")], &[("match", "fail")], &[("match", "^[^\n]*$")]] {
        let Finding { status, context: Some(why), .. } = found(pairs) else { panic!("{pairs:?}: it says why") };
        assert_eq!(status, Status::Error, "{why}");
        assert!(why.starts_with("cannot judge the body of http://") && why.contains(" longer than 1 MiB"), "{why}");
    }
    // What does not count may be as long as it likes, and a match stays one.
    assert_eq!(found(&[]), Finding::PASS);
    assert_eq!(found(&[("match", "\"pass\"")]), Finding::PASS);
    let whole = answer("200 OK", &format!("{}end", " ".repeat((1 << 20) - 3)));
    assert_eq!(get(http("127.0.0.1", vec![whole]).0, &[("match", "end$")]), Finding::PASS);
}

#[test]
fn a_slow_answer_is_a_failure_with_its_limit() {
    let (address, _heads) = http("127.0.0.1", vec![answer("200 OK", "")]);
    let found = text(get(address, &[("slow", "0.000001")]));
    assert!(found.contains("to answer within 1us: it took longer"), "{found}");
    let (address, _heads) = http("127.0.0.1", vec![answer("200 OK", "")]);
    assert_eq!(get(address, &[("slow", "1m")]), Finding::PASS);
}

#[test]
fn slow_counts_the_whole_answer() {
    let first = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    let found = text(get(halting(first, Duration::from_millis(60), "hello"), &[("slow", "50ms")]));
    assert!(found.contains("to answer within 50ms: it took longer"), "{found}");
}

#[test]
fn silence_is_a_failure_before_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let action = build("http", &format!("//{address}/"), &mut Options::default()).expect("it is well formed");
    assert!(text(in_time(DEFAULT_TIMEOUT, action)).contains("to answer with 2xx: nothing came in time"));
}

#[test]
fn nobody_listening_and_nonsense_are_failures_and_an_unknown_host_is_an_error() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    assert!(text(get(free, &[])).contains("Connection refused"));
    let (address, _heads) = http("127.0.0.1", vec!["220 mail ESMTP\r\n".to_owned()]);
    let told = "to answer with 2xx: it does not speak HTTP/1: got \"220 mail ESMTP\\r\\n\" (in ";
    assert!(text(get(address, &[])).contains(told));
    let found = run("http", "//no-such-host.invalid/", &[]);
    assert_eq!(found.status, Status::Error);
    assert!(found.context.expect("it says why").contains("cannot look up no-such-host.invalid"));
}

#[test]
fn wrong_options_are_named_and_fields_are_not_shown() {
    for (name, value, expected) in [
        ("status", "ok", "option status: write status codes as 200, 3xx or 200-299"),
        ("method", "get", "option method: write a method in capitals"),
        ("header", "Authorization hunter2", "option header: write a field as Name: value"),
        ("header", "Authorization: hunter2\u{1}", "option header: its value holds a character"),
        ("match", "(", "option match: "),
        ("json", "status=pass", "option json: write a pointer and a value"),
        ("redirects", "-1", "option redirects: "),
        ("slow", "soon", "option slow: write a time as 30, 30s"),
    ] {
        let Err(error) = build("http", "//shop/", &mut Options::of(&[(name, value)])) else { panic!("{name}={value}") };
        assert!(error.starts_with(expected) && !error.contains("hunter2"), "{error}");
    }
    for target in ["//", "shop", "//shop:x/", "//sh op/"] {
        assert!(build("http", target, &mut Options::default()).is_err(), "{target}");
    }
}

#[cfg(feature = "tls")]
mod tls {
    use super::super::super::support::testing::tls::{Authority, https, server};
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use rustls::ALL_VERSIONS;

    fn answers() -> Vec<String> {
        vec![answer("200 OK", "")]
    }

    #[test]
    fn a_certificate_of_the_given_authority_is_good_on_both_families() {
        let authority = Authority::new();
        let certificate = authority.certify(-1, 30);
        for host in ["127.0.0.1", "[::1]"] {
            let (address, _heads) = https(host.trim_matches(['[', ']']), certificate.clone(), answers());
            assert_eq!(run("https", &format!("//{address}/"), &[("ca", authority.path())]), Finding::PASS);
        }
    }

    #[test]
    fn a_certificate_of_nobody_known_is_a_failure_unless_it_does_not_matter() {
        let certificate = Authority::new().certify(-1, 30);
        let stranger = Authority::new();
        let (address, _heads) = https("127.0.0.1", certificate.clone(), answers());
        let found = text(run("https", &format!("//{address}/"), &[("ca", stranger.path())]));
        assert!(found.contains("to answer with 2xx: "), "{found}");
        let (address, _heads) = https("127.0.0.1", certificate, answers());
        assert_eq!(run("https", &format!("//{address}/"), &[("insecure", "")]), Finding::PASS);
    }

    #[test]
    fn a_self_signed_certificate_is_good_if_it_is_given() {
        // As plain `openssl req -x509` makes it: an authority's.
        for is_ca in [IsCa::ExplicitNoCa, IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("it is a name");
            params.is_ca = is_ca;
            let certificate = params.self_signed(&key).expect("it can sign");
            let mut file = tempfile::NamedTempFile::new().expect("a file for the test");
            file.write_all(certificate.pem().as_bytes()).expect("the file is ours");
            let config = server(certificate.der().clone(), &key, ALL_VERSIONS);
            let (address, _heads) = https("127.0.0.1", config, answers());
            let path = file.path().to_str().expect("a plain path");
            assert_eq!(run("https", &format!("//{address}/"), &[("ca", path)]), Finding::PASS);
        }
    }

    #[test]
    fn who_speaks_no_tls_is_told_so() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let plain = listener.local_addr().expect("it is bound");
        std::thread::spawn(move || listener.accept().and_then(|(mut client, _)| client.write_all(b"220 mail\r\n")));
        let found = text(run("https", &format!("//{plain}/"), &[("ca", Authority::new().path())]));
        assert!(found.contains("the server does not speak TLS on this port"), "{found}");
    }

    #[test]
    fn a_file_without_certificates_is_refused_at_once() {
        for (path, expected) in [
            ("/no/such.pem", "option ca: /no/such.pem: No such file or directory"),
            ("/dev/null", "option ca: /dev/null: it is not a regular file"),
        ] {
            let Err(error) = build("https", "//shop/", &mut Options::of(&[("ca", path)])) else { panic!("{path}") };
            assert!(error.starts_with(expected), "{error}");
        }
    }
}

/// A file of ours with this mode.
fn secret(text: &str, mode: u32) -> tempfile::NamedTempFile {
    use std::os::unix::fs::PermissionsExt;
    let file = tempfile::NamedTempFile::new().expect("there is room");
    std::fs::write(&file, text).expect("it is ours");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().expect("a plain path")
}

#[test]
fn a_body_is_posted_with_its_length() {
    let file = secret("12345", 0o644);
    for (pairs, head) in [
        (&[("body", "{}")][..], "POST /ping HTTP/1.1\r\n.*content-length: 2\r\n"),
        (&[("body_file", path(&file))][..], "POST /ping HTTP/1.1\r\n.*content-length: 5\r\n"),
        (&[("body", "x"), ("method", "PUT")][..], "PUT /ping HTTP/1.1\r\n.*content-length: 1\r\n"),
    ] {
        let (address, heads) = http("127.0.0.1", vec![answer("200 OK", "")]);
        assert_eq!(get(address, pairs), Finding::PASS);
        let got = heads.recv().expect("it was asked");
        let (begin, end) = head.split_once(".*").expect("it has two parts");
        assert!(got.starts_with(begin) && got.to_lowercase().contains(end), "{got}");
    }
    let found = run("http", "//127.0.0.1:1/", &[("body_file", "/no/such")]);
    assert!(found.status == Status::Error && found.context.is_some_and(|why| why.contains("body_file: /no/such")));
}

#[test]
fn credentials_come_from_a_file_that_others_may_not_read_and_are_not_shown() {
    let (user, token) = (secret("anna:hunter2\n", 0o600), secret("s3same0pen", 0o640));
    for (option, file, field) in [
        ("basic", &user, "authorization: Basic YW5uYTpodW50ZXIy"),
        ("bearer", &token, "authorization: Bearer s3same0pen"),
    ] {
        let echo = format!("you said hunter2, YW5uYTpodW50ZXIy and s3same0pen {}", "s3same0pen".repeat(20));
        let (address, heads) = http("127.0.0.1", vec![answer("200 OK", &echo)]);
        let text = text(get(address, &[(option, path(file)), ("match", "^no$")]));
        assert!(heads.recv().expect("it was asked").contains(field), "{field}");
        let shown = if option == "basic" { ["hunter2", "YW5u"] } else { ["s3same0pen", "s3same"] };
        assert!(shown.iter().all(|secret| !text.contains(secret)) && text.contains("***"), "{text}");
    }
    let open = secret("anna:hunter2", 0o644);
    let found = run("http", "//127.0.0.1:1/", &[("basic", path(&open))]);
    let why = found.context.unwrap_or_default();
    assert!(
        found.status == Status::Error && why.contains("everybody may read it") && !why.contains("hunter2"),
        "{why}"
    );
    for text in ["hunter2", "", "a:b\nc"] {
        let found = run("http", "//127.0.0.1:1/", &[("basic", path(&secret(text, 0o600)))]);
        assert!(found.status == Status::Error && found.context.is_some_and(|why| !why.contains("hunter2")), "{text}");
    }
}

#[test]
fn a_server_is_reached_at_a_given_address_by_a_proxy_or_at_a_socket() {
    let (address, heads) = http("127.0.0.1", vec![answer("200 OK", "")]);
    let url = format!("//shop.invalid:{}/ping", address.port());
    assert_eq!(run("http", &url, &[("resolve", "127.0.0.1")]), Finding::PASS);
    let head = heads.recv().expect("it was asked").to_lowercase();
    assert!(head.starts_with("get /ping ") && head.contains("host: shop.invalid:"), "{head}");

    let (address, heads) = http("127.0.0.1", vec![answer("200 OK", "")]);
    assert_eq!(run("http", "//shop.invalid/ping", &[("proxy", &format!("http://{address}"))]), Finding::PASS);
    assert!(heads.recv().expect("it was asked").starts_with("GET http://shop.invalid/ping HTTP/1.1\r\n"));
    let (address, heads) = http("127.0.0.1", vec![answer("407 Proxy Authentication Required", "")]);
    let found = run("http", "//b\u{fc}cher.invalid/", &[("proxy", &format!("http://an%20na:p%40ss@{address}"))]);
    let head = heads.recv().expect("it was asked");
    assert!(head.starts_with("GET http://xn--bcher-kva.invalid/ HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: xn--bcher-kva.invalid\r\n"), "{head}");
    assert!(head.contains("Proxy-Authorization: Basic YW4gbmE6cEBzcw==\r\n"), "{head}");
    let why = found.context.expect("it says why");
    let told = format!("expected http://b\u{fc}cher.invalid/ to answer with 2xx: by the proxy {address}: 407 ");
    assert!(found.status == Status::Error && why.starts_with(&told), "{why}");
    #[cfg(feature = "tls")]
    {
        let (address, heads) = http("127.0.0.1", vec![answer("407 No", "")]);
        let found = run("https", "//b\u{fc}cher.invalid/", &[("proxy", &format!("http://anna:@{address}"))]);
        let head = heads.recv().expect("it was asked");
        assert!(
            head.starts_with("CONNECT xn--bcher-kva.invalid:443 HTTP/1.1\r\nHost: xn--bcher-kva.invalid:443\r\n"),
            "{head}"
        );
        assert!(head.contains("Proxy-Authorization: Basic YW5uYTo=\r\n"), "{head}");
        let told = "it does not connect to b\u{fc}cher.invalid:443: 407";
        assert!(found.status == Status::Error && found.context.is_some_and(|why| why.contains(told)));
    }
    let found = run("http", "//shop.invalid/", &[("proxy", "127.0.0.1:1")]);
    assert!(
        found.status == Status::Error && found.context.is_some_and(|why| why.contains("by the proxy 127.0.0.1:1: "))
    );

    let folder = tempfile::tempdir().expect("there is room");
    let socket = folder.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("the folder is ours");
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept()?;
        client.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
        client.read_to_end(&mut Vec::new())
    });
    let socket = socket.to_str().expect("a plain path");
    assert_eq!(run("http", "//shop.invalid/ping", &[("socket", socket)]), Finding::PASS);
    let text = text(run("http", "//shop.invalid/ping", &[("socket", "/no/such")]));
    assert!(text.contains("at /no/such: No such file"), "{text}");
}

#[test]
fn what_must_not_be_there_fails_and_so_does_a_server_that_is_down() {
    let found = |body: &str| get(http("127.0.0.1", vec![answer("200 OK", body)]).0, &[("not_match", "^error")]);
    assert_eq!(found("all is well, no error"), Finding::PASS);
    assert!(text(found("x\nerror: 7")).contains("not to match \"^error\", and it does"));
    assert_eq!(found(&"x".repeat(2 << 20)).status, Status::Error, "not all of it is read");
    assert_eq!(run("http", "//127.0.0.1:1/", &[("not_match", "x")]).status, Status::Fail);
    let both = |body: &str| {
        get(http("127.0.0.1", vec![answer("200 OK", body)]).0, &[("match", "^ok"), ("not_match", "error")]).status
    };
    assert_eq!((both("ok"), both("ok, error"), both("no")), (Status::Pass, Status::Fail, Status::Fail));
}

#[test]
fn a_field_of_the_answer_is_matched() {
    let found = |pair: &str| {
        let answer = "HTTP/1.1 200 OK\r\nServer: nginx/1.22\r\nVary: a\r\nVary: b\r\nContent-Length: 0\r\n\r\n";
        get(http("127.0.0.1", vec![answer.to_owned()]).0, &[("match_header", pair)])
    };
    assert_eq!(found("server: ^nginx/"), Finding::PASS);
    assert_eq!(found("Vary: ^b$"), Finding::PASS);
    assert!(text(found("Server: ^Apache")).contains("a field server that matches \"^Apache\": got \"nginx/1.22\""));
    assert!(text(found("X-Cache: HIT")).contains("got no such field"));
}

#[test]
fn what_is_sent_has_to_make_sense() {
    for (target, pairs, told) in [
        ("//shop/", &[("body", "x"), ("body_file", "/x")][..], "body and body_file exclude each other"),
        ("//shop/", &[("basic", "/x"), ("bearer", "/x")][..], "basic and bearer exclude each other"),
        ("//us:er@shop/", &[("basic", "/x")][..], "the user is given twice"),
        ("//shop/", &[("resolve", "::1"), ("socket", "/x")][..], "resolve, proxy and socket exclude each other"),
        ("//shop/", &[("resolve", "localhost")][..], "option resolve: write an IP address"),
        ("//shop/", &[("proxy", "us:er@proxy:1")][..], "option proxy: write a host and port"),
        ("//shop/", &[("proxy", "http://us:er@")][..], "option proxy: write a host and port"),
        ("//shop/", &[("proxy", "ftp://proxy")][..], "option proxy: write a host and port"),
        ("//shop/", &[("not_match", "(")][..], "option not_match: "),
        ("//shop/", &[("match_header", "Server")][..], "option match_header: write a field"),
        ("//shop/", &[("match_header", "Server: (")][..], "option match_header: "),
    ] {
        let error = build("http", target, &mut Options::of(pairs)).err().unwrap_or_default();
        assert!(error.starts_with(told) && !error.contains("us:er"), "{error}");
    }
}
