//! Signals → commands: which signal asks for what.

use super::command::Command;
use crate::os::signals::{Received, Signal};

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

/// What a signal asks for; `None`: nothing.
///
/// A terminal sends WINCH whenever its window changes, TTIN and TTOU when somebody in the background uses it: these are
/// commands only if a process sends them.
pub(super) fn command(Received { signal, is_sent }: Received) -> Option<Command> {
    let (_, command) = SIGNALS.iter().find(|(handled, _)| *handled == signal)?;
    let from_terminal = !is_sent && matches!(command, Command::Pause | Command::More | Command::Fewer);
    (!from_terminal).then_some(*command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_neither_pauses_nor_resizes_the_fleet() {
        for (signal, expected) in SIGNALS {
            assert_eq!(command(Received { signal, is_sent: true }), Some(expected));
            let is_of_terminal = [Signal::SIGWINCH, Signal::SIGTTIN, Signal::SIGTTOU].contains(&signal);
            assert_eq!(command(Received { signal, is_sent: false }), (!is_of_terminal).then_some(expected), "{signal}");
        }
        assert_eq!(command(Received { signal: Signal::SIGABRT, is_sent: true }), None);
    }
}
