//! What several kinds share.

#[cfg(feature = "tls")]
#[cfg_attr(not(feature = "ldap"), allow(dead_code, reason = "STARTTLS only reads"))]
pub(super) mod ber;
pub(super) mod connection;
pub(super) mod dialogue;
pub(crate) mod environment;
pub(super) mod exchange;
pub(super) mod login;
#[cfg(feature = "tls")]
pub(super) mod mail;
mod masking;
mod named;
#[cfg(feature = "grpc")]
pub(super) mod nonblocking;
pub(super) mod noted;
pub(super) mod opt;
pub(super) mod options;
pub(crate) mod ownership;
pub(crate) mod pattern;
#[cfg(feature = "tls")]
pub(super) mod pem;
pub(crate) mod program;
pub(crate) mod secrets;
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) mod sql;
#[cfg(feature = "tls")]
pub(super) mod starttls;
pub(super) mod target;
#[cfg(all(test, feature = "http"))]
pub(super) mod testing;
pub(super) mod thresholds;
pub(super) mod timed;
#[cfg(feature = "tls")]
pub(super) mod tls;
#[cfg(feature = "tls")]
pub(super) mod tls_noted;
#[cfg(feature = "tls")]
pub(super) mod tls_roots;
#[cfg(feature = "tls")]
pub(super) mod tls_settings;
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) mod value;
pub(super) mod wildcard;
