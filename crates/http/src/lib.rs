//! HTTP/1.x for servers, without I/O: bytes ↔ requests and responses.

mod connection;
mod head;
#[cfg(test)]
mod tests;

pub use connection::{Connection, Step, Stream};
pub use head::{Limits, MOST_FIELDS, Method, Patience, Reader, Rejection, Request, Response};
