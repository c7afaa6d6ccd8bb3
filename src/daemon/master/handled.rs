//! Signals → commands: which signal asks for what.

use super::command::Command;
use crate::os::signals::Signal;

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

/// What a signal asks for; `None` if it is not handled.
pub(super) fn command(signal: Signal) -> Option<Command> {
    SIGNALS.iter().find(|(handled, _)| *handled == signal).map(|&(_, command)| command)
}
