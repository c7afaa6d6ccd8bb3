//! What processes share: memory that is mapped before the first fork.

pub(crate) mod casebook;
pub(crate) mod scoreboard;
pub(crate) mod snapshot;
mod table;
