//! As `src/worker`, as far as it is pure.

pub(crate) mod connection;
pub(crate) mod route;
