//! HTTP/1.x for servers, without I/O: bytes ↔ requests and responses.

mod connection;
mod head;
#[cfg(test)]
mod tests;

pub use connection::{Connection, Need, Patience, Response};
pub use head::{Asked, Limits, MOST_FIELDS, Method, Reader, Rejection};
