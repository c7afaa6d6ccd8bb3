//! `ping:HOST`: an ICMP echo (RFC 792, RFC 4443) returns.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::support::noted;
use super::support::target::{Target, authority};
use super::support::thresholds::{self, Good};
use super::support::timed::{self, Timed, is_ours, spoken};
use super::{Action, Kind, Opt, Options, Runs, Value, default_deadline, since};
use crate::model::amount;
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::perfdata::Perfdata;
use crate::model::transcript::{Field, note};

pub(super) const KIND: Kind = Kind {
    scheme: "ping",
    port: None,
    options: &[
        Opt::new("count", Value::Number, "How many requests are sent").or("1"),
        Opt::new("loss", Value::Share, "So many of them may be lost").or("0%"),
        Opt::new("warn_loss", Value::Share, "If more are lost than this, it warns"),
    ],
    runs: Runs::OnThread,
    controls: Control::NETWORK,
    title: "{target} answers a ping",
    passes: "an echo returns",
    notices: &["refused", "black_hole", "starved"],
    examples: &["ping:localhost#count=3&loss=40%"],
    build,
};

/// How many echoes to send, and what percentage of them may be lost.
struct Terms {
    count: u16,
    loss: f64,
}

/// The figure of how many were lost.
const LOST: &str = "pl";

const ONE: Terms = Terms { count: 1, loss: 0.0 };

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let host = parse(target)?;
    let count = options.parse_or("count", "1", |text| match text.parse() {
        Ok(count @ 1..=100) => Ok(count),
        _ => Err("write a number from 1 to 100"),
    })?;
    let percentage = |text: &str| match amount::percentage(text)? {
        // With none left, nobody has answered.
        100.0 => Err("write less than 100%".to_owned()),
        loss => Ok(loss),
    };
    let loss = options.parse_or("loss", "0%", percentage)?;
    let warn_loss = options.parse("warn_loss", percentage)?;
    thresholds::verify(Good::Below, "loss", Some((&loss, format!("{loss}%"))), warn_loss.as_ref())?;
    let terms = Terms { count, loss };
    Ok(Box::new(move |deadline| match ping(&host, &terms, deadline) {
        Ok(perfdata) => {
            let lost = perfdata.iter().find(|figure| figure.label == LOST).map_or(0.0, |figure| figure.value);
            let finding = Finding { perfdata, ..Finding::PASS };
            thresholds::judged(finding, || match warn_loss {
                Some(most) if lost > most => Err(Reason::Fail(format!(
                    "expected {} to lose at most {most}% of {} pings, it lost {}%",
                    host.shown(),
                    terms.count,
                    tenths(lost)
                ))),
                Some(_) | None => Ok(()),
            })
        }
        Err(reason) => Finding::from(Err::<(), _>(reason)),
    }))
}

fn parse(target: &str) -> std::result::Result<Target, String> {
    let host = authority(target);
    match Target::parse(host, Some(0)) {
        Some(endpoint) if endpoint.port == 0 => Ok(endpoint),
        _ => Err("the target is not HOST, as in ping:db".to_owned()),
    }
}

/// Asserts that a host answers one ICMP echo within 5 s.
///
/// # Errors
///
/// `Fail` when it does not, `Error` when its name cannot be looked up or we may not send pings.
#[must_use = "the finding is in the result: return it, or write `?` behind it"]
pub fn assert_ping(host: &str) -> Result {
    ping(&parse(host).map_err(Reason::Error)?, &ONE, default_deadline()).map(drop)
}

/// Pings the addresses of a host until one of them answers as it should.
fn ping(host: &Target, terms: &Terms, deadline: Deadline) -> Result<Vec<Perfdata>> {
    let (began, deadline) = (Instant::now(), timed::before(deadline));
    let addresses = host.addresses()?;
    let mut failures = Vec::new();
    let mut ours = true;
    for (tried, address) in addresses.iter().enumerate() {
        let share = deadline.remaining(Instant::now()) / (addresses.len() - tried) as u32;
        note(Field::Address, address.ip());
        if let Err(error) = noted::route_to(*address) {
            noted::error(&error);
            failures.push(format!("{}: this host has no route to it: {error}", address.ip()));
            continue;
        }
        let mut pinger = match Pinger::open(*address) {
            Ok(pinger) => pinger,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(Reason::Error(format!(
                    "may not ping {address}: give hospital CAP_NET_RAW, or its group net.ipv4.ping_group_range",
                    address = address.ip()
                )));
            }
            Err(error) => {
                noted::error(&error);
                ours &= is_ours(&error);
                failures.push(format!("{}: {error}", address.ip()));
                continue;
            }
        };
        match pinger.run(terms, Instant::now() + share) {
            Ok(perfdata) => return Ok(perfdata),
            Err(Lost { why, is_ours }) => {
                ours &= is_ours;
                failures.push(format!("{}: {why}", address.ip()));
            }
        }
    }
    let what = match terms.count {
        1 => "a ping".to_owned(),
        count => format!("{count} pings with at most {}% lost", terms.loss),
    };
    let text = format!("expected {} to answer {what}: {} ({})", host.shown(), failures.join(", "), since(began));
    // What could not be sent is not the fault of who did not get it.
    Err(if ours { Reason::Error(text) } else { Reason::Fail(text) })
}

/// More is lost than may be.
struct Lost {
    why: String,
    /// Whether it was never sent.
    is_ours: bool,
}

/// A socket for exchanging echoes with one address.
struct Pinger {
    socket: Socket,
    ip: IpAddr,
    /// A raw socket also receives the IP header, and the echoes of other processes.
    raw: bool,
    /// Distinguishes our echoes from those of others.
    token: [u8; 8],
}

impl Pinger {
    fn open(address: SocketAddr) -> io::Result<Pinger> {
        let ip = address.ip();
        let (domain, protocol) = match ip {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        // The kernel allows the first to the groups in net.ipv4.ping_group_range, for both families.
        let (socket, raw) = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
            Ok(socket) => (socket, false),
            Err(_) => (Socket::new(domain, Type::RAW, Some(protocol))?, true),
        };
        socket.connect(&address.into())?;
        Ok(Pinger { socket, ip, raw, token: RandomState::new().hash_one(address).to_ne_bytes() })
    }

    /// Sends the echoes one after the other.
    fn run(&mut self, terms: &Terms, until: Instant) -> std::result::Result<Vec<Perfdata>, Lost> {
        let mut times = Vec::new();
        let mut trouble = None;
        for sequence in 1..=terms.count {
            let left = until.saturating_duration_since(Instant::now());
            let share = left / u32::from(terms.count - sequence + 1);
            match self.echo(sequence, Deadline::at(Instant::now() + share)) {
                Ok(time) => times.push(time),
                Err(error) => trouble = Some(error),
            }
        }
        let count = f64::from(terms.count);
        let lost = 100.0 * (count - times.len() as f64) / count;
        if let Some(error) = trouble.filter(|_| lost > terms.loss) {
            let why = match terms.count {
                1 => spoken(&error),
                count => format!(
                    "{} of {count} lost ({}%), {}",
                    usize::from(count) - times.len(),
                    tenths(lost),
                    spoken(&error)
                ),
            };
            return Err(Lost { why, is_ours: times.is_empty() && is_ours(&error) });
        }
        let mean = times.iter().sum::<Duration>().as_secs_f64() / times.len() as f64;
        Ok(vec![Perfdata::new("rta", mean, "s"), Perfdata::new(LOST, lost, "%")])
    }

    fn echo(&mut self, sequence: u16, until: Deadline) -> io::Result<Duration> {
        let began = Instant::now();
        self.socket.send(&request(self.ip, sequence, self.token)).inspect_err(noted::error)?;
        let mut replies = Timed::new(&self.socket, until)?;
        let mut buffer = [0; 512];
        loop {
            let count = replies.read(&mut buffer)?;
            if is_reply(&buffer[..count], self.ip, self.raw, sequence, self.token) {
                return Ok(began.elapsed());
            }
        }
    }
}

/// A percentage, so exact that 33.3 is not shown as the 33 that would be allowed.
fn tenths(percentage: f64) -> f64 {
    (percentage * 10.0).round() / 10.0
}

/// An echo request: type, code, checksum, identifier, sequence number, and the token as its data.
fn request(ip: IpAddr, sequence: u16, token: [u8; 8]) -> [u8; 16] {
    let mut packet = [0; 16];
    packet[0] = if ip.is_ipv4() { 8 } else { 128 };
    // The kernel inserts the identifier of an unprivileged socket, and delivers only its own replies to it.
    packet[4..6].copy_from_slice(&token[..2]);
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    packet[8..].copy_from_slice(&token);
    if ip.is_ipv4() {
        // For IPv6 the kernel does it, because the checksum covers the addresses as well.
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xFFFF) + (sum >> 16);
    !((folded + (folded >> 16)) as u16)
}

fn is_reply(bytes: &[u8], ip: IpAddr, raw: bool, sequence: u16, token: [u8; 8]) -> bool {
    let header = match bytes.first() {
        Some(first) if raw && ip.is_ipv4() => usize::from(first & 0xF) * 4,
        _ => 0,
    };
    let Some(message) = bytes.get(header..).filter(|message| message.len() >= 16) else { return false };
    let kind = if ip.is_ipv4() { 0 } else { 129 };
    message[0] == kind && message[6..8] == sequence.to_be_bytes() && message[8..16] == token
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Status;

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const TOKEN: [u8; 8] = *b"hospital";

    #[test]
    fn the_sum_over_a_packet_with_its_checksum_is_zero() {
        assert_eq!(checksum(&request(V4, 7, TOKEN)), 0);
    }

    #[test]
    fn only_our_own_reply_counts() {
        let mut reply = request(V4, 7, TOKEN);
        assert!(!is_reply(&reply, V4, false, 7, TOKEN), "a request is not a reply");
        reply[0] = 0;
        assert!(is_reply(&reply, V4, false, 7, TOKEN));
        assert!(!is_reply(&reply, V4, false, 8, TOKEN), "another one of ours");
        assert!(!is_reply(&reply, V4, false, 7, *b"somebody"), "somebody else's");
        let with_header = [&[0x45][..], &[0; 19], &reply].concat();
        assert!(is_reply(&with_header, V4, true, 7, TOKEN));
        assert!(!is_reply(&with_header[..30], V4, true, 7, TOKEN), "a part of it");
        assert!(!is_reply(&[], V4, true, 7, TOKEN));
    }

    #[test]
    fn an_unknown_host_is_an_error() {
        let found = assert_ping("no-such-host.invalid");
        assert!(matches!(&found, Err(Reason::Error(text)) if text.contains("no-such-host.invalid")), "{found:?}");
    }

    #[test]
    fn a_third_is_not_shown_as_the_33_percent_that_are_allowed() {
        assert_eq!(tenths(100.0 / 3.0), 33.3);
        assert_eq!(tenths(50.0), 50.0);
    }

    #[test]
    fn wrong_options_are_named() {
        for (name, value, expected) in [
            ("count", "0", "option count: write a number from 1 to 100"),
            ("loss", "100%", "option loss: write less than 100%"),
            ("loss", "x", "option loss: write a percentage from 0% to 100%"),
        ] {
            let error = build("db", &mut Options::of(&[(name, value)])).err();
            assert_eq!(error.as_deref(), Some(expected));
        }
        assert!(build("db:80", &mut Options::default()).is_err(), "a ping has no port");
    }

    #[test]
    #[ignore = "needs root"]
    fn the_loopback_answers_on_both_families() {
        for host in ["127.0.0.1", "::1", "[::1]", "localhost"] {
            assert_eq!(assert_ping(host), Ok(()), "{host}");
        }
        let found = build("127.0.0.1", &mut Options::of(&[("count", "3"), ("loss", "20%")])).expect("it is good")(
            default_deadline(),
        );
        assert_eq!((found.status, found.perfdata.len()), (Status::Pass, 2));
    }
}
