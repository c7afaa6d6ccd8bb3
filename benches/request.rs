//! What the steps of a request cost, one by one: parse, route, collect, run, render.
//!
//!     cargo bench --bench request

use std::hint::black_box;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use hospital::endpoint::route::{self, Route};
use hospital::model::check::{Check, Finding};
use hospital::model::suite::Suite;
use hospital::render::{FORMATS, json};
use hospital::round::Runner;
use hospital_http::{Connection, Limits, Method, Patience, Reader, Response, Step, Stream};

const PROBE: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:1515\r\n\r\n";
const BROWSER: &[u8] = b"GET /hospital.healthchecks?verbose HTTP/1.1\r\n\
    Host: status.example.org\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Connection: keep-alive\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: none\r\n\
    Priority: u=0, i\r\n\r\n";

const LIMITS: Limits = Limits { line: 4094, fields: 100, field_size: 8190 };
const PATIENCE: Patience = Patience { header: Duration::from_secs(10), keep_alive: Duration::from_secs(75) };

/// A client that sends one request, and takes all that it is sent.
struct Client<'a>(&'a [u8]);

impl Read for Client<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Client<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Client<'_> {
    fn shut(&mut self) {}

    fn in_flight(&self) -> usize {
        0
    }
}

/// A connection without a socket, whose buffers are kept from one request to the next.
struct Wire {
    connection: Connection,
    reader: Reader,
    now: Instant,
}

impl Wire {
    fn new() -> Wire {
        let now = Instant::now();
        Wire { connection: Connection::new(now, &PATIENCE), reader: Reader::new(LIMITS, PATIENCE), now }
    }

    /// A new client sends one whole request.
    fn parse(&mut self, request: &[u8]) -> bool {
        self.connection.reset(self.now, &PATIENCE);
        let mut client = Client(request);
        self.connection.advance(&mut client, self.now, &mut self.reader) == Step::Asked
    }

    /// The same, and it is answered.
    fn serve(&mut self, request: &[u8], body: &Arc<Vec<u8>>) -> Step {
        assert!(self.parse(request));
        let fields = "Server: hospital\r\nVary: Accept\r\n";
        self.connection.respond(Response { status: 200, fields, body, close: false }, self.now);
        self.connection.advance(&mut Client(&[]), self.now, &mut self.reader)
    }
}

fn parse(criterion: &mut Criterion) {
    let mut wire = Wire::new();
    for (name, request) in [("a probe", PROBE), ("a browser", BROWSER)] {
        criterion.bench_function(&format!("parse: {name}, again"), |bencher| {
            bencher.iter(|| assert!(wire.parse(black_box(request))));
        });
    }
    criterion.bench_function("parse: a probe and a browser in turn", |bencher| {
        bencher.iter(|| assert!(wire.parse(black_box(PROBE)) && wire.parse(black_box(BROWSER))));
    });
    let body = Arc::new(vec![b'x'; 400]);
    criterion.bench_function("parse and answer: a probe, again", |bencher| {
        bencher.iter(|| wire.serve(black_box(PROBE), &body));
    });
}

fn route(criterion: &mut Criterion) {
    for target in ["/", "/livez", "/shop/db?tag=readiness&verbose&format=text"] {
        criterion.bench_function(&format!("route: {target}"), |bencher| {
            bencher.iter(|| {
                assert!(matches!(route::route(Method::Get, black_box(target), ""), Route::Checks(..) | Route::Live(_)))
            });
        });
    }
}

fn collect(criterion: &mut Criterion) {
    let one = vec!["hospital.healthchecks.predictable.collected".to_owned()];
    let many = (0..100).map(|port| format!("tcp://127.0.0.1:{}", 1000 + port)).collect();
    for (title, names) in [("collect: a dotted path", one), ("collect: 100 names", many)] {
        criterion.bench_function(title, |bencher| bencher.iter(|| hospital::collect(black_box(&names))));
    }
}

fn run(criterion: &mut Criterion) {
    for size in [1, 100] {
        let (suite, mut runner) = (suite(size), Runner::new(|| {}));
        criterion.bench_function(&format!("run: {size} in place"), |bencher| {
            bencher.iter(|| {
                let now = Instant::now();
                runner.begin(suite.clone(), Duration::from_secs(10), now).into_report(now)
            });
        });
    }
}

fn render(criterion: &mut Criterion) {
    let one = hospital::run(suite(1), Duration::from_secs(10));
    let many = hospital::run(suite(100), Duration::from_secs(10));
    let mut out = Vec::new();
    criterion.bench_function("render: 1 as json", |bencher| {
        bencher.iter(|| {
            out.clear();
            json::report(black_box(&one), &mut out);
        });
    });
    for format in FORMATS {
        criterion.bench_function(&format!("render: 100 as {}", format.name), |bencher| {
            bencher.iter(|| {
                out.clear();
                (format.write)(black_box(&many), &mut out);
            });
        });
    }
}

/// This many checks that need no time and no thread.
fn suite(size: usize) -> Suite {
    let check = |n| {
        let check = Check::new(format!("bench.number{n}"), |_| Finding::PASS);
        check.title(format!("The number {n} is there.")).in_place()
    };
    (0..size).map(|n| Arc::new(check(n))).collect()
}

criterion_group!(benches, parse, route, collect, run, render);
criterion_main!(benches);
