//! What a request costs where the endpoint is mounted in axum: CPU beside a handler with a constant body of the same size.
//!
//!     cargo bench -p axum-shop --bench mount
//!
//! Both are served by one runtime with one thread, and asked in turn, slice by slice, over a connection that is kept; the
//! median of the ratios counts. CPU is that of the whole process without the client's thread. Exits with 1 if it is more
//! than 1.5 × the constant.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use hospital::App;
use hospital::endpoint::EndpointSettings;
use hospital::mount::Service;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use tokio::net::TcpListener;

const SLICES: usize = 41;
const REQUESTS: u32 = 1000;
const MOST: f64 = 1.5;

fn main() -> ExitCode {
    let suite = App::new().names(["hospital.healthchecks.predictable"]).collect().expect("these are there");
    let health = Service::new(suite, EndpointSettings::default()).expect("the settings are good");
    let mut mounted = Client::new(Router::new().nest_service("/healthchecks", health));
    let body = mounted.ask().split_once("\r\n\r\n").expect("a head and a body").1.to_owned();
    assert!(body.contains(r#""error": 0,"#), "{body}");
    let handler = get(move || async move { ([(CONTENT_TYPE, "application/json; charset=utf-8")], body.clone()) });
    let mut constant = Client::new(Router::new().route("/healthchecks", handler));

    let mut costs: Vec<(Duration, Duration)> = (0..SLICES).map(|_| (mounted.slice(), constant.slice())).collect();
    costs.sort_unstable_by(|one, other| ratio(one).total_cmp(&ratio(other)));
    let median = costs[SLICES / 2];
    println!("a request: {:.1?} where it is mounted, {:.1?} of a constant", median.0 / REQUESTS, median.1 / REQUESTS);
    let is_met = ratio(&median) <= MOST;
    println!("ratio: {:.2}, at most {MOST}{}", ratio(&median), if is_met { "" } else { "  MISSED" });
    ExitCode::from(u8::from(!is_met))
}

fn ratio((mounted, constant): &(Duration, Duration)) -> f64 {
    mounted.as_secs_f64() / constant.as_secs_f64()
}

/// A connection to a router that has a server of its own, of which only the thread outlives it.
struct Client(TcpStream);

impl Client {
    fn new(router: Router) -> Client {
        let (address, bound) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                address.send(listener.local_addr().expect("it is bound")).expect("somebody waits for it");
                axum::serve(listener, router).await
            })
        });
        let stream = TcpStream::connect(bound.recv().expect("it is bound")).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        Client(stream)
    }

    /// What the server's side of some requests costs.
    fn slice(&mut self) -> Duration {
        let before = servers_cpu();
        (0..REQUESTS).for_each(|_| drop(self.ask()));
        servers_cpu() - before
    }

    /// A whole response, which is small.
    fn ask(&mut self) -> String {
        self.0.write_all(b"GET /healthchecks HTTP/1.1\r\nHost: shop\r\n\r\n").expect("it reads");
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        while !is_complete(&received) {
            let length = self.0.read(&mut buffer).expect("it answers");
            assert_ne!(length, 0, "it hung up");
            received.extend_from_slice(&buffer[..length]);
        }
        String::from_utf8(received).expect("it is text")
    }
}

fn is_complete(response: &[u8]) -> bool {
    let text = String::from_utf8_lossy(response);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    body.len() == length.expect("it says how long it is").1.parse::<usize>().expect("a number")
}

/// CPU of all threads but this one.
fn servers_cpu() -> Duration {
    let taken =
        |who| getrusage(who).map(|usage: Usage| usage.user_time() + usage.system_time()).expect("it is always there");
    let difference = taken(UsageWho::RUSAGE_SELF) - taken(UsageWho::RUSAGE_THREAD);
    Duration::from_micros(u64::try_from(difference.num_microseconds()).expect("the whole is more than its part"))
}
