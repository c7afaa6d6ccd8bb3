//! The log, as Python's logger `hospital`.

use std::fmt::{Debug, Write};
use std::sync::Once;

use pyo3::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

struct Logger(Py<PyAny>);

/// From now on, Python logs what Rust does.
pub(crate) fn to_python(py: Python<'_>) -> PyResult<()> {
    static ONCE: Once = Once::new();
    let logger = py.import("logging")?.call_method1("getLogger", ("hospital",))?.unbind();
    // If another part of the process has the log already, it keeps it.
    ONCE.call_once(|| tracing::subscriber::set_global_default(Logger(logger)).unwrap_or_default());
    Ok(())
}

impl Subscriber for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::INFO && metadata.target().starts_with("hospital")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        // As Python numbers them.
        let level = match *event.metadata().level() {
            Level::ERROR => 40,
            Level::WARN => 30,
            _ => 20,
        };
        Python::try_attach(|py| {
            // A handler that fails has nobody else to tell.
            let _ = self.0.call_method1(py, "log", (level, "%s", line.0));
        });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The message, and what else belongs to it.
#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
