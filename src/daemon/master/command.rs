//! Signals → commands: what each signal asks of the master.

use crate::os::signals::{Received, Signal};

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

/// What this signal asks for; `None`: nothing.
///
/// A terminal sends WINCH whenever its window changes, TTIN and TTOU when somebody in the background uses it: these are
/// commands only if a process sends them.
pub(crate) fn of(Received { signal, is_sent }: Received) -> Option<Command> {
    let (_, command) = SIGNALS.iter().find(|(handled, _)| *handled == signal)?;
    let from_terminal = !is_sent && matches!(command, Command::Pause | Command::More | Command::Fewer);
    (!from_terminal).then_some(*command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_neither_pauses_nor_resizes_the_fleet() {
        for (signal, command) in SIGNALS {
            assert_eq!(of(Received { signal, is_sent: true }), Some(command));
            let is_ours = ["SIGWINCH", "SIGTTIN", "SIGTTOU"].contains(&signal.as_str());
            assert_eq!(of(Received { signal, is_sent: false }), (!is_ours).then_some(command), "{signal}");
        }
        assert_eq!(of(Received { signal: Signal::SIGABRT, is_sent: true }), None);
    }
}
