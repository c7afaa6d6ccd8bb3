//! `ntp://HOST[:PORT]`: a time server has the time (RFC 5905).

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::support::noted;
use super::support::target::{Target, authority};
use super::support::thresholds::{self, Good};
use super::support::timed::{self, Timed};
use super::{Action, Kind, Opt, Options, Runs, Value, since};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::duration;
use crate::model::perfdata::Perfdata;
use crate::model::transcript::{Field, note};
use crate::os::clock;
use crate::os::descriptors::Ready;

pub(super) const KIND: Kind = Kind {
    scheme: "ntp",
    port: Some(PORT),
    options: &[
        Opt::new("offset", Value::Time, "Its time may be so far from ours").or("500ms"),
        Opt::new("warn_offset", Value::Time, "If its time is farther from ours than this, it warns"),
    ],
    runs: Runs::OnThread,
    controls: Control::NETWORK,
    title: "ntp://{target} has the time",
    passes: "a time server says that its clock is set, and its time is ours",
    notices: &["refused", "black_hole", "rubbish", "starved: and a clock that is an hour off"],
    examples: &["ntp://localhost#offset=100ms"],
    build,
};

const PORT: u16 = 123;

/// How often a server is asked, since packets may be lost.
const TRIES: u32 = 3;

/// No client takes the time of a server that may be farther from the truth than that (chrony's `maxdistance`).
const MOST_DISTANCE: Duration = Duration::from_secs(3);

struct NtpProbe {
    server: Target,
    offset: Duration,
    warn_offset: Option<Duration>,
}

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let server = authority(target);
    let probe = NtpProbe {
        server: Target::parse(server, Some(PORT))
            .filter(|_| !server.contains('@'))
            .ok_or("the target is not HOST[:PORT], as in ntp://ntp.example")?,
        offset: options.parse_or("offset", "500ms", duration::parse_some)?,
        warn_offset: options.parse("warn_offset", duration::parse_some)?,
    };
    let hard = Some((&probe.offset, duration::spoken(probe.offset)));
    thresholds::verify(Good::Below, "offset", hard, probe.warn_offset.as_ref())?;
    Ok(Box::new(move |deadline| probe.run(deadline)))
}

impl NtpProbe {
    fn run(&self, deadline: Deadline) -> Finding {
        let began = Instant::now();
        let told = |why| format!("expected {} to have the time: {why} ({})", self.server, since(began));
        let answer = match self.ask(timed::before(deadline)) {
            Ok(answer) => answer,
            Err(reason) => return Finding::from(Err(reason.told(told))),
        };
        let ours = OurClock::now();
        let verdict = answer.verdict().and_then(|()| answer.gap.within(self.offset, ours));
        let finding =
            Finding { perfdata: answer.perfdata(), ..Finding::from(verdict.map_err(|reason| reason.told(told))) };
        thresholds::judged(finding, || match self.warn_offset.map(|most| answer.gap.within(most, ours)) {
            None | Some(Ok(())) => Ok(()),
            // Whoever is to blame: it is the milder one.
            Some(Err(reason)) => Err(Reason::Fail(match reason.told(told) {
                Reason::Fail(why) | Reason::Error(why) | Reason::Skip(why) | Reason::Warn(why) => why,
            })),
        })
    }

    /// Asks at each address until one answers. The reason says why none does, and no more.
    fn ask(&self, deadline: Deadline) -> Result<NtpAnswer> {
        let addresses = self.server.addresses()?;
        let mut failures = Vec::new();
        for (tried, address) in addresses.iter().enumerate() {
            let share = deadline.remaining(Instant::now()) / (addresses.len() - tried) as u32;
            note(Field::Address, address);
            match ask_at(*address, Deadline::at(Instant::now() + share)) {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    noted::error(&error);
                    failures.push((*address, error));
                }
            }
        }
        Err(timed::unanswered(&failures))
    }
}

/// Asks several times, and takes the first answer to any of the questions.
fn ask_at(server: SocketAddr, deadline: Deadline) -> io::Result<NtpAnswer> {
    let local: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((local, 0))?;
    socket.connect(server)?;
    let mut questions: Vec<Question> = Vec::new();
    let mut has_strayed = false;
    for tried in 0..TRIES {
        let question = Question::new();
        let again = Deadline::at(Instant::now() + deadline.remaining(Instant::now()) / (TRIES - tried));
        Timed::new(&socket, again)?.retry(Ready::ToWrite, |socket| socket.send(&question.bytes()))?;
        questions.push(question);
        // With room for a datagram that is longer than it may be.
        let mut buffer = [0; 1024];
        loop {
            match Timed::new(&socket, again)?.retry(Ready::ToRead, |socket| socket.recv(&mut buffer)) {
                Ok(length) => match questions.iter().find_map(|question| question.answered(&buffer[..length])) {
                    Some(answer) => return Ok(answer),
                    None => has_strayed = true,
                },
                Err(error) if error.kind() == io::ErrorKind::TimedOut => break,
                Err(error) => return Err(error),
            }
        }
    }
    Err(match has_strayed {
        true => io::Error::new(io::ErrorKind::InvalidData, "what it says is not an answer to what it was asked"),
        false => io::ErrorKind::TimedOut.into(),
    })
}

/// A packet of a client, and when it was sent.
struct Question {
    /// Stands where our time would, which is nobody's business: the answer has to repeat it.
    nonce: u64,
    clock: Timestamp,
    sent: Instant,
}

impl Question {
    fn new() -> Question {
        let nonce = RandomState::new().hash_one(());
        Question { nonce, clock: Timestamp::of(SystemTime::now()), sent: Instant::now() }
    }

    /// Version 4, mode 3 (client), and nothing else but the transmit timestamp.
    fn bytes(&self) -> [u8; 48] {
        let mut packet = [0; 48];
        packet[0] = 4 << 3 | 3;
        packet[40..].copy_from_slice(&self.nonce.to_be_bytes());
        packet
    }

    /// What a datagram that has just come says, if it answers this. Behind the 48 bytes there may be extensions.
    fn answered(&self, packet: &[u8]) -> Option<NtpAnswer> {
        let passed = Timestamp::between(self.sent.elapsed());
        let (header, _) = packet.split_first_chunk::<48>()?;
        let four = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
        let eight =
            |at: usize| u64::from(u32::from_be_bytes(four(at))) << 32 | u64::from(u32::from_be_bytes(four(at + 4)));
        // The short format has 16 bits of seconds and as many of their fraction.
        let short = |at: usize| Duration::from_secs_f64(f64::from(u32::from_be_bytes(four(at))) / 65_536.0);
        let is_of_a_server = header[0] & 7 == 4 && (1..=4).contains(&(header[0] >> 3 & 7));
        let (received, transmitted) = (Timestamp(eight(32)), Timestamp(eight(40)));
        (eight(24) == self.nonce && is_of_a_server).then(|| NtpAnswer {
            leap: header[0] >> 6,
            stratum: header[1],
            distance: short(4) / 2 + short(8),
            reference: four(12),
            is_stamped: received.0 != 0 && transmitted.0 != 0,
            gap: Gap::new(self.clock, received, transmitted, Timestamp(self.clock.0.wrapping_add(passed.0))),
        })
    }
}

/// Seconds since 1900 modulo 2³², and 32 bits of their fraction.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Timestamp(u64);

impl Timestamp {
    /// From 1900 to 1970.
    const UNIX: u64 = 2_208_988_800;

    fn of(time: SystemTime) -> Timestamp {
        let since = Timestamp::between(time.duration_since(UNIX_EPOCH).unwrap_or_default());
        Timestamp(since.0.wrapping_add(Timestamp::UNIX << 32))
    }

    fn between(time: Duration) -> Timestamp {
        Timestamp((time.as_secs() << 32) | ((u64::from(time.subsec_nanos()) << 32) / 1_000_000_000))
    }

    /// How many seconds this is after another, which is within 68 years of it: an era may end between them.
    fn after(self, other: Timestamp) -> f64 {
        self.0.wrapping_sub(other.0).cast_signed() as f64 / 2_f64.powi(32)
    }
}

/// What a server says.
#[derive(Debug)]
struct NtpAnswer {
    /// 3: its clock is not set.
    leap: u8,
    stratum: u8,
    /// How far it may be from the truth, by its own account.
    distance: Duration,
    /// With stratum 0, four letters that say what is the matter (a "kiss code").
    reference: [u8; 4],
    is_stamped: bool,
    gap: Gap,
}

impl NtpAnswer {
    /// What its own account comes to.
    fn verdict(&self) -> Result {
        let code = str::from_utf8(&self.reference).unwrap_or_default().trim_end_matches('\0');
        match (self.stratum, self.leap) {
            (0, _) if !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_graphic()) => match code {
                // It may have the time: it is we who may not ask, or not so often.
                "DENY" | "RSTR" | "RATE" => Err(Reason::Error(format!("it does not tell us: it answers {code}"))),
                _ => Err(Reason::Fail(format!("it does not have it: it answers {code}"))),
            },
            (0 | 16.., _) | (_, 3) => Err(Reason::Fail("it says that its clock is not set".to_owned())),
            _ if !self.is_stamped => Err(Reason::Fail("there is no time in its answer".to_owned())),
            _ if self.distance > MOST_DISTANCE => {
                let distance = duration::spoken(self.distance);
                Err(Reason::Fail(format!("it says that it may be {distance} from the truth, and no client takes that")))
            }
            _ => Ok(()),
        }
    }

    fn perfdata(&self) -> Vec<Perfdata> {
        vec![
            Perfdata::new("offset", self.gap.offset, "s"),
            Perfdata::new("doubt", self.gap.doubt, "s"),
            Perfdata::new("stratum", f64::from(self.stratum), ""),
        ]
    }
}

/// What vouches for the clock of this host.
#[derive(Clone, Copy, Debug, PartialEq)]
enum OurClock {
    Set,
    NotSet,
    Unknown,
}

impl OurClock {
    fn now() -> OurClock {
        match clock::is_synchronised() {
            Some(true) => OurClock::Set,
            Some(false) => OurClock::NotSet,
            None => OurClock::Unknown,
        }
    }
}

/// How far a server's time is from ours, in seconds: `offset`, give or take `doubt`, as nobody knows which way took how long.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Gap {
    offset: f64,
    doubt: f64,
}

impl Gap {
    /// By our clock, it was asked and has answered; by its own, it received that and answered (RFC 5905, section 8).
    fn new(asked: Timestamp, received: Timestamp, transmitted: Timestamp, answered: Timestamp) -> Gap {
        let (forth, back) = (received.after(asked), transmitted.after(answered));
        Gap { offset: (forth + back) / 2.0, doubt: (forth - back).abs() / 2.0 }
    }

    /// Its time may be so far from ours. If it is farther, one of the two is wrong: it is, where somebody vouches for ours.
    fn within(self, most: Duration, ours: OurClock) -> Result {
        let (offset, limit) = (self.offset.abs(), most.as_secs_f64());
        if offset + self.doubt <= limit {
            return Ok(());
        }
        let shown = |seconds: f64| duration::spoken(Duration::from_secs_f64(seconds));
        let side = if self.offset < 0.0 { "behind" } else { "ahead of" };
        let (offset_shown, doubt, most) = (shown(offset), shown(self.doubt), duration::spoken(most));
        let why = format!("its time is {offset_shown} {side} ours, give or take {doubt}, and may be {most}");
        Err(match ours {
            _ if offset - self.doubt <= limit => Reason::Error(format!("{why}: its answer took too long to tell")),
            OurClock::Set => Reason::Fail(why),
            OurClock::NotSet => Reason::Error(format!("{why}: it may be ours that is wrong, which nobody has set")),
            OurClock::Unknown => {
                Reason::Error(format!("{why}: it may be ours that is wrong, as the kernel does not say who sets it"))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Status;
    use proptest::prelude::*;
    use std::thread;

    /// What a check finds at a server that answers each packet with this.
    fn find(pairs: &[(&str, &str)], limit: Duration, answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> Finding {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = server.local_addr().expect("it is bound");
        let action = build(&format!("//{address}"), &mut Options::of(pairs)).expect("it is well formed");
        let (end, ended) = std::sync::mpsc::channel();
        let served = thread::spawn(move || {
            let mut buffer = [0; 1024];
            server.set_read_timeout(Some(Duration::from_millis(10))).expect("it is not zero");
            while ended.try_recv().is_err() {
                if let Ok((length, client)) = server.recv_from(&mut buffer) {
                    let _ = server.send_to(&answer(&buffer[..length]), client);
                }
            }
        });
        let found = action(Deadline::at(Instant::now() + limit));
        let _ = end.send(());
        served.join().expect("the server does not panic");
        found
    }

    const LONG: Duration = Duration::from_secs(20);

    /// The answer of a good server whose time is ours and so many seconds.
    fn good(asked: &[u8], ahead: i64) -> Vec<u8> {
        let now = Timestamp::of(SystemTime::now()).0.wrapping_add((ahead << 32).cast_unsigned()).to_be_bytes();
        let mut answer = vec![4 << 3 | 4, 2, 6, 0xe9, 0, 0, 1, 0, 0, 0, 1, 0, 127, 0, 0, 1];
        for stamp in [&now[..], &asked[40..48], &now, &now] {
            answer.extend(stamp);
        }
        answer
    }

    fn changed(change: impl Fn(&mut Vec<u8>) + Send + 'static) -> impl Fn(&[u8]) -> Vec<u8> + Send + 'static {
        move |asked| {
            let mut answer = good(asked, 0);
            change(&mut answer);
            answer
        }
    }

    #[test]
    fn the_time_of_a_good_server_is_ours() {
        let found = find(&[("offset", "10s"), ("warn_offset", "9s")], LONG, changed(|_| ()));
        assert_eq!((found.status, found.context), (Status::Pass, None));
        assert_eq!(
            found.perfdata.iter().map(|figure| &figure.label).collect::<Vec<_>>(),
            ["offset", "doubt", "stratum"]
        );
        let found = find(&[("offset", "1h"), ("warn_offset", "1m")], LONG, |asked| good(asked, -600));
        assert_eq!(found.status, Status::Warn, "{found:?}");
        let found = find(&[], LONG, |asked| good(asked, 3600));
        assert!(found.status.is_bad() && found.context.is_some_and(|why| why.contains("ahead of ours")));
    }

    #[test]
    fn a_server_that_does_not_have_the_time_or_does_not_tell_us_says_so() {
        for (change, status, why) in [
            ((|packet| packet[0] |= 0xc0) as fn(&mut Vec<u8>), Status::Fail, "its clock is not set"),
            (|packet| packet[1] = 16, Status::Fail, "its clock is not set"),
            (|packet| packet[1..16].fill(0), Status::Fail, "its clock is not set"),
            (|packet| (packet[1], _) = (0, packet[12..16].copy_from_slice(b"INIT")), Status::Fail, "answers INIT"),
            (|packet| (packet[1], _) = (0, packet[12..16].copy_from_slice(b"RATE")), Status::Error, "answers RATE"),
            (|packet| (packet[1], _) = (0, packet[12..16].copy_from_slice(b"DENY")), Status::Error, "answers DENY"),
            (|packet| packet[40..48].fill(0), Status::Fail, "no time in its answer"),
            (|packet| packet[9] = 4, Status::Fail, "it may be 4s 5ms from the truth"),
        ] {
            let found = find(&[], LONG, changed(change));
            assert_eq!(found.status, status, "{why}: {found:?}");
            assert!(found.context.as_ref().is_some_and(|text| text.contains(why)), "{why}: {found:?}");
        }
    }

    #[test]
    fn what_does_not_answer_the_question_is_not_an_answer() {
        const SHORT: Duration = Duration::from_secs(2);
        let strays: [fn(&mut Vec<u8>); 5] = [
            |packet| packet.truncate(47),
            |packet| packet[30] ^= 1,
            |packet| packet[0] = 4 << 3 | 5,
            |packet| packet[0] = 4,
            |packet| *packet = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        ];
        let found: Vec<_> = strays.map(|stray| thread::spawn(move || find(&[], SHORT, changed(stray)))).into();
        for found in found.into_iter().map(|found| found.join().expect("it does not panic")) {
            assert!(found.status == Status::Fail && found.context.is_some_and(|why| why.contains("is not an answer")));
        }
    }

    #[test]
    fn who_is_wrong_depends_on_who_vouches_for_our_clock() {
        let gap = |offset, doubt| Gap { offset, doubt };
        let most = Duration::from_millis(500);
        for ours in [OurClock::Set, OurClock::NotSet, OurClock::Unknown] {
            assert_eq!(gap(0.3, 0.2).within(most, ours), Ok(()));
            assert_eq!(gap(-0.3, 0.1).within(most, ours), Ok(()));
            for unclear in [gap(0.3, 0.3), gap(-0.6, 0.2), gap(100.0, 200.0)] {
                assert!(
                    matches!(unclear.within(most, ours), Err(Reason::Error(why)) if why.contains("too long to tell"))
                );
            }
        }
        let far = gap(-2.5, 0.1);
        let told = "its time is 2s 500ms behind ours, give or take 100ms, and may be 500ms";
        assert_eq!(far.within(most, OurClock::Set), Err(Reason::Fail(told.to_owned())));
        for ours in [OurClock::NotSet, OurClock::Unknown] {
            assert!(matches!(far.within(most, ours), Err(Reason::Error(why)) if why.starts_with(told)));
        }
    }

    #[test]
    fn times_are_compared_across_the_end_of_an_era() {
        let (before, after) = (Timestamp(u64::MAX - (5 << 32)), Timestamp(5 << 32));
        assert!((after.after(before) - 10.0).abs() < 0.001 && (before.after(after) + 10.0).abs() < 0.001);
        assert_eq!(Timestamp::of(UNIX_EPOCH).0 >> 32, 2_208_988_800);
        // RFC 5905, figure 4: the last day of era 0, and the first of era 1.
        assert_eq!(Timestamp::of(UNIX_EPOCH + Duration::from_secs(2_085_978_496)).0 >> 32, 0);
        let gap = Gap::new(before, after, after, Timestamp(before.0.wrapping_add(2 << 32)));
        assert!((gap.offset - 9.0).abs() < 0.001 && (gap.doubt - 1.0).abs() < 0.001, "{gap:?}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (target, pairs, why) in [
            ("//", &[][..], "the target is not HOST[:PORT]"),
            ("//anna@ntp", &[], "the target is not HOST[:PORT]"),
            ("//ntp:x", &[], "the target is not HOST[:PORT]"),
            ("//ntp", &[("offset", "0")], "option offset: it has to be longer than 0"),
            ("//ntp", &[("offset", "near")], "option offset: "),
            ("//ntp", &[("warn_offset", "1s")], "option warn_offset: it has to be less than offset=500ms"),
        ] {
            let error = build(target, &mut Options::of(pairs)).err().unwrap_or_default();
            assert!(error.starts_with(why), "{target}: {error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn a_damaged_answer_never_passes_with_another_time(at in 0..48_usize, byte: u8) {
            let question = Question::new();
            let mut packet = good(&question.bytes(), 0);
            packet[at] = byte;
            let limit = Duration::from_secs(60);
            let answer = question.answered(&packet);
            let passes = answer.is_some_and(|it| it.verdict().and_then(|()| it.gap.within(limit, OurClock::Set)).is_ok());
            let stamp = |at: usize| Timestamp(u64::from_be_bytes(packet[at..at + 8].try_into().expect("eight bytes")));
            let is_near = |time: Timestamp| time.after(question.clock).abs() < 200.0;
            let is_well = packet[0] & 7 == 4
                && packet[0] >> 6 != 3
                && (1..16).contains(&packet[1])
                && packet[24..32] == question.bytes()[40..]
                && is_near(stamp(32))
                && is_near(stamp(40));
            prop_assert!(!passes || is_well, "{packet:?}");
        }
    }
}
