//! What the numbers of errors are called.

use nix::errno::Errno;

/// The name of an error of the system, as in `ECONNREFUSED`.
pub(crate) fn name(number: i32) -> String {
    format!("{:?}", Errno::from_raw(number))
}
