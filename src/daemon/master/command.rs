//! What a signal asks of the master.

/// What a signal asks of the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Finish what has begun, then exit; given twice, exit at once.
    Drain,
    /// Exit at once.
    Stop,
    /// Read the configuration again and replace the workers one by one.
    Reload,
    /// Start the program again, with the sockets, and drain once the new master is ready.
    Upgrade,
    /// Reopen the log files, here and in the workers.
    Reopen,
    /// One worker more.
    More,
    /// One worker fewer, down to one.
    Fewer,
    /// Drain all workers and keep the master.
    Pause,
    /// A child has died.
    Reap,
}
