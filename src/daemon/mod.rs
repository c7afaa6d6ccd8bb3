//! The daemon: a master that forks, and workers that serve.

pub(crate) mod generation;
pub(crate) mod listen;
pub(crate) mod logging;
pub(crate) mod master;
pub(crate) mod shared;
pub(crate) mod worker;
