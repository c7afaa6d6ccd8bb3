//! The tests of the application's own interpreter.

use std::sync::mpsc::{Sender, channel};

use hospital::model::check::{Finding, Status};
use hospital::mount::{Interpreter, Test};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// What a run of a test calls, from any thread, when it has found something.
#[pyclass(frozen, module = "hospital._native")]
pub(crate) struct Reply {
    sender: Sender<Finding>,
}

/// `collect(name)`, a list of `(id, title, timeout in seconds or None, tags)`, and `run(id, reply)` of an object in Python.
pub(crate) struct Tests(pub(crate) Py<PyAny>);

type Told = (String, String, Option<f64>, Vec<String>);

#[pymethods]
impl Reply {
    #[pyo3(signature = (status, context=None))]
    fn __call__(&self, status: &str, context: Option<String>) -> PyResult<()> {
        let known = |known: &&Status| known.word() == status;
        let Some(status) = Status::ALL.iter().find(known) else {
            return Err(PyValueError::new_err(format!("{status:?} is not a status")));
        };
        let mut finding = Finding::PASS;
        (finding.status, finding.context) = (*status, context);
        // Nobody waits for what is said twice.
        let _ = self.sender.send(finding);
        Ok(())
    }
}

impl Interpreter for Tests {
    fn collect(&self, name: &str) -> Result<Vec<Test>, String> {
        let told = Python::try_attach(|py| {
            let told = self.0.call_method1(py, "collect", (name,));
            told.and_then(|told| told.extract::<Vec<Told>>(py)).map_err(|error| error.to_string())
        });
        let told = told.unwrap_or_else(|| Err(ENDED.to_owned()))?;
        Ok(told.into_iter().map(|(id, title, timeout, tags)| Test { id, title, timeout, tags }).collect())
    }

    /// Python runs it on a thread of its own: one of ours must not be within Python when the interpreter ends, as that
    /// unwinds it by force.
    fn run(&self, id: &str) -> Finding {
        let (sender, receiver) = channel();
        let started = Python::try_attach(|py| {
            let started = self.0.call_method1(py, "run", (id, Reply { sender }));
            started.map(drop).map_err(|error| format!("it cannot be started: {error}"))
        });
        match started {
            None => Finding::error(ENDED),
            Some(Err(error)) => Finding::error(error),
            Some(Ok(())) => receiver.recv().unwrap_or_else(|_| Finding::error("it has ended without an answer")),
        }
    }
}

const ENDED: &str = "Python has ended";
