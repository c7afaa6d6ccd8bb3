//! `hospital._native`: the endpoint and the command line, for Python.

mod command;
mod endpoint;
mod interpreter;
mod log;

/// The endpoint and the command line of hospital, as Rust has them.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use crate::command::main;
    #[pymodule_export]
    use crate::endpoint::{Endpoint, Pending, Plan};
    #[pymodule_export]
    use crate::interpreter::Reply;
}
