//! `dns:NAME`: a name resolves, by the system's resolver or by a given server.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, RCODE, TYPE};

use super::support::noted;
use super::support::pattern::Pattern;
use super::support::secrets::Secrets;
use super::support::target::{Target, ascii, authority};
use super::support::timed::{self, Timed, spoken};
use super::{Action, Kind, Opt, Options, Runs, Value, default_deadline, excerpt, since, tcp};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::transcript::{Field, UNKNOWN_NAME, note};
use crate::os::descriptors::Ready;

pub(super) const KIND: Kind = Kind {
    scheme: "dns",
    port: None,
    options: &[
        Opt::new("server", Value::Text, "The name server to ask instead of the system's resolver, as in 10.0.0.1:53"),
        Opt::new(
            "type",
            Value::Word(&["A", "AAAA", "CAA", "CNAME", "MX", "NAPTR", "NS", "PTR", "SOA", "SRV", "TXT"]),
            "The type of the records",
        ),
        Opt::new(
            "match",
            Value::Pattern,
            "What one of the records has to match, as in ^10 mail; each is as dig +short prints it",
        ),
        Opt::new("tcp", Value::Flag, "The server is asked by TCP"),
        Opt::new("address", Value::Address, "An address that has to be among those found").repeatable(),
    ],
    runs: Runs::OnThread,
    controls: Control::NETWORK,
    title: "{target} resolves",
    passes: "a name resolves",
    notices: &[
        "refused: where a name server is asked",
        "black_hole: likewise",
        "rubbish: likewise",
        "gone: where none is",
        "starved",
    ],
    examples: &["dns:localhost#address=127.0.0.1"],
    build,
};

/// The types of records that can be requested.
const TYPES: [(&str, TYPE); 11] = [
    ("A", TYPE::A),
    ("AAAA", TYPE::AAAA),
    ("CAA", TYPE::CAA),
    ("CNAME", TYPE::CNAME),
    ("MX", TYPE::MX),
    ("NAPTR", TYPE::NAPTR),
    ("NS", TYPE::NS),
    ("PTR", TYPE::PTR),
    ("SOA", TYPE::SOA),
    ("SRV", TYPE::SRV),
    ("TXT", TYPE::TXT),
];

/// How often a server is asked by UDP, since packets may be lost.
const TRIES: u32 = 3;

/// A question and the expected answer.
struct Lookup {
    /// In ASCII.
    name: String,
    /// The same as it was written.
    written: String,
    server: Option<Target>,
    /// `None`: an address of either family.
    record: Option<(&'static str, TYPE)>,
    addresses: Vec<IpAddr>,
    matching: Option<Pattern>,
    tcp: bool,
}

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let server = options.parse("server", |text| {
        Target::parse(text, Some(53)).ok_or("write an address, as in 10.0.0.1, [fd00::1]:5353 or ns:53")
    })?;
    let record = options.parse("type", |text| {
        let found = TYPES.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        found.ok_or_else(|| format!("unknown type (known: {})", TYPES.map(|(name, _)| name).join(", ")))
    })?;
    let is_pointer = record.is_some_and(|(_, record)| record == TYPE::PTR);
    let name = match authority(target).parse::<IpAddr>() {
        Ok(address) if is_pointer => reverse(address),
        Ok(_) | Err(_) => parse(target)?,
    };
    let matching = options.parse("match", str::parse)?;
    let tcp = options.flag("tcp")?;
    if tcp && server.is_none() {
        return Err("tcp needs a server=: the system's resolver asks as it likes".to_owned());
    }
    let addresses = options.take_all("address");
    let addresses = addresses
        .iter()
        .flat_map(|text| text.split(','))
        .map(|text| text.parse::<IpAddr>().map_err(|_| "option address: write an IPv4 or IPv6 address".to_owned()));
    let addresses = addresses.collect::<std::result::Result<Vec<_>, _>>()?;
    match record {
        Some((kind, record)) if !matches!(record, TYPE::A | TYPE::AAAA) && server.is_none() => {
            return Err(format!("type={kind} needs a server=: the system's resolver gives addresses only"));
        }
        Some((kind, record)) if !addresses.iter().all(|address| is_of(*address, record)) => {
            return Err(format!("a record of type {kind} cannot hold the address that is expected"));
        }
        Some(_) | None => {}
    }
    let written = if target.is_ascii() { name.clone() } else { authority(target).to_owned() };
    let query = Lookup { name, written, server, record, addresses, matching, tcp };
    Ok(Box::new(move |deadline| Finding::from(query.run(deadline))))
}

/// The name that has the names of an address (RFC 1035, 3.5, and RFC 3596, 2.5).
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let digits = address.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            digits.map(|digit| format!("{digit:x}.")).collect::<String>() + "ip6.arpa"
        }
    }
}

fn parse(target: &str) -> std::result::Result<String, String> {
    let name = ascii(authority(target)).unwrap_or_default();
    let labels = name.strip_suffix('.').unwrap_or(&name);
    let is_label = |label: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(known)
    };
    match labels.len() <= 253 && labels.split('.').all(is_label) {
        true => Ok(name.into_owned()),
        false => Err("the target is not a name to resolve, as in dns:example.org".to_owned()),
    }
}

/// Asserts that the system's resolver finds an address for a name.
///
/// # Errors
///
/// `Fail` when it finds none, `Error` when the name is malformed.
#[must_use = "the finding is in the result: return it, or write `?` behind it"]
pub fn assert_dns(name: &str) -> Result {
    let name = parse(name).map_err(Reason::Error)?;
    Lookup {
        written: name.clone(),
        name,
        server: None,
        record: None,
        addresses: Vec::new(),
        matching: None,
        tcp: false,
    }
    .run(default_deadline())
}

impl Lookup {
    fn run(&self, deadline: Deadline) -> Result {
        let (began, deadline) = (Instant::now(), timed::before(deadline));
        let whom = self.server.as_ref().map_or("the system's resolver".to_owned(), Target::to_string);
        let what = self.record.map_or("an address", |(kind, _)| kind);
        let told = |why| format!("expected {whom} to find {what} of {}: {why} ({})", self.written, since(began));
        let fail = |why| Reason::Fail(told(why));
        let found = match &self.server {
            None => self.ask_system().map_err(|reason| reason.told(told))?,
            Some(server) => self.ask(server, deadline).map_err(|reason| reason.told(told))?,
        };
        if self.server.is_some() {
            found.values.iter().for_each(|value| note(Field::Resolved, value));
        }
        let missing: Vec<_> = self.addresses.iter().filter(|address| !found.addresses.contains(address)).collect();
        if !missing.is_empty() {
            let listed = |addresses: &[&IpAddr]| {
                let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
            };
            let got = listed(&found.addresses.iter().collect::<Vec<_>>());
            return Err(fail(format!("expected {} among them, got {got}", listed(&missing))));
        }
        if let (Some(pattern), 1..) = (&self.matching, found.count) {
            let mut is_there = false;
            for value in &found.values {
                is_there |= pattern
                    .is_in(value.as_bytes(), deadline)
                    .map_err(|error| Reason::Error(told(error.to_string())))?;
            }
            if !is_there {
                let values = found.values.join(", ");
                let got = excerpt(values.as_bytes(), values.len(), &Secrets::default());
                return Err(fail(format!("expected one that matches {:?}, got {got}", pattern.as_str())));
            }
        }
        match found.count {
            0 => Err(fail("it knows the name, and has no such record".to_owned())),
            _ => Ok(()),
        }
    }

    fn ask_system(&self) -> Result<Found> {
        let endpoint = Target::new(self.name.as_str(), 0).written(&self.written);
        let addresses = endpoint.addresses().map_err(|error| match error.to_string() {
            why if noted::lookup_errno(&why) == UNKNOWN_NAME => Reason::Fail(why),
            // No name server has answered, or we could not ask: nothing is known of the name.
            why => Reason::Error(why),
        })?;
        let wanted = |ip: &IpAddr| self.record.is_none_or(|(_, record)| is_of(*ip, record));
        let addresses: Vec<_> = addresses.iter().map(SocketAddr::ip).filter(wanted).collect();
        Ok(Found { count: addresses.len(), values: addresses.iter().map(IpAddr::to_string).collect(), addresses })
    }

    /// Asks at each address of the server until one knows all that is asked for. The reason says why none does, and no more.
    fn ask(&self, server: &Target, deadline: Deadline) -> Result<Found> {
        let addresses = server.addresses()?;
        let mut failures = Vec::new();
        let mut ours = true;
        for (tried, address) in addresses.iter().enumerate() {
            let share = deadline.remaining(Instant::now()) / (addresses.len() - tried) as u32;
            let why = match self.ask_at(*address, Deadline::at(Instant::now() + share)) {
                Ok(found) if self.is_content(&found) || tried + 1 == addresses.len() => return Ok(found),
                Ok(_) => continue,
                Err(Reason::Error(why)) => why,
                Err(Reason::Fail(why) | Reason::Skip(why) | Reason::Warn(why)) => {
                    ours = false;
                    why
                }
            };
            failures.push(if addresses.len() > 1 { format!("{address}: {why}") } else { why });
        }
        match failures.is_empty() {
            true => Err(Reason::Fail("it has no address".to_owned())),
            false if ours => Err(Reason::Error(failures.join(", "))),
            false => Err(Reason::Fail(failures.join(", "))),
        }
    }

    fn ask_at(&self, server: SocketAddr, deadline: Deadline) -> Result<Found> {
        let records = self.record.map_or(vec![TYPE::A, TYPE::AAAA], |(_, record)| vec![record]);
        let questions = Asked::each(&self.name, &records)?;
        if self.tcp {
            return self.ask_by_tcp(server, questions, deadline);
        }
        note(Field::Address, server);
        noted::route_to(server).map_err(|error| {
            noted::error(&error);
            Reason::Error(format!("this host has no route to {server}: {error}"))
        })?;
        let mut open = Open::new(server, questions, deadline).map_err(because)?;
        let (mut all, began) = (Found::default(), Instant::now());
        let mut failure = None;
        while !self.is_content(&all) {
            match open.next_answer() {
                Ok(None) => break,
                Ok(Some((question, bytes))) => {
                    note(Field::FirstByteMs, noted::millis(began));
                    let share = deadline.remaining(Instant::now()) / (open.questions.len() + 1) as u32;
                    match question.understand(bytes, server, Deadline::at(Instant::now() + share)) {
                        Ok(found) => all.add(found),
                        Err(reason) => failure = failure.or(Some(reason)),
                    }
                }
                Err(error) => {
                    failure = failure.or(Some(because(error)));
                    break;
                }
            }
        }
        match failure {
            Some(reason) if !self.is_content(&all) => Err(reason),
            Some(_) | None => Ok(all),
        }
    }

    fn ask_by_tcp(&self, server: SocketAddr, questions: Vec<Asked>, deadline: Deadline) -> Result<Found> {
        let mut all = Found::default();
        let mut failure = None;
        let count = questions.len();
        for (asked, question) in questions.into_iter().enumerate() {
            let share = deadline.remaining(Instant::now()) / (count - asked) as u32;
            let answer = question.by_tcp(server, Deadline::at(Instant::now() + share), |why| why);
            match answer.and_then(|bytes| question.read(&bytes).map_err(Reason::Fail)) {
                Ok(found) => all.add(found),
                Err(reason) => failure = failure.or(Some(reason)),
            }
            if self.is_content(&all) {
                return Ok(all);
            }
        }
        failure.map_or(Ok(all), Err)
    }

    /// Whether all is found that is asked for: then it does not matter what becomes of the other questions.
    fn is_content(&self, found: &Found) -> bool {
        // What no time is left for now is looked at again in the end.
        let far = Deadline::at(Instant::now() + crate::model::check::DEFAULT_TIMEOUT);
        let is_one =
            |pattern: &Pattern| found.values.iter().any(|it| pattern.is_in(it.as_bytes(), far).unwrap_or(false));
        let is_matched = self.matching.as_ref().is_none_or(is_one);
        found.count > 0 && is_matched && self.addresses.iter().all(|address| found.addresses.contains(address))
    }
}

/// The records of an answer.
#[derive(Debug, Default)]
struct Found {
    count: usize,
    /// Each record, as dig +short prints it.
    values: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Found {
    fn add(&mut self, more: Found) {
        self.count += more.count;
        self.values.extend(more.values);
        self.addresses.extend(more.addresses);
    }
}

/// The questions that a server has not answered yet. They are asked side by side, so that one which it never answers
/// does not take the time of another.
struct Open {
    questions: Vec<Asked>,
    socket: UdpSocket,
    deadline: Deadline,
    tried: u32,
    /// When they are asked again.
    again: Deadline,
    /// Whether something came that answers none of them.
    strayed: bool,
}

impl Open {
    fn new(server: SocketAddr, questions: Vec<Asked>, deadline: Deadline) -> io::Result<Open> {
        let local: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((local, 0))?;
        socket.connect(server)?;
        Ok(Open { questions, socket, deadline, tried: 0, again: Deadline::at(Instant::now()), strayed: false })
    }

    /// Asks by UDP, several times, and returns the next answer; ignores whatever does not answer one of the questions.
    fn next_answer(&mut self) -> io::Result<Option<(Asked, Vec<u8>)>> {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        while !self.questions.is_empty() {
            let came = Timed::new(&self.socket, self.again)?.retry(Ready::ToRead, |socket| socket.recv(&mut buffer));
            match came {
                Ok(count) => {
                    let bytes = &buffer[..count];
                    if let Some(at) = self.questions.iter().position(|question| question.is_answer(bytes)) {
                        return Ok(Some((self.questions.swap_remove(at), bytes.to_vec())));
                    }
                    self.strayed = true;
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => self.ask_again()?,
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn ask_again(&mut self) -> io::Result<()> {
        match self.tried {
            TRIES if self.strayed => {
                let what = "nothing that answers the question came in time";
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            TRIES => return Err(io::ErrorKind::TimedOut.into()),
            _ => {}
        }
        let now = Instant::now();
        self.again = Deadline::at(now + self.deadline.remaining(now) / (TRIES - self.tried));
        self.tried += 1;
        self.questions.iter().try_for_each(|question| self.socket.send(&question.bytes).map(drop))
    }
}

/// Why a server has not answered.
fn because(error: io::Error) -> Reason {
    noted::error(&error);
    timed::reason(&error, spoken(&error))
}

/// A question to one server (RFC 1035).
struct Asked {
    id: u16,
    record: TYPE,
    question: Question<'static>,
    bytes: Vec<u8>,
}

impl Asked {
    /// One for each type of records, with ids that tell their answers apart.
    fn each(name: &str, records: &[TYPE]) -> Result<Vec<Asked>> {
        let first = RandomState::new().hash_one(name) as u16;
        let ids = (0..).map(|number| first.wrapping_add(number));
        ids.zip(records).map(|(id, record)| Asked::new(id, name, *record)).collect()
    }

    fn new(id: u16, name: &str, record: TYPE) -> Result<Asked> {
        let mut packet = Packet::new_query(id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let question = Question::new(Name::new(name)?, QTYPE::TYPE(record), CLASS::IN.into(), false).into_owned();
        packet.questions.push(question.clone());
        Ok(Asked { id, record, question, bytes: packet.build_bytes_vec()? })
    }

    /// What an answer by UDP says, or the one by TCP where it is cut.
    fn understand(&self, mut bytes: Vec<u8>, server: SocketAddr, deadline: Deadline) -> Result<Found> {
        if is_cut(&bytes) {
            let cut = |why: String| format!("its answer by UDP is cut off, and by TCP {why}");
            bytes = self.by_tcp(server, deadline, cut)?;
        }
        self.read(&bytes).map_err(Reason::Fail)
    }

    fn by_tcp(&self, server: SocketAddr, deadline: Deadline, cut: impl Fn(String) -> String) -> Result<Vec<u8>> {
        let mut stream = tcp::connect_to(&[server], deadline).map_err(|reason| reason.told(&cut))?;
        let mut exchange = || {
            stream.write_all(&[&(self.bytes.len() as u16).to_be_bytes()[..], &self.bytes].concat())?;
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer).map(|()| answer)
        };
        match exchange() {
            Ok(answer) if self.is_answer(&answer) => Ok(answer),
            Ok(_) => Err(Reason::Fail(cut("it answers another question".to_owned()))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Reason::Fail(cut("it closed the connection before the end".to_owned())))
            }
            Err(error) => Err(timed::reason(&error, cut(spoken(&error)))),
        }
    }

    /// Whether this answers our question, and not another one, which anybody may send.
    fn is_answer(&self, bytes: &[u8]) -> bool {
        // Packets that are read only in part are told apart by their beginning: what is wrong with the rest shall be said.
        let Some((id, flags)) = bytes.get(..12).map(|head| (&head[..2], head[2])) else { return false };
        const REPLY_TO_QUERY: u8 = 0x80;
        if id != self.id.to_be_bytes() || flags & 0xF8 != REPLY_TO_QUERY {
            return false;
        }
        match Packet::parse(&answered(bytes)) {
            // Who does not understand a question need not repeat it.
            Ok(packet) if packet.questions.is_empty() => packet.rcode() != RCODE::NoError,
            Ok(packet) => packet.questions.len() == 1 && self.is_question(&packet.questions[0]),
            Err(_) => true,
        }
    }

    fn is_question(&self, other: &Question<'_>) -> bool {
        let Question { qname, qtype, qclass, .. } = &self.question;
        is_same(qname, &other.qname) && *qtype == other.qtype && *qclass == other.qclass
    }

    fn read(&self, bytes: &[u8]) -> std::result::Result<Found, String> {
        let bytes = answered(bytes);
        let packet = Packet::parse(&bytes).map_err(|error| format!("its answer cannot be read: {error}"))?;
        match packet.rcode() {
            RCODE::NoError => {}
            RCODE::NameError => return Err("there is no such name (NXDOMAIN)".to_owned()),
            RCODE::ServerFailure => return Err("it failed (SERVFAIL)".to_owned()),
            RCODE::Refused => return Err("it refused (REFUSED)".to_owned()),
            other => return Err(format!("it answered {other:?}")),
        }
        let mut found = Found::default();
        let names = self.names(&packet);
        for answer in packet.answers.iter().filter(|answer| answer.rdata.type_code() == self.record) {
            if answer.class != CLASS::IN || !names.iter().any(|name| is_same(name, &answer.name)) {
                continue;
            }
            found.count += 1;
            found.values.push(spoken_record(&answer.rdata));
            match &answer.rdata {
                RData::A(a) => found.addresses.push(Ipv4Addr::from(a.address).into()),
                RData::AAAA(aaaa) => found.addresses.push(Ipv6Addr::from(aaaa.address).into()),
                _ => {}
            }
        }
        Ok(found)
    }

    /// The name that was asked for, and those that it is an alias of.
    fn names<'a>(&'a self, packet: &'a Packet<'a>) -> Vec<&'a Name<'a>> {
        let mut names: Vec<&Name<'_>> = vec![&self.question.qname];
        // They need not come in their order; each pass finds one more at least.
        for _ in &packet.answers {
            let next = packet.answers.iter().find_map(|answer| match &answer.rdata {
                RData::CNAME(alias) if names.iter().any(|name| is_same(name, &answer.name)) => {
                    Some(&alias.0).filter(|target| !names.iter().any(|name| is_same(name, target)))
                }
                _ => None,
            });
            match next {
                Some(name) => names.push(name),
                None => break,
            }
        }
        names
    }
}

/// A record as dig +short prints it, but for the dot at the end of names and the quotes around texts.
fn spoken_record(data: &RData<'_>) -> String {
    match data {
        RData::A(a) => Ipv4Addr::from(a.address).to_string(),
        RData::AAAA(aaaa) => Ipv6Addr::from(aaaa.address).to_string(),
        RData::CNAME(name) => name.0.to_string(),
        RData::NS(name) => name.0.to_string(),
        RData::PTR(name) => name.0.to_string(),
        RData::MX(mx) => format!("{} {}", mx.preference, mx.exchange),
        RData::SRV(srv) => format!("{} {} {} {}", srv.priority, srv.weight, srv.port, srv.target),
        RData::CAA(caa) => format!("{} {} {}", caa.flag, caa.tag, String::from_utf8_lossy(&caa.value)),
        RData::TXT(txt) => {
            // A long text is cut into several.
            let parts = txt.iter_raw().map(|(key, value)| match value {
                Some(value) => [key, b"=", value].concat(),
                None => key.to_vec(),
            });
            String::from_utf8_lossy(&parts.collect::<Vec<_>>().concat()).into_owned()
        }
        RData::SOA(soa) => format!(
            "{} {} {} {} {} {} {}",
            soa.mname, soa.rname, soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum
        ),
        other => format!("{other:?}"),
    }
}

fn is_same(one: &Name<'_>, other: &Name<'_>) -> bool {
    one.to_string().eq_ignore_ascii_case(&other.to_string())
}

/// A message without what follows its answers: who gets that wrong has answered all the same.
fn answered(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    // How many records of authority there are, and additional ones (RFC 1035, 4.1.1).
    if let Some(counts) = bytes.get_mut(8..12) {
        counts.fill(0);
    }
    bytes
}

/// Whether an answer was truncated to fit into a packet.
fn is_cut(bytes: &[u8]) -> bool {
    bytes.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

fn is_of(address: IpAddr, record: TYPE) -> bool {
    match record {
        TYPE::A => address.is_ipv4(),
        TYPE::AAAA => address.is_ipv6(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
