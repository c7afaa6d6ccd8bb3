//! Tests in Python where the interpreter is that of our own process, as in a mount.

use crate::model::check::Finding;

/// One test, as Python tells of it.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Test {
    /// Its dotted name.
    pub id: String,
    /// What it verifies, in one line.
    pub title: String,
    /// How many seconds it may take, if it says so.
    pub timeout: Option<f64>,
    /// Words to select it by.
    pub tags: Vec<String>,
}

/// The interpreter of this process, for names such as `python:shop.healthchecks`.
pub trait Interpreter: Send + Sync {
    /// The tests at a name of a module, package, class, method or function. The error is one line, without the name.
    ///
    /// It is called when checks are collected, and again when a file that names tests has changed.
    ///
    /// # Errors
    ///
    /// When there are none.
    fn collect(&self, name: &str) -> Result<Vec<Test>, String>;

    /// Runs a test of those that were collected, by its id, on a thread that may wait.
    fn run(&self, id: &str) -> Finding;
}
