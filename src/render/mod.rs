//! A report as text for its reader: one file a format, one row each in [`FORMATS`].

pub mod json;
pub mod kubernetes;

use crate::report::Report;

/// A format: what it is called, and how a report is written in it.
#[derive(Debug)]
pub struct Format {
    /// The word for `--format` and `?format=`.
    pub name: &'static str,
    /// The media type of an HTTP answer, for `Accept` and `Content-Type`.
    pub media_type: &'static str,
    /// Appends the report.
    pub write: fn(&Report, &mut Vec<u8>),
    /// The exit code of `hospital check`: [`exit_code`] unless the format has a rule of its own.
    pub exit_code: fn(&Report) -> u8,
    /// Whether an HTTP answer is a success: [`Report::passes`] unless the format has a rule of its own.
    pub is_success: fn(&Report) -> bool,
}

impl Format {
    /// The same with all that is known about each check, where the format has room for more.
    pub fn verbose(&'static self) -> &'static Format {
        if self.name == json::FORMAT.name { &json::VERBOSE } else { self }
    }
}

/// Every format there is.
pub static FORMATS: &[Format] = &[json::FORMAT];

/// The usual exit code: 0 when the report passes, else 1.
pub fn exit_code(report: &Report) -> u8 {
    u8::from(!report.passes())
}

/// The format of that name.
///
/// # Errors
///
/// One line that says which there are.
pub fn named(name: &str) -> Result<&'static Format, String> {
    let known = || FORMATS.iter().map(|format| format.name).collect::<Vec<_>>().join(", ");
    FORMATS
        .iter()
        .find(|format| format.name == name)
        .ok_or_else(|| format!("there is no such format (known: {})", known()))
}
