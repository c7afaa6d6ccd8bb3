//! The endpoint: requests of any gateway to Python are answered as the daemon answers its own.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use hospital::App;
use hospital::mount::{ResponseFuture, Service};
use http_body_util::BodyExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::check::{Told, check};
use crate::log;

/// The status, the header fields and the body of a response.
type Answer<'py> = (u16, Vec<(String, String)>, Bound<'py, PyBytes>);

type Answered = <ResponseFuture as Future>::Output;

/// The endpoint for these checks of Python, with the settings that `hospital serve` would have with these arguments.
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
impl Endpoint {
    #[new]
    #[pyo3(signature = (arguments, checks))]
    fn new(py: Python<'_>, arguments: Vec<String>, checks: Vec<Told>) -> PyResult<Endpoint> {
        log::to_python(py)?;
        let mut app = App::new();
        for told in checks {
            app = app.check(check(told)?);
        }
        let arguments = ["hospital".to_owned()].into_iter().chain(arguments);
        let service = py.detach(|| app.service_with(arguments));
        Ok(Endpoint { service: service.map_err(|error| PyValueError::new_err(error.to_string()))? })
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
