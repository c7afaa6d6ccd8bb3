//! How long to wait before a worker that died is replaced.

use std::time::{Duration, Instant};

/// The first wait that is not zero, and the longest.
const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(30);

/// A worker that lived this long is not part of a crash loop, whatever came before.
const SOUND: Duration = Duration::from_secs(10);

/// A crash loop is slowed by delays of 1.5ⁿ ms, up to 30 s; a single death causes no delay.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    /// How many workers in a row died too soon after their start.
    streak: u32,
    not_before: Instant,
}

impl Backoff {
    pub(super) fn new(now: Instant) -> Backoff {
        Backoff { streak: 0, not_before: now }
    }

    /// The time from which workers may be forked.
    pub(super) fn not_before(&self) -> Instant {
        self.not_before
    }

    /// A worker died after living this long.
    pub(super) fn failed(&mut self, lived: Duration, now: Instant) {
        // The time that counts as long grows with the delay before it, so that little time is spent on forking, while a
        // worker that crashes once a second is still replaced at once.
        let long = (Duration::from_millis(100) + 2 * delay(self.streak)).min(SOUND);
        self.streak = if lived >= long { 0 } else { self.streak.saturating_add(1) };
        self.not_before = now + delay(self.streak);
    }
}

fn delay(streak: u32) -> Duration {
    match streak {
        0 | 1 => Duration::ZERO,
        n => FIRST.mul_f64(1.5_f64.powi(i32::try_from(n - 2).unwrap_or(i32::MAX).min(60))).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loop_waits_longer_and_longer_up_to_half_a_minute() {
        let t0 = Instant::now();
        let mut backoff = Backoff::new(t0);
        let waits: Vec<_> = (0..60)
            .map(|_| {
                backoff.failed(Duration::ZERO, t0);
                backoff.not_before() - t0
            })
            .collect();
        assert_eq!(waits[0], Duration::ZERO, "the first death is answered at once");
        assert!(waits.is_sorted());
        assert_eq!(waits[59], LONGEST);
    }

    #[test]
    fn a_worker_that_lived_a_while_is_replaced_at_once() {
        let t0 = Instant::now();
        let mut backoff = Backoff::new(t0);
        for _ in 0..60 {
            backoff.failed(Duration::ZERO, t0);
        }
        backoff.failed(SOUND, t0);
        assert_eq!(backoff.not_before(), t0);
    }
}
