//! `hospital._native`: the endpoint and the command line, for Python.

mod check;
mod command;
mod endpoint;
mod log;

/// The endpoint and the command line of hospital, as Rust has them.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use crate::check::Reply;
    #[pymodule_export]
    use crate::command::{is_registered, main};
    #[pymodule_export]
    use crate::endpoint::{Endpoint, Pending};
}
