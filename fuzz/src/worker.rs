//! The pure part of `src/worker`.

pub(crate) mod connection;
pub(crate) mod route;
