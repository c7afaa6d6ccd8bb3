//! What can go wrong before anything is served, and the exit code each kind ends with.

use std::process::ExitCode;

/// A failure that ends the process. Its text is one line that says what failed, on what, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line, the environment or a name in HEALTHCHECKS is wrong. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The workers cannot boot. Exit code 3.
    #[error("{0}")]
    Boot(String),
    /// A listening socket could not be obtained. Exit code 4.
    #[error("{0}")]
    Socket(String),
    /// Going on would be unsafe: others could change what we run. Exit code 5.
    #[error("{0}")]
    Unsafe(String),
    /// An output or a file could not be written: what was to be in it is lost. Exit code 74, as `EX_IOERR` in sysexits.h.
    #[error("{0}")]
    Write(String),
}

impl Error {
    /// The documented exit code of this kind of failure.
    pub fn code(&self) -> u8 {
        match self {
            Error::Usage(_) => 2,
            Error::Boot(_) => 3,
            Error::Socket(_) => 4,
            Error::Unsafe(_) => 5,
            Error::Write(_) => 74,
        }
    }
}

impl From<&Error> for ExitCode {
    fn from(error: &Error) -> ExitCode {
        ExitCode::from(error.code())
    }
}
