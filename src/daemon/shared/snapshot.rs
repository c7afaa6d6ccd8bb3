//! Shared memory in which one worker leaves its findings for all others: a snapshot, and the lease to make the next
//! one.
//!
//! A snapshot is sealed: a worker that is killed while it writes leaves nothing valid, nor does one that is stopped, and
//! goes on writing after another has written.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use zerocopy::FromBytes;

use super::sealed::Sealed;
use super::word::Word;
use crate::os::bell::Bell;
use crate::os::shared;

/// The largest snapshot, in bytes.
pub(crate) const CAPACITY: usize = 8 * 1024 * 1024;

/// A lease is one word, so that it can be taken atomically: the time of its end, in milliseconds since the epoch, and the
/// pid of its holder. Linux has no larger pids; the time lasts for a century.
const LEASE: Word<2> = Word([42, 22]);

/// The shared memory, and a bell that all its watchers can hear. Made by the master, before the first fork.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(super) memory: &'static SnapshotMemory,
    bell: Bell,
    /// The origin of the times in it. Forked processes share the clock and inherit this.
    epoch: Instant,
}

#[derive(Debug, FromBytes)]
#[repr(C)]
pub(super) struct SnapshotMemory {
    /// 0: nobody holds it.
    lease: AtomicU64,
    contents: Sealed<{ CAPACITY / 8 }>,
}

/// The right to write the next snapshot, until another process takes it.
#[derive(Debug)]
#[must_use]
pub(crate) struct Lease(u64);

impl Snapshot {
    /// Maps fresh memory.
    pub(crate) fn new(epoch: Instant) -> io::Result<Snapshot> {
        Ok(Snapshot { memory: shared::map()?, bell: Bell::new()?, epoch })
    }

    /// The same memory as another process has it.
    #[cfg(test)]
    pub(crate) fn twin(&self) -> Snapshot {
        Snapshot { bell: Bell::new().expect("there are descriptors"), ..*self }
    }

    /// The origin of the times in a snapshot.
    pub(crate) fn epoch(&self) -> Instant {
        self.epoch
    }

    // --- the contents ------------------------------------------------------------------------------

    /// The seal of the contents; `None` while there are none. Other contents have another seal.
    pub(crate) fn seal(&self) -> Option<u64> {
        self.memory.contents.seal()
    }

    /// The contents, if they fit their seal.
    pub(crate) fn read(&self) -> Option<Vec<u8>> {
        self.memory.contents.read()
    }

    /// Writes new contents, of at most [`CAPACITY`] bytes, if the lease is still good. In any case gives the lease back
    /// and rings the bell. Returns the seal.
    pub(crate) fn write(&self, lease: Lease, contents: &[u8]) -> Option<u64> {
        let is_good = self.memory.lease.load(SeqCst) == lease.0 && contents.len() <= CAPACITY;
        let seal = is_good.then(|| self.memory.contents.write(contents));
        self.give_back(lease);
        seal
    }

    // --- the lease ---------------------------------------------------------------------------------

    /// Takes the lease for the process with this pid, if nobody holds it or its holder has exceeded its time.
    pub(crate) fn take_lease(&self, pid: u32, now: Instant, until: Instant) -> Option<Lease> {
        let there = self.memory.lease.load(SeqCst);
        if LEASE.unpack(there)[0] > self.millis(now) {
            return None;
        }
        let lease = LEASE.pack([self.millis(until) + 1, pid.into()]);
        let taken = self.memory.lease.compare_exchange(there, lease, SeqCst, SeqCst);
        taken.ok().map(|_| Lease(lease))
    }

    /// When the lease can be taken from its holder; `None`: nobody holds it.
    pub(crate) fn leased_until(&self) -> Option<Instant> {
        let lease = self.memory.lease.load(SeqCst);
        (lease != 0).then(|| self.epoch + Duration::from_millis(LEASE.unpack(lease)[0]))
    }

    /// Gives the lease back, if it is still good, and rings the bell.
    pub(crate) fn give_back(&self, lease: Lease) {
        // A lease that has expired may belong to another by now.
        let _ = self.memory.lease.compare_exchange(lease.0, 0, SeqCst, SeqCst);
        self.bell.ring();
    }

    /// Gives the lease back for a dead process. Call this before another process can get its pid.
    pub(crate) fn bury(&self, pid: u32) {
        let lease = self.memory.lease.load(SeqCst);
        if LEASE.unpack(lease)[1] == u64::from(pid) {
            self.give_back(Lease(lease));
        }
    }

    fn millis(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.epoch).as_millis() as u64
    }
}

/// The bell, to be watched edge-triggered.
impl AsRawFd for Snapshot {
    fn as_raw_fd(&self) -> RawFd {
        self.bell.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::Relaxed;

    const LONG: Duration = Duration::from_secs(10);

    fn snapshot() -> (Snapshot, Instant) {
        let now = Instant::now();
        (Snapshot::new(now).expect("memory can be mapped"), now)
    }

    fn lease(snapshot: &Snapshot, now: Instant) -> Lease {
        snapshot.take_lease(1, now, now + LONG).expect("nobody has it")
    }

    #[test]
    fn what_is_written_is_read_under_its_seal() {
        let (snapshot, now) = snapshot();
        assert_eq!((snapshot.seal(), snapshot.read()), (None, None));
        let first = snapshot.write(lease(&snapshot, now), b"contents").expect("the lease is good");
        assert_eq!((snapshot.seal(), snapshot.read().as_deref()), (Some(first), Some(&b"contents"[..])));
        let second = snapshot.write(lease(&snapshot, now), b"other").expect("it was given back");
        assert_ne!(first, second);
        assert_eq!(snapshot.read().as_deref(), Some(&b"other"[..]));
    }

    #[test]
    fn what_is_too_long_is_not_written() {
        let (snapshot, now) = snapshot();
        assert!(snapshot.write(lease(&snapshot, now), &vec![1; CAPACITY]).is_some());
        assert_eq!(snapshot.write(lease(&snapshot, now), &vec![2; CAPACITY + 1]), None);
        assert!(snapshot.read().is_some_and(|contents| contents == [1; CAPACITY]), "nothing has changed");
    }

    #[test]
    fn one_at_a_time_has_the_lease() {
        let (snapshot, now) = snapshot();
        assert_eq!(snapshot.leased_until(), None);
        let first = lease(&snapshot, now);
        assert!(snapshot.take_lease(2, now, now + LONG).is_none());
        assert!(snapshot.take_lease(1, now, now + LONG).is_none(), "not even the holder has it twice");
        let until = snapshot.leased_until().expect("somebody has it");
        assert!(until >= now + LONG && until < now + LONG + Duration::from_millis(2));
        snapshot.give_back(first);
        assert!(snapshot.take_lease(2, now, now + LONG).is_some());
    }

    #[test]
    fn who_has_it_for_too_long_loses_it_and_writes_nothing_any_more() {
        let (snapshot, now) = snapshot();
        let late = lease(&snapshot, now);
        let until = snapshot.leased_until().expect("somebody has it");
        assert!(snapshot.take_lease(2, until - Duration::from_millis(1), now + LONG).is_none());
        let second = snapshot.take_lease(2, until, until + LONG).expect("its time is over");
        assert_eq!(snapshot.write(late, b"late"), None);
        assert!(snapshot.take_lease(3, until, until + LONG).is_none(), "the second one has it still");
        assert!(snapshot.write(second, b"second").is_some());
        assert_eq!(snapshot.read().as_deref(), Some(&b"second"[..]));
    }

    #[test]
    fn who_is_late_but_not_replaced_may_write() {
        let (snapshot, now) = snapshot();
        let late = snapshot.take_lease(1, now, now).expect("nobody has it");
        assert!(snapshot.write(late, b"late").is_some());
    }

    #[test]
    fn the_dead_lose_it_and_nobody_else() {
        let (snapshot, now) = snapshot();
        let _lost = snapshot.take_lease(4_194_303, now, now + LONG).expect("nobody has it");
        snapshot.bury(4_194_302);
        assert!(snapshot.leased_until().is_some());
        snapshot.bury(4_194_303);
        assert_eq!(snapshot.leased_until(), None);
    }

    #[test]
    fn each_ring_is_heard_by_all_who_watch() {
        use mio::{Events, Interest, Poll, Token, unix::SourceFd};
        let (snapshot, now) = snapshot();
        let mut watchers = [(); 2].map(|()| {
            let poll = Poll::new().expect("there are descriptors");
            let source = snapshot.as_raw_fd();
            poll.registry().register(&mut SourceFd(&source), Token(0), Interest::READABLE).expect("it can be watched");
            (poll, Events::with_capacity(1))
        });
        for _ in 0..3 {
            snapshot.give_back(lease(&snapshot, now));
            for (poll, events) in &mut watchers {
                poll.poll(events, Some(LONG)).expect("it can be waited for");
                assert!(!events.is_empty(), "a bell was not heard");
                poll.poll(events, Some(Duration::ZERO)).expect("it can be waited for");
                assert!(events.is_empty(), "one ring was heard twice");
            }
        }
    }

    #[test]
    fn what_many_write_and_read_at_once_is_never_mixed() {
        let (snapshot, now) = snapshot();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for name in 1..=2u8 {
                let (snapshot, over) = (&snapshot, &over);
                scope.spawn(move || {
                    let mut length = 0;
                    while !over.load(Relaxed) {
                        length = (length + 77) % 5000;
                        // Each takes it from the other, as if that had hung.
                        let far = now + LONG * 1000;
                        if let Some(lease) = snapshot.take_lease(name.into(), far, now) {
                            snapshot.write(lease, &vec![name; length]);
                        }
                    }
                });
            }
            let mut seen = 0;
            let deadline = Instant::now() + LONG;
            while seen < 2000 && Instant::now() < deadline {
                if let Some(contents) = snapshot.read() {
                    seen += 1;
                    assert!(contents.iter().all(|&byte| byte == contents[0]), "{contents:?}");
                }
            }
            over.store(true, Relaxed);
            assert!(seen > 100, "only {seen} were read");
        });
    }
}
