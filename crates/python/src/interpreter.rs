//! The tests of the application's own interpreter.

use std::sync::mpsc::{Sender, channel};

use hospital::model::check::{Finding, Part, Status};
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

/// What distinguishes a part of a test, its status, and what it has to say.
type ToldPart = (String, String, Option<String>);

#[pymethods]
impl Reply {
    #[pyo3(signature = (status, context=None, parts=Vec::new()))]
    fn __call__(&self, status: &str, context: Option<String>, parts: Vec<ToldPart>) -> PyResult<()> {
        let part = |(title, word, context): ToldPart| Ok(Part { title, status: status_of(&word)?, context });
        let mut finding = Finding::PASS;
        finding.parts = parts.into_iter().map(part).collect::<PyResult<_>>()?;
        (finding.status, finding.context) = (status_of(status)?, context);
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

fn status_of(word: &str) -> PyResult<Status> {
    let known = Status::ALL.into_iter().find(|known| known.word() == word);
    known.ok_or_else(|| PyValueError::new_err(format!("{word:?} is not a status")))
}

const ENDED: &str = "Python has ended";
