//! Who gives an answer: where several hosts and services share an address, a reader has to be told.

use std::fmt;

/// The host and the instance of a service. Both are empty where nobody is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Speaker {
    /// The name of the host.
    pub host: String,
    /// What the service calls itself there (`--name`).
    pub instance: String,
}

impl Speaker {
    /// Whether nobody is named.
    pub fn is_nobody(&self) -> bool {
        self.host.is_empty() && self.instance.is_empty()
    }
}

impl fmt::Display for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Speaker { host, instance } = self;
        match (host.is_empty(), instance.is_empty()) {
            (false, false) => write!(f, "{host}/{instance}"),
            (true, _) => f.write_str(instance),
            (_, true) => f.write_str(host),
        }
    }
}
