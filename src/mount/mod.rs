//! The endpoint inside another program: a service for axum, hyper, tonic and whatever else takes [`tower_service`]'s.
//!
//! Its checks run in the program's own process, on threads of their own, so that no runtime waits for them. A request
//! that needs no check is answered at once. All others join the queue of rounds, which a thread of the mount moves on.
//! Files of checks, if there are any, are looked at before that, on the caller's thread: keep them on a local disk.
//!
//! Nest it under any path, or call it in a test, without a server:
//!
//! ```
//! use hospital::collect::Sources;
//! use hospital::endpoint::EndpointSettings;
//! use hospital::mount::Service;
//! use tower_service::Service as _;
//!
//! let sources = Sources::read(&["hospital.healthchecks.predictable"], "the program")?;
//! let mut health = Service::new(sources, EndpointSettings::default())?;
//! // With axum: Router::new().nest_service("/healthchecks", health)
//! let response = pollster::block_on(health.call(http::Request::get("/").body(())?))?;
//! assert_eq!(response.status(), 200);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod observer;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, ready};
use std::ops::ControlFlow::{Break, Continue};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_channel::oneshot;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use slab::Slab;

use crate::collect::{FileState, Sources, maintained};
use crate::endpoint::rounds::{Rounds, Waiter};
use crate::endpoint::{self, CheckRequest, Endpoint, EndpointSettings, Findings, Reply, Whole};
use crate::error::Error;
use crate::model::report::Report;
use crate::os::clock;
pub use crate::python::{HostedInterpreter as Interpreter, Test};
use crate::round::{MOST_AT_ONCE, Runner};
use observer::MountObserver;

/// How long a round may take in all, as in the daemon.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The key of those who want the whole report to keep it, which no client has.
const EVERYBODY: usize = usize::MAX;

/// Answers requests as the daemon does. Its clones are the same one: they share rounds, what is stuck, and metrics.
///
/// It has a thread of its own, so where a server forks, make it in each process after the fork.
#[derive(Clone)]
pub struct Service {
    state: Arc<Mutex<State>>,
    observer: MountObserver,
}

/// The response, which is never an error.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send>>;

/// What a service may be told beside the settings of its endpoint.
pub(crate) struct Limits {
    /// How long a round may take in all.
    pub(crate) round: Duration,
    /// The most checks that run at once.
    pub(crate) at_once: usize,
    /// While this file exists, /readyz fails.
    pub(crate) maintenance_file: Option<PathBuf>,
}

struct State {
    sources: Sources,
    maintenance_file: Option<PathBuf>,
    endpoint: Endpoint,
    observer: MountObserver,
    rounds: Rounds,
    /// Those who wait for a round, by the keys that it knows them under.
    clients: Slab<oneshot::Sender<Response<Full<Bytes>>>>,
    wake: Sender<()>,
    /// How old a report may become that answers further requests.
    lifetime: Duration,
    /// The last report about the whole suite.
    kept: Option<KeptReport>,
    /// When the round began that runs, or ran last, and the edition that it and the next one keep a report of.
    began: PastMoment,
    edition: Option<u64>,
    next_edition: Option<u64>,
}

/// A moment in the past. While the machine is suspended, the clock stands still.
#[derive(Clone, Copy)]
struct PastMoment {
    at: Instant,
    suspended: Duration,
}

/// A report that answers further requests.
struct KeptReport {
    report: Report,
    edition: Option<u64>,
    began: PastMoment,
    made: PastMoment,
}

enum ServiceAnswer {
    Now(Response<Full<Bytes>>),
    Later(oneshot::Receiver<Response<Full<Bytes>>>),
}

impl Service {
    /// A service for the checks of these sources, or of a suite.
    ///
    /// # Errors
    ///
    /// [`Error::Boot`] when its thread cannot be started.
    pub fn new(sources: impl Into<Sources>, settings: EndpointSettings) -> Result<Service, Error> {
        Service::within(REQUEST_TIMEOUT, sources, settings)
    }

    /// The same, with this limit on the time of a round instead of 10 s.
    ///
    /// # Errors
    ///
    /// [`Error::Boot`] when its thread cannot be started.
    pub fn within(limit: Duration, sources: impl Into<Sources>, settings: EndpointSettings) -> Result<Service, Error> {
        let limits = Limits { round: limit, at_once: MOST_AT_ONCE, maintenance_file: None };
        Service::limited(limits, sources.into(), settings)
    }

    pub(crate) fn limited(limits: Limits, sources: Sources, settings: EndpointSettings) -> Result<Service, Error> {
        let (wake, woken) = mpsc::channel();
        let waker = wake.clone();
        // The receiver is gone when the last service is: nobody waits for the results then.
        let runner = Runner::new(move || waker.send(()).unwrap_or_default()).with_at_once(limits.at_once);
        let observer = MountObserver::default();
        let files = Arc::new(FileState::of(&sources));
        let state = Arc::new(Mutex::new(State {
            lifetime: settings.lifetime,
            sources,
            maintenance_file: limits.maintenance_file,
            endpoint: Endpoint::new(files, settings, observer.clone()),
            observer: observer.clone(),
            rounds: Rounds::new(runner, limits.round, observer.clone()),
            clients: Slab::new(),
            wake,
            kept: None,
            began: PastMoment::now(Instant::now()),
            edition: None,
            next_edition: None,
        }));
        let shared = Arc::downgrade(&state);
        let started = std::thread::Builder::new().name("healthchecks".to_owned()).spawn(move || drive(&shared, &woken));
        started.map_err(|error| Error::Boot(format!("cannot start a thread for the rounds: {error}")))?;
        Ok(Service { state, observer })
    }

    /// Answers a request of a server that does not have the types of [`http`], such as a gateway to another language. The
    /// target is the path and query, as they were sent.
    pub fn answer<'a>(
        &self,
        method: &'a str,
        target: &'a str,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> ResponseFuture {
        let request = endpoint::Request::new(method, target, fields);
        let answer = lock(&self.state).ask(&request, Instant::now());
        match answer {
            ServiceAnswer::Now(response) => Box::pin(ready(Ok(response))),
            ServiceAnswer::Later(receiver) => {
                // The round goes on if the service itself is dropped meanwhile.
                let state = self.state.clone();
                Box::pin(async move {
                    let answered = receiver.await;
                    drop(state);
                    Ok(answered.unwrap_or_else(|_| broken()))
                })
            }
        }
    }

    /// From now on `/readyz` fails: the program is about to end. Everything else is answered as before.
    pub fn drain(&self) {
        self.observer.drain();
    }
}

impl<B> tower_service::Service<Request<B>> for Service {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// Answers by the request's head; its body is not read. The response to HEAD has the body of that to GET, which a
    /// server measures and does not send.
    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let fields = request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        self.answer(request.method().as_str(), target, fields)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

/// Moves the rounds on whenever checks have finished or something is late, until the last service is gone.
fn drive(state: &Weak<Mutex<State>>, woken: &Receiver<()>) {
    let mut deadline: Option<Instant> = None;
    loop {
        let disconnected = match deadline {
            None => woken.recv().is_err(),
            // Whether it was woken or the deadline passed, the next step is the same.
            Some(deadline) => matches!(
                woken.recv_timeout(deadline.saturating_duration_since(Instant::now())),
                Err(mpsc::RecvTimeoutError::Disconnected)
            ),
        };
        let Some(state) = state.upgrade().filter(|_| !disconnected) else { return };
        deadline = lock(&state).advance(Instant::now());
    }
}

/// Checks that panic are contained, so what is in it is whole.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn ask(&mut self, request: &endpoint::Request<'_>, now: Instant) -> ServiceAnswer {
        if self.endpoint.depends_on_files(request) {
            self.sources.refresh_if_changed();
            let maintenance = self.maintenance_file.as_deref().and_then(maintained);
            self.endpoint.see(Arc::new(FileState { maintenance, ..FileState::of(&self.sources) }));
        }
        let request = match self.endpoint.ask(request) {
            Continue(request) => request,
            Break(reply) => return ServiceAnswer::Now(response(reply)),
        };
        let whole = if self.lifetime.is_zero() { None } else { self.endpoint.whole() };
        if let Some(Whole { suite, edition }) = whole {
            if let Some(kept) = &self.kept
                && kept.edition == Some(edition)
                && kept.began.age(now) <= self.lifetime
            {
                let mut report = kept.report.of(request.suite());
                report.outcomes.iter_mut().for_each(|outcome| outcome.age += kept.made.age(now));
                let findings = Findings { age: Some(kept.began.age(now)), ..Findings::from(&report) };
                return ServiceAnswer::Now(response(self.endpoint.report(&request, &findings)));
            }
            if self.next_edition.replace(edition) != Some(edition) {
                let request = Arc::new(CheckRequest::for_all(suite));
                self.rounds.ask(Waiter::new(EVERYBODY, request, now));
            }
        }
        let (sender, receiver) = oneshot::channel();
        let key = self.clients.insert(sender);
        self.rounds.ask(Waiter::new(key, request, now));
        self.advance(now);
        if self.clients.contains(key) {
            // The deadline may be nearer than the one that the thread waits for.
            self.wake.send(()).unwrap_or_default();
        }
        ServiceAnswer::Later(receiver)
    }

    /// Moves on, answers those who can be answered, and begins the next round if it is due. Returns when this must be
    /// called again at the latest.
    fn advance(&mut self, now: Instant) -> Option<Instant> {
        self.answer(now);
        if self.rounds.is_next_due() {
            self.began = PastMoment::now(now);
            self.edition = self.next_edition.take();
            self.rounds.begin(now);
            // A short one that cannot block is over by now.
            self.answer(Instant::now());
        }
        self.rounds.next_deadline()
    }

    fn answer(&mut self, now: Instant) {
        let State { endpoint, observer, rounds, clients, lifetime, kept, began, edition, .. } = self;
        if let Some(report) = rounds.advance(now) {
            observer.found(report);
        }
        // As long as a round runs, only those are answered who cannot wait for it.
        let age = (!lifetime.is_zero() && !rounds.is_running()).then(|| began.age(now));
        while let Some((waiter, findings)) = rounds.next_answer(now) {
            if waiter.key == EVERYBODY {
                let (report, made) = (findings.report.into_owned(), PastMoment::now(now));
                *kept = Some(KeptReport { report, edition: *edition, began: *began, made });
            } else if let Some(client) = clients.try_remove(waiter.key) {
                let findings = Findings { age: age.or(findings.age), ..findings };
                // A client that has gone away needs no answer.
                let _ = client.send(response(endpoint.report(&waiter.request, &findings)));
            }
        }
    }
}

impl PastMoment {
    fn now(now: Instant) -> PastMoment {
        PastMoment { at: now, suspended: clock::suspended() }
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at) + clock::suspended().saturating_sub(self.suspended)
    }
}

fn response(reply: &Reply) -> Response<Full<Bytes>> {
    let body = Full::from(Bytes::copy_from_slice(&reply.body));
    let response = Response::builder().status(reply.status);
    let fields = reply.fields.iter();
    fields
        .fold(response, |response, (name, value)| response.header(*name, value.as_ref()))
        .body(body)
        // `EndpointSettings::fail_status` is not a status code.
        .unwrap_or_else(|_| broken())
}

fn broken() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
