//! The exposition formats that Prometheus reads: the differences between its text format and OpenMetrics.
//!
//! Sources: <https://prometheus.io/docs/instrumenting/exposition_formats/>, version 0.0.4, and
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>, version 1.0.0.

use std::fmt::{self, Display, Write};

/// One of the two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// Prometheus's own.
    Text,
    OpenMetrics,
}

impl Syntax {
    /// Both, beginning with the one for clients that accept anything.
    pub(crate) const ALL: [Syntax; 2] = [Syntax::Text, Syntax::OpenMetrics];

    /// Its name in `?format=`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Syntax::Text => "prometheus",
            Syntax::OpenMetrics => "openmetrics",
        }
    }

    /// For `Accept` and `Content-Type`.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Syntax::Text => "text/plain; version=0.0.4; charset=utf-8",
            Syntax::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The kind of a family's samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricKind {
    Gauge,
    /// Its name ends in `_total`.
    Counter,
    /// What never changes, as labels; its name ends in `_info`.
    Info,
}

/// What all samples with the same name have in common.
#[derive(Debug)]
pub(crate) struct Family {
    /// The name of its samples.
    pub(crate) name: &'static str,
    pub(crate) kind: MetricKind,
    /// The labels of each sample.
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

/// An exposition that is being written.
pub(crate) struct Exposition<'a> {
    syntax: Syntax,
    out: &'a mut String,
}

impl Exposition<'_> {
    pub(crate) fn new(syntax: Syntax, out: &mut String) -> Exposition<'_> {
        Exposition { syntax, out }
    }

    /// Begins a family; its samples follow.
    pub(crate) fn family(&mut self, Family { name, kind, help, .. }: &Family) -> fmt::Result {
        let (family, kind) = match (self.syntax, kind) {
            (_, MetricKind::Gauge) | (Syntax::Text, MetricKind::Info) => (*name, "gauge"),
            (Syntax::Text, MetricKind::Counter) => (*name, "counter"),
            (Syntax::OpenMetrics, MetricKind::Counter) => (name.trim_end_matches("_total"), "counter"),
            (Syntax::OpenMetrics, MetricKind::Info) => (name.trim_end_matches("_info"), "info"),
        };
        writeln!(self.out, "# HELP {family} {help}\n# TYPE {family} {kind}")
    }

    /// A sample of the family that was begun last, with the values of its labels.
    pub(crate) fn sample(&mut self, family: &Family, texts: &[&str], value: impl Display) -> fmt::Result {
        self.out.push_str(family.name);
        let mut before = '{';
        for (label, text) in family.labels.iter().zip(texts) {
            write!(self.out, "{before}{label}=\"{}\"", Escaped(text))?;
            before = ',';
        }
        let after = if family.labels.is_empty() { "" } else { "}" };
        writeln!(self.out, "{after} {value}")
    }

    /// Ends the exposition.
    pub(crate) fn end(self) -> fmt::Result {
        match self.syntax {
            Syntax::Text => Ok(()),
            Syntax::OpenMetrics => writeln!(self.out, "# EOF"),
        }
    }
}

/// A label's value.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
