//! A report as text for its reader: one file a format.

pub mod json;
