//! Whose fault a bad finding is.

use serde::{Deserialize, Serialize};

/// Whose fault a bad finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// Ours: something on this side does not work, so nothing is known of the other.
    Ours,
    /// Theirs: it answered, and wrongly, or refused.
    Theirs,
    /// Of what lies between: nothing came back, and nothing else behind the same route has answered.
    Path,
}

impl Blame {
    /// All of them, in the order of their numbers.
    pub const ALL: [Blame; 3] = [Blame::Ours, Blame::Theirs, Blame::Path];

    /// Its name in every format.
    pub fn word(self) -> &'static str {
        match self {
            Blame::Ours => "ours",
            Blame::Theirs => "theirs",
            Blame::Path => "path",
        }
    }
}
