//! A check whose code is Python's.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use hospital::model::check::{Check, Finding, Status};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// What Python says of a check: `(id, title, timeout in seconds or None, tags, run)`.
pub(crate) type Told = (String, String, Option<f64>, Vec<String>, Py<PyAny>);

/// What a check calls, once and from any thread, when it has found something.
#[pyclass(frozen, module = "hospital._native")]
pub(crate) struct Reply {
    sender: Sender<Finding>,
}

#[pymethods]
impl Reply {
    /// The status is one of `pass`, `fail`, `error`, `skip` and `warn`.
    #[pyo3(signature = (status, context=None))]
    fn __call__(&self, status: &str, context: Option<String>) -> PyResult<()> {
        let found = match status {
            "pass" => Status::Pass,
            "fail" => Status::Fail,
            "error" => Status::Error,
            "skip" => Status::Skip,
            "warn" => Status::Warn,
            _ => return Err(PyValueError::new_err(format!("{status:?} is not a status that a check may have"))),
        };
        let mut finding = Finding::PASS;
        (finding.status, finding.context) = (found, context);
        // Nobody waits for what is said twice.
        let _ = self.sender.send(finding);
        Ok(())
    }
}

/// The check that calls `run(reply)`. That returns at once, having started a thread of Python, which calls the reply: a
/// thread of ours must not be within Python when the interpreter ends, as that unwinds it by force.
pub(crate) fn check((id, title, timeout, tags, run): Told) -> PyResult<Check> {
    let check = Check::new(id, move |_deadline| found(&run)).title(title).tags(tags);
    let Some(seconds) = timeout else { return Ok(check) };
    let timeout = Duration::try_from_secs_f64(seconds).ok().filter(|timeout| !timeout.is_zero());
    let timeout =
        timeout.ok_or_else(|| PyValueError::new_err(format!("{seconds} s is not a time that a check may take")))?;
    Ok(check.timeout(timeout))
}

fn found(run: &Py<PyAny>) -> Finding {
    let (sender, receiver) = channel();
    let started =
        Python::try_attach(|py| run.call1(py, (Reply { sender },)).map(drop).map_err(|error| error.to_string()));
    match started {
        None => Finding::error("Python has ended"),
        Some(Err(error)) => Finding::error(format!("the check cannot be started: {error}")),
        Some(Ok(())) => receiver.recv().unwrap_or_else(|_| Finding::error("the check has ended without an answer")),
    }
}
