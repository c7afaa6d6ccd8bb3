//! Signals → commands: what each signal asks of the master.

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

/// The signals that the master handles, by name, and what they ask for.
///
/// `docs/SIGNALS.md` is compared with this table by a test.
pub(crate) const SIGNALS: [(&str, Command); 10] = [
    ("TERM", Command::Drain),
    ("QUIT", Command::Drain),
    ("INT", Command::Stop),
    ("HUP", Command::Reload),
    ("USR1", Command::Reopen),
    ("USR2", Command::Upgrade),
    ("TTIN", Command::More),
    ("TTOU", Command::Fewer),
    ("WINCH", Command::Pause),
    ("CHLD", Command::Reap),
];

/// What the signal with this name asks for; `None` if it is not handled.
pub(crate) fn named(signal: &str) -> Option<Command> {
    let short = signal.strip_prefix("SIG").unwrap_or(signal);
    SIGNALS.iter().find(|(name, _)| *name == short).map(|&(_, command)| command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_found_with_and_without_their_prefix() {
        assert_eq!(named("SIGTERM"), Some(Command::Drain));
        assert_eq!(named("HUP"), Some(Command::Reload));
        assert_eq!(named("SIGABRT"), None);
    }
}
