//! Signals → commands: what each signal asks of the master.

use crate::os::signals::Signal;

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

/// The signals that the master handles, and what they ask for.
///
/// `docs/SIGNALS.md` is compared with this table by a test.
pub(crate) const SIGNALS: [(Signal, Command); 10] = [
    (Signal::SIGTERM, Command::Drain),
    (Signal::SIGQUIT, Command::Drain),
    (Signal::SIGINT, Command::Stop),
    (Signal::SIGHUP, Command::Reload),
    (Signal::SIGUSR1, Command::Reopen),
    (Signal::SIGUSR2, Command::Upgrade),
    (Signal::SIGTTIN, Command::More),
    (Signal::SIGTTOU, Command::Fewer),
    (Signal::SIGWINCH, Command::Pause),
    (Signal::SIGCHLD, Command::Reap),
];

/// What this signal asks for; `None` if it is not handled.
pub(crate) fn of(signal: Signal) -> Option<Command> {
    SIGNALS.iter().find(|(handled, _)| *handled == signal).map(|&(_, command)| command)
}
