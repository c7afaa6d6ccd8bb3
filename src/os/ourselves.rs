//! How we are, as the kernel sees it: descriptors, load, waiting for a CPU, packets that do not leave.

use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::{clock, descriptors};

/// How many descriptors we may still open.
pub(crate) fn free_descriptors() -> Option<usize> {
    let folder = "/proc/self/fd";
    // The size of the folder is their number since Linux 6.2. Listing them takes a descriptor.
    let open = match fs::metadata(folder).ok()?.len() {
        0 => fs::read_dir(folder).map_or(usize::MAX, Iterator::count),
        open => usize::try_from(open).unwrap_or(usize::MAX),
    };
    Some(descriptors::limit().saturating_sub(open))
}

/// The load average of the last minute.
pub(crate) fn load() -> Option<f64> {
    // SAFETY: all zeroes are a value of this plain struct of C, which the call fills.
    let mut info: libc::sysinfo = unsafe { std::mem::zeroed() };
    // SAFETY: it is ours for the call.
    let result = unsafe { libc::sysinfo(&raw mut info) };
    #[allow(clippy::unnecessary_cast, reason = "its type depends on the architecture")]
    (result == 0).then(|| info.loads[0] as f64 / f64::from(1 << 16))
}

/// The share of the last ten seconds, in per cent, in which some task has waited for a CPU; `None` where it is not measured.
pub(crate) fn pressure() -> Option<f64> {
    let text = fs::read_to_string("/proc/pressure/cpu").ok()?;
    text.split_ascii_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

/// For how long this thread has waited for a CPU since it began, in nanoseconds; `None` where it is not measured.
pub(crate) fn waited() -> Option<u64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// How long it takes to use a CPU for a moment, if that is far too long. What a control group holds back by its quota is not
/// waited for in the eyes of the scheduler, so [`waited`] does not tell it.
pub(crate) fn starves() -> Option<Duration> {
    const MOMENT: Duration = Duration::from_millis(2);
    const STARVED: Duration = Duration::from_millis(80);
    let used = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).ok();
    let (began, before) = (Instant::now(), used()?);
    loop {
        let took = began.elapsed();
        if took > STARVED {
            return Some(took);
        }
        if used()?.saturating_sub(before) > MOMENT {
            return None;
        }
    }
}

/// How often a packet that was to be sent again did not leave this network namespace: a filter of its own has dropped it.
pub(crate) fn lost_on_the_way_out() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/netstat").ok()?;
    counter(&text, "TcpExt:", "TCPRetransFail")
}

/// How often this network namespace has said that something cannot be reached.
pub(crate) fn rejected() -> Option<u64> {
    let v4 = counter(&fs::read_to_string("/proc/net/snmp").ok()?, "Icmp:", "OutDestUnreachs")?;
    Some(v4 + v6_counter("Icmp6OutDestUnreachs").unwrap_or_default())
}

/// How many bytes this network namespace has sent in packets of IPv4 or of IPv6 that no filter of its own has dropped, to others
/// and to itself.
pub(crate) fn sent(is_v4: bool) -> Option<u64> {
    match is_v4 {
        true => counter(&fs::read_to_string("/proc/net/netstat").ok()?, "IpExt:", "OutOctets"),
        false => v6_counter("Ip6OutOctets"),
    }
}

/// How many packets of IPv4 or of IPv6 have come to this network namespace, were sound, and were not delivered: a filter of its own
/// drops such.
pub(crate) fn dropped_on_the_way_in(is_v4: bool) -> Option<u64> {
    const OTHERWISE_GONE: [&str; 6] =
        ["InHdrErrors", "InAddrErrors", "ForwDatagrams", "InUnknownProtos", "InDiscards", "InDelivers"];
    let text = fs::read_to_string("/proc/net/snmp").ok()?;
    let count = |name: &str| match is_v4 {
        true => counter(&text, "Ip:", name),
        false => v6_counter(&format!("Ip6{name}")),
    };
    let gone = OTHERWISE_GONE.iter().filter_map(|name| count(name)).fold(0, u64::wrapping_add);
    // What was put together of parts came in more packets than it was delivered in; that is the same before and after.
    Some(count("InReceives")?.wrapping_sub(gone))
}

/// A counter of IPv6, which have a file of their own, with a line for each.
fn v6_counter(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/net/snmp6").ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// A counter in a file that has the names in one line and the values in the next.
fn counter(text: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group));
    let place = lines.next()?.split_ascii_whitespace().position(|column| column == name)?;
    lines.next()?.split_ascii_whitespace().nth(place)?.parse().ok()
}

/// How far the wall clock is from where it was, in seconds, since this was first asked in this process or one that it was
/// forked from: what was not just the passing of time.
pub(crate) fn clock_step() -> i64 {
    static BEGINNING: OnceLock<i64> = OnceLock::new();
    let now = clock::wall_at_boot();
    (now - BEGINNING.get_or_init(|| now)) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_know_how_we_are() {
        assert!(free_descriptors().is_some_and(|free| free > 0));
        assert!(load().is_some_and(|load| load >= 0.0));
        assert_eq!(clock_step(), clock_step());
    }

    #[test]
    fn a_counter_stands_below_its_name() {
        let text = "TcpExt: A TCPRetransFail B\nTcpExt: 1 7 3\nIpExt: X\nIpExt: 9\n";
        assert_eq!(counter(text, "TcpExt:", "TCPRetransFail"), Some(7));
        assert_eq!(counter(text, "IpExt:", "X"), Some(9));
        assert_eq!(counter(text, "IpExt:", "Y"), None);
    }
}
