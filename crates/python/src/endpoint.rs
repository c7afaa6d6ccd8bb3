//! The endpoint: requests of any gateway to Python are answered as the daemon answers its own.

use std::ffi::OsString;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use hospital::error::Error;
use hospital::mount::{ResponseFuture, Service};
use hospital::{App, ServicePlan};
use http_body_util::BodyExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::interpreter::Tests;
use crate::log;

/// The status, the header fields and the body of a response.
type Answer<'py> = (u16, Vec<(String, String)>, Bound<'py, PyBytes>);

type Answered = <ResponseFuture as Future>::Output;

/// The settings that `hospital serve` would have with these arguments in this environment, verified.
#[pyclass(frozen, module = "hospital._native")]
pub(crate) struct Plan {
    plan: ServicePlan,
}

/// The endpoint, with tests in Python.
///
/// It has threads: make it in the process that uses it, after any fork.
#[pyclass(frozen, module = "hospital._native")]
pub(crate) struct Endpoint {
    service: Service,
}

/// A response that is awaited.
#[pyclass(frozen, module = "hospital._native")]
pub(crate) struct Pending {
    future: Mutex<Option<ResponseFuture>>,
    waker: Waker,
}

struct Done(Py<PyAny>);

#[pymethods]
impl Plan {
    #[new]
    fn new(arguments: Vec<OsString>) -> PyResult<Plan> {
        let arguments = [OsString::from("hospital")].into_iter().chain(arguments);
        Ok(Plan { plan: App::new().plan_service(arguments).map_err(refused)? })
    }
}

#[pymethods]
impl Endpoint {
    /// `tests` is asked for tests at a name by `collect(name)`, and to run one by `run(id, reply)`.
    #[new]
    fn new(py: Python<'_>, plan: &Plan, tests: Py<PyAny>) -> PyResult<Endpoint> {
        log::to_python(py)?;
        let service = py.detach(|| plan.plan.start_in(Arc::new(Tests(tests))));
        Ok(Endpoint { service: service.map_err(refused)? })
    }

    /// Answers a request, once its round is over. Other threads of Python run meanwhile.
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        method: &str,
        target: &str,
        headers: Vec<(String, String)>,
    ) -> PyResult<Answer<'py>> {
        let answered = py.detach(|| pollster::block_on(self.ask(method, target, &headers)));
        Ok(answer(py, answered))
    }

    /// Begins to answer a request. `done` is called, from any thread, when there is something new to see with `poll`.
    fn begin(
        &self,
        py: Python<'_>,
        method: &str,
        target: &str,
        headers: Vec<(String, String)>,
        done: Py<PyAny>,
    ) -> Pending {
        let future = py.detach(|| self.ask(method, target, &headers));
        Pending { future: Mutex::new(Some(future)), waker: Arc::new(Done(done)).into() }
    }

    /// From now on `/readyz` fails: the program is about to end.
    fn drain(&self, py: Python<'_>) {
        py.detach(|| self.service.drain());
    }
}

impl Endpoint {
    fn ask(&self, method: &str, target: &str, headers: &[(String, String)]) -> ResponseFuture {
        self.service.answer(method, target, headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

#[pymethods]
impl Pending {
    /// The response, or `None` as long as there is none; then `done` will be called.
    fn poll<'py>(&self, py: Python<'py>) -> Option<Answer<'py>> {
        let polled = py.detach(|| {
            let mut future = self.future.lock().unwrap_or_else(PoisonError::into_inner);
            match future.as_mut()?.as_mut().poll(&mut Context::from_waker(&self.waker)) {
                Poll::Pending => None,
                Poll::Ready(answered) => {
                    *future = None;
                    Some(answered)
                }
            }
        });
        polled.map(|answered| answer(py, answered))
    }
}

impl Wake for Done {
    fn wake(self: Arc<Done>) {
        Python::try_attach(|py| {
            // The loop may be closed; then nobody waits.
            let _ = self.0.call0(py);
        });
    }
}

fn answer(py: Python<'_>, answered: Answered) -> Answer<'_> {
    let (head, body) = answered.unwrap_or_else(|never| match never {}).into_parts();
    let fields = head.headers.iter();
    let fields = fields.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    // It is there already, in one piece.
    let body = pollster::block_on(body.collect()).unwrap_or_else(|never| match never {}).to_bytes();
    (head.status.as_u16(), fields.collect(), PyBytes::new(py, &body))
}

fn refused(error: Error) -> PyErr {
    PyValueError::new_err(error.to_string())
}
