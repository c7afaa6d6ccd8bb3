//! `grpc://HOST:PORT` and `grpcs://…`: a server says by gRPC's own health checking that it is serving.
//! The service: <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>,
//! how it is called: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Uri, header};

use super::support::connection;
use super::support::nonblocking::Nonblocking;
use super::support::opt::{Opt, Value, joined};
use super::support::secrets::Secrets;
use super::support::target::{Target, authority};
use super::support::timed::{self, reason, spoken};
use super::support::tls_settings::{self, TlsSettings};
use super::{Action, Kind, Options, Runs, excerpt, since, tcp, unix};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;

const OPTIONS: [Opt; 2] = [
    Opt::new("service", Value::Text, "The service that has to be serving, instead of the server as a whole"),
    Opt::new("socket", Value::Path, "The unix socket to connect to, instead of the host"),
];

pub(super) const KIND: Kind = Kind {
    scheme: "grpc",
    port: None,
    options: &OPTIONS,
    runs: Runs::OnThread,
    controls: Control::NETWORK,
    title: "grpc://{target} is serving",
    passes: "grpc.health.v1.Health/Check says SERVING",
    notices: &["refused", "black_hole", "rubbish", "starved"],
    examples: &["grpc://localhost:50051#service=shop.Orders"],
    build: |target, options| build(None, target, options),
};

const TLS_OPTIONS: [Opt; 7] = joined(OPTIONS, tls_settings::OPTIONS);

pub(super) const KIND_GRPCS: Kind = Kind {
    scheme: "grpcs",
    options: &TLS_OPTIONS,
    title: "grpcs://{target} is serving",
    passes: "the same, and the certificate is trusted",
    notices: &["refused", "black_hole", "rubbish", "stranger: another certificate", "starved"],
    examples: &["grpcs://localhost:50051"],
    build: |target, options| build(Some(TlsSettings::take(options)?.offering(b"h2")), target, options),
    ..KIND
};

/// How long an answer, and how much of its fields, may be.
const LONGEST_ANSWER: usize = 64 * 1024;

struct GrpcProbe {
    server: Target,
    tls: Option<TlsSettings>,
    socket: Option<String>,
    service: String,
    uri: Uri,
    hidden: Secrets,
}

fn build(tls: Option<TlsSettings>, target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let socket = options.take("socket")?;
    let wrong = || "the target is not HOST:PORT, as in grpc://shop:50051".to_owned();
    let text = authority(target);
    let scheme = if tls.is_some() { "https" } else { "http" };
    // With a socket, nothing goes to the port.
    let assumed = socket.as_ref().map(|_| if tls.is_some() { 443 } else { 80 });
    let server = Target::parse(text, assumed).filter(|_| !text.contains('@')).ok_or_else(wrong)?;
    let named = Target::new(server.name(), server.port);
    let uri = format!("{scheme}://{named}/grpc.health.v1.Health/Check").parse().map_err(|_| wrong())?;
    let service = options.take("service")?.unwrap_or_default();
    let probe = GrpcProbe { server, tls, socket, service, uri, hidden: options.hidden() };
    Ok(Box::new(move |deadline| Finding::from(probe.run(deadline))))
}

impl GrpcProbe {
    fn run(&self, deadline: Deadline) -> Result {
        let began = Instant::now();
        let at = self.socket.clone().unwrap_or_else(|| self.server.to_string());
        let whom = match self.service.as_str() {
            "" => format!("the gRPC server at {at}"),
            service => format!("{service} at {at}"),
        };
        let told = |why| format!("expected {whom} to be serving: {why} ({})", since(began));
        self.ask(timed::before(deadline)).map_err(|reason| reason.told(told))
    }

    fn ask(&self, deadline: Deadline) -> Result {
        let stream = match &self.socket {
            Some(path) => self.secured(unix::connect_to(path, deadline)?, deadline)?,
            None => self.secured(tcp::connect(&self.server, deadline)?, deadline)?,
        };
        let readiness = stream.readiness();
        let answer = readiness.run(self.call(stream, deadline)).map_err(|error| reason(&error, spoken(&error)))?;
        self.verdict(&answer?)
    }

    fn secured<S: io::Read + io::Write + std::os::fd::AsFd + 'static>(
        &self,
        stream: timed::Timed<S>,
        deadline: Deadline,
    ) -> Result<Nonblocking> {
        let stream = match &self.tls {
            None => Nonblocking::new(stream, deadline),
            Some(settings) => Nonblocking::secured(settings.shake_hands(stream, self.server.name(), true)?, deadline),
        };
        Ok(stream?)
    }

    /// One call on a connection of its own. All of it is in this future, so that it ends with it.
    async fn call(&self, stream: Nonblocking, deadline: Deadline) -> Result<HealthAnswer> {
        let mut builder = Builder::new();
        builder.enable_push(false).max_header_list_size(LONGEST_ANSWER as u32).max_concurrent_reset_streams(8);
        let (client, connection) = builder.handshake::<_, Bytes>(stream).await.map_err(broken)?;
        let mut connection = pin!(connection);
        let mut answer = pin!(async {
            let mut client = client.ready().await.map_err(broken)?;
            let (response, mut body) = client.send_request(self.request(deadline)?, false).map_err(broken)?;
            body.send_data(framed(&self.service), true).map_err(broken)?;
            HealthAnswer::read(response).await
        });
        std::future::poll_fn(move |context: &mut Context<'_>| {
            if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            // It moves what the other has to say and hear. Where it ends, the other hears that.
            match Pin::new(&mut connection).poll(context) {
                Poll::Ready(ended) => match (answer.as_mut().poll(context), ended) {
                    (Poll::Pending, Ok(())) => Poll::Ready(Err(Reason::Fail("it closed the connection".to_owned()))),
                    (Poll::Pending, Err(error)) => Poll::Ready(Err(broken(error))),
                    (ready, _) => ready,
                },
                Poll::Pending => answer.as_mut().poll(context),
            }
        })
        .await
    }

    fn request(&self, deadline: Deadline) -> Result<Request<()>> {
        let left = deadline.remaining(Instant::now()).as_millis();
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .header(header::USER_AGENT, concat!("hospital/", env!("CARGO_PKG_VERSION")))
            // It may have eight digits.
            .header("grpc-timeout", format!("{}m", left.clamp(1, 99_999_999)));
        Ok(request.body(())?)
    }

    fn verdict(&self, answer: &HealthAnswer) -> Result {
        let content_type = answer.head.get(header::CONTENT_TYPE).map(header::HeaderValue::as_bytes).unwrap_or_default();
        match answer.status {
            StatusCode::OK if content_type.starts_with(b"application/grpc") => {}
            // Something before it does not let us pass.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(Reason::Error(format!("it does not let us ask: HTTP {}", answer.status)));
            }
            status => return Err(Reason::Fail(format!("it does not answer as gRPC does: HTTP {status}"))),
        }
        let field = |name: &'static str| {
            let name = HeaderName::from_static(name);
            answer.trailers.get(&name).or_else(|| answer.head.get(&name)).map(header::HeaderValue::as_bytes)
        };
        let code = field("grpc-status").and_then(|code| str::from_utf8(code).ok()?.parse::<u32>().ok());
        let Some(code) = code else {
            return Err(Reason::Fail("it does not say how the call ended".to_owned()));
        };
        if code != 0 {
            let message = field("grpc-message").unwrap_or_default();
            let message = percent_encoding::percent_decode(message).collect::<Vec<_>>();
            let why = format!("status {code}, {}", excerpt(&message, message.len(), &self.hidden));
            return Err(match code {
                NOT_FOUND => Reason::Error(format!("it knows no such service: {why}")),
                UNIMPLEMENTED => Reason::Error(format!("it has no health checking: {why}")),
                PERMISSION_DENIED | UNAUTHENTICATED => Reason::Error(format!("it does not let us ask: {why}")),
                _ => Reason::Fail(format!("the call failed: {why}")),
            });
        }
        match serving_status(&answer.body) {
            Some(SERVING) => Ok(()),
            Some(0) => Err(Reason::Fail("it says UNKNOWN".to_owned())),
            Some(2) => Err(Reason::Fail("it says NOT_SERVING".to_owned())),
            Some(3) => Err(Reason::Error("it says SERVICE_UNKNOWN".to_owned())),
            Some(other) => Err(Reason::Fail(format!("it says {other}, which means nothing"))),
            None => {
                let got = excerpt(&answer.body, answer.body.len(), &self.hidden);
                Err(Reason::Fail(format!("it does not answer as its health checking does: got {got}")))
            }
        }
    }
}

/// Codes of gRPC that say that it is we who did not get an answer: <https://grpc.github.io/grpc/core/md_doc_statuscodes.html>
const NOT_FOUND: u32 = 5;
const PERMISSION_DENIED: u32 = 7;
const UNIMPLEMENTED: u32 = 12;
const UNAUTHENTICATED: u32 = 16;

/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;

struct HealthAnswer {
    status: StatusCode,
    head: HeaderMap,
    body: Vec<u8>,
    trailers: HeaderMap,
}

impl HealthAnswer {
    async fn read(response: ResponseFuture) -> Result<HealthAnswer> {
        let (head, mut stream) = response.await.map_err(broken)?.into_parts();
        let mut body = Vec::new();
        while let Some(part) = stream.data().await {
            let part = part.map_err(broken)?;
            stream.flow_control().release_capacity(part.len()).map_err(broken)?;
            body.extend_from_slice(&part);
            if body.len() > LONGEST_ANSWER {
                return Err(Reason::Fail("its answer is longer than one of health checking can be".to_owned()));
            }
        }
        let trailers = stream.trailers().await.map_err(broken)?.unwrap_or_default();
        Ok(HealthAnswer { status: head.status, head: head.headers, body, trailers })
    }
}

fn broken(error: h2::Error) -> Reason {
    match error.get_io() {
        // In the middle of a frame, which is no error of the system.
        Some(error) if error.kind() == io::ErrorKind::Other && error.raw_os_error().is_none() => {
            Reason::Fail("it closed the connection".to_owned())
        }
        Some(error) => connection::broken(error),
        None => Reason::Fail(format!("it does not speak HTTP/2 as it should: {error}")),
    }
}

/// A `HealthCheckRequest` as a message of gRPC: not compressed, its length, and its only field, number 1, a string.
fn framed(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    framed.into()
}

/// The only field of a `HealthCheckResponse`, number 1, an enumeration; 0 where it is not there. `None`: it is not one.
fn serving_status(body: &[u8]) -> Option<u64> {
    let (&[0, a, b, c, d], mut message) = body.split_first_chunk::<5>()? else { return None };
    if u32::from_be_bytes([a, b, c, d]) as usize != message.len() {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        // What a later version may have added is passed over.
        match (tag >> 3, tag & 7) {
            (1, 0) => status = varint(&mut message)?,
            (1 | 0, _) => return None,
            (_, 0) => drop(varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Status;
    use proptest::prelude::*;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener};
    use std::thread;
    use std::time::Duration;

    /// A frame of HTTP/2 (RFC 9113, 4.1).
    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
    }

    /// A field that is in no table (RFC 7541, 6.2.2).
    fn field(name: &str, value: &str) -> Vec<u8> {
        [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
    }

    /// What a server says: its settings, the head of its answer, a message, and how the call ended.
    fn said(message: &[u8], code: &str) -> Vec<u8> {
        let head = [vec![0x88], field("content-type", "application/grpc")].concat();
        let framed = [&[0, 0, 0, 0, message.len() as u8], message].concat();
        let trailers = [field("grpc-status", code), field("grpc-message", "so%20it%20is")].concat();
        [frame(4, 0, 0, b""), frame(1, 4, 1, &head), frame(0, 0, 1, &framed), frame(1, 5, 1, &trailers)].concat()
    }

    /// What a check finds at a server that says this once it was asked, and leaves.
    fn find(said: Vec<u8>) -> Finding {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let server = thread::spawn(move || {
            let (mut client, _) = listener.accept()?;
            let (mut asked, mut byte) = (Vec::new(), [0]);
            while !asked.ends_with(&frame(0, 1, 1, &framed(""))) && client.read(&mut byte)? == 1 {
                asked.push(byte[0]);
            }
            client.write_all(&said)?;
            client.shutdown(Shutdown::Write)?;
            io::copy(&mut client, &mut io::sink())
        });
        let action = (KIND.build)(&format!("//{address}"), &mut Options::of(&[])).expect("it is well formed");
        let found = action(Deadline::at(Instant::now() + Duration::from_secs(20)));
        let _ = server.join().expect("the server does not panic");
        found
    }

    #[test]
    fn what_health_checking_says_is_judged() {
        for (message, code, status, why) in [
            (&[8, 1][..], "0", Status::Pass, ""),
            (&[8, 1, 0x12, 1, b'x'], "0", Status::Pass, ""),
            (&[], "0", Status::Fail, "it says UNKNOWN"),
            (&[8, 0], "0", Status::Fail, "it says UNKNOWN"),
            (&[8, 2], "0", Status::Fail, "it says NOT_SERVING"),
            (&[8, 3], "0", Status::Error, "it says SERVICE_UNKNOWN"),
            (&[8, 9], "0", Status::Fail, "it says 9, which means nothing"),
            (&[8], "0", Status::Fail, "it does not answer as its health checking does"),
            (&[10, 1, 1], "0", Status::Fail, "it does not answer as its health checking does"),
            (&[8, 1], "14", Status::Fail, "the call failed: status 14, \"so it is\""),
            (&[8, 1], "5", Status::Error, "it knows no such service: status 5"),
            (&[8, 1], "12", Status::Error, "it has no health checking"),
            (&[8, 1], "16", Status::Error, "it does not let us ask"),
            (&[8, 1], "good", Status::Fail, "it does not say how the call ended"),
        ] {
            let found = find(said(message, code));
            assert_eq!(found.status, status, "{message:?} {code}: {found:?}");
            assert!(found.context.unwrap_or_default().contains(why), "{message:?} {code}");
        }
    }

    #[test]
    fn a_server_of_another_protocol_or_one_that_breaks_off_is_a_failure() {
        let whole = said(&[8, 1], "0");
        for end in 0..whole.len() {
            let found = find(whole[..end].to_vec());
            assert_eq!(found.status, Status::Fail, "the first {end} bytes: {found:?}");
        }
        for said in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"220 mail ESMTP\r\n", &[0; 100], &[0xff; 100_000]] {
            assert_eq!(find(said.to_vec()).status, Status::Fail);
        }
        let pings: Vec<u8> = (0..10_000).flat_map(|_| frame(6, 0, 0, b"flooding")).collect();
        let found = find([frame(4, 0, 0, b""), pings].concat());
        assert_eq!(found.status, Status::Fail, "{found:?}");
        let page = [vec![0x8d], field("content-type", "text/html")].concat();
        let found = find([frame(4, 0, 0, b""), frame(1, 5, 1, &page)].concat());
        assert!(found.status == Status::Fail && found.context.is_some_and(|why| why.contains("HTTP 404")));
    }

    #[test]
    fn the_name_of_a_service_is_sent_as_a_string() {
        assert_eq!(&framed("")[..], [0; 5]);
        assert_eq!(&framed("ab")[..], [0, 0, 0, 0, 4, 10, 2, b'a', b'b']);
        let long = framed(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 0x2f, 10, 0xac, 2]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (target, pairs, why) in [
            ("//", &[][..], "the target is not HOST:PORT"),
            ("//shop", &[], "the target is not HOST:PORT"),
            ("//anna@shop:1", &[], "the target is not HOST:PORT"),
        ] {
            let error = (KIND.build)(target, &mut Options::of(pairs)).err().unwrap_or_default();
            assert!(error.starts_with(why), "{target}: {error}");
        }
        assert!((KIND.build)("//shop", &mut Options::of(&[("socket", "/run/x")])).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn a_damaged_answer_never_passes_without_its_word(at in 0..200_usize, byte: u8) {
            let whole = said(&[8, 1], "0");
            let mut damaged = whole.clone();
            damaged[at % whole.len()] = byte;
            let found = find(damaged.clone());
            let has = |part: &[u8]| damaged.windows(part.len()).any(|window| window == part);
            // Without its first byte: in which table a field goes is of no concern to what it says.
            let is_well = has(&[0, 0, 0, 0, 2, 8, 1]) && has(&field("grpc-status", "0")[1..]);
            prop_assert!(found.status != Status::Pass || is_well, "{damaged:?}");
        }
    }
}
