//! What the endpoint means, without a socket.

pub(crate) mod counters;
pub(crate) mod disclosure;
pub(crate) mod metrics;
pub(crate) mod negotiate;
pub mod route;
pub(crate) mod scraper;
