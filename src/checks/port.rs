//! `port:22#address=0.0.0.0&process=sshd`: somebody listens on a port of this host.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::process::is_called;
use super::{Action, Kind, Opt, Options, Runs, Value};
use crate::model::check::{Finding, Reason, Result};
use crate::model::control::Control;
use crate::os::network::NetworkNamespace;
use crate::os::procfs;

pub(super) const KIND: Kind = Kind {
    scheme: "port",
    port: None,
    options: &[
        Opt::new("address", Value::Address, "An address at which somebody has to listen, literally").repeatable(),
        Opt::new("process", Value::Text, "The program that has to listen, as for the kind process"),
        Opt::new("protocol", Value::Word(&["tcp", "udp"]), "The protocol").or("tcp"),
    ],
    // The kernel walks through all of its sockets.
    runs: Runs::OnThread,
    controls: Control::HOST,
    title: "Somebody listens on port {target} of this host",
    passes: "somebody listens on a port of this host",
    notices: &["gone", "starved"],
    examples: &["port:22#address=0.0.0.0&process=sshd"],
    build,
};

/// Who shall listen, and where.
struct Expected {
    port: u16,
    protocol: Protocol,
    /// Exactly these addresses are among those that it listens at.
    addresses: Vec<IpAddr>,
    process: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    fn parse(text: &str) -> std::result::Result<Protocol, &'static str> {
        match text {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            _ => Err("write tcp or udp"),
        }
    }

    /// Its tables in /proc/net, for each family.
    fn tables(self) -> [&'static str; 2] {
        match self {
            Protocol::Tcp => ["tcp", "tcp6"],
            Protocol::Udp => ["udp", "udp6"],
        }
    }

    fn word(self) -> &'static str {
        self.tables()[0]
    }
}

/// A socket that waits for whoever comes.
#[derive(Clone, Debug, PartialEq)]
struct Listener {
    address: IpAddr,
    inode: u64,
}

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let port = target.parse().ok().filter(|port| *port != 0);
    let port = port.ok_or("the target is not a port, as in port:22: another host's is checked by tcp")?;
    let read = |text: &String| text.parse().map_err(|_| "option address: write an IP address, as in 0.0.0.0 or ::");
    let process = options.take("process")?;
    if process.as_ref().is_some_and(String::is_empty) {
        return Err("option process: write the name or the path of a program".to_owned());
    }
    let expected = Expected {
        port,
        addresses: options.take_all("address").iter().map(read).collect::<std::result::Result<_, _>>()?,
        protocol: options.parse_or("protocol", "tcp", Protocol::parse)?,
        process,
    };
    Ok(Box::new(move |_| Finding::from(expected.find())))
}

impl Expected {
    fn find(&self) -> Result {
        let mut listeners = self.listeners()?;
        if !self.misses(&listeners).is_empty() || listeners.is_empty() {
            // The kernel may skip one while others come and go.
            listeners = self.listeners()?;
        }
        let what = format!("port {} ({})", self.port, self.protocol.word());
        if listeners.is_empty() {
            return Err(nobody(&what, NetworkNamespace::ours()));
        }
        let missing = self.misses(&listeners);
        if !missing.is_empty() {
            let got = joined(listeners.iter().map(|listener| &listener.address));
            let missing = joined(missing);
            return Err(Reason::Fail(format!("expected somebody to listen on {what} at {missing}, got {got}")));
        }
        match &self.process {
            Some(process) => self.held_by(process, &what, &listeners),
            None => Ok(()),
        }
    }

    fn misses<'a>(&'a self, listeners: &[Listener]) -> Vec<&'a IpAddr> {
        let is_missing = |address: &&IpAddr| !listeners.iter().any(|listener| listener.address == **address);
        self.addresses.iter().filter(is_missing).collect()
    }

    fn listeners(&self) -> Result<Vec<Listener>> {
        let mut found = Vec::new();
        for (table, is_required) in self.protocol.tables().into_iter().zip([true, false]) {
            let path = format!("/proc/self/net/{table}");
            let cannot = |error: io::Error| Reason::Error(format!("cannot read {path}: {error}"));
            match File::open(&path) {
                Ok(file) => found.extend(listening(BufReader::new(file), self.protocol, self.port).map_err(cannot)?),
                // A kernel may have been started without IPv6.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !is_required => {}
                Err(error) => return Err(cannot(error)),
            }
        }
        Ok(found)
    }

    /// Whether each of the sockets is held by the process: who else held one would get a part of the clients.
    fn held_by(&self, process: &str, what: &str, listeners: &[Listener]) -> Result {
        let asked = listeners.iter().filter(|it| self.addresses.is_empty() || self.addresses.contains(&it.address));
        let mut sockets: BTreeSet<u64> = asked.map(|listener| listener.inode).collect();
        let cannot = |error: io::Error| Reason::Error(format!("cannot list processes in /proc: {error}"));
        let mut hides = procfs::leaves_out().map_err(cannot)?;
        let mut others = BTreeSet::new();
        for stat in procfs::listed().map_err(cannot)? {
            let Ok(stat) = stat else {
                hides = true;
                continue;
            };
            let held = match procfs::sockets(stat.pid) {
                Ok(held) => held,
                Err(error) if procfs::is_gone(&error) => continue,
                Err(_) => {
                    hides = true;
                    continue;
                }
            };
            if !held.iter().any(|inode| sockets.contains(inode)) {
                continue;
            }
            match is_called(&stat, process) {
                Some(true) => sockets.retain(|inode| !held.contains(inode)),
                Some(false) => drop(others.insert(format!("{} ({})", stat.name, stat.pid))),
                None => hides = true,
            }
        }
        if sockets.is_empty() {
            return Ok(());
        }
        let expected = format!("expected {process} to listen on {what}");
        let others = joined(&others);
        match (hides, others.is_empty()) {
            (false, false) => Err(Reason::Fail(format!("{expected}, got {others}"))),
            // A worker that has inherited the socket may belong to another user.
            (true, false) => Err(Reason::Error(format!(
                "{expected}, got {others}, and there may be more of other users, whose sockets only root may see"
            ))),
            (true, true) => Err(Reason::Error(format!("{expected}, and whose the socket is only root may see"))),
            (false, true) => Err(Reason::Error(format!(
                "{expected}, and no process that /proc shows has the socket: it may be in another container, or the kernel's"
            ))),
        }
    }
}

fn joined<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// What it says that nobody listens where we look.
fn nobody(what: &str, namespace: NetworkNamespace) -> Reason {
    match namespace {
        NetworkNamespace::Hosts => Reason::Fail(format!(
            "expected somebody to listen on {what}, and nobody does in the host's network namespace"
        )),
        NetworkNamespace::Containers => Reason::Fail(format!(
            "expected somebody to listen on {what}, and nobody does in the network namespace of this container"
        )),
        NetworkNamespace::OfItsOwn | NetworkNamespace::Unknown => Reason::Error(format!(
            "nobody listens on {what} in our network namespace, and it may not be that of the host, whose ports we cannot see"
        )),
    }
}

/// The sockets of a table that wait for whoever comes to the port. Source of the fields: proc_pid_net(5).
fn listening(table: impl BufRead, protocol: Protocol, port: u16) -> io::Result<Vec<Listener>> {
    // The states of the kernel: a socket for datagrams without a peer is "closed".
    const LISTEN: &str = "0A";
    const SYN_RECV: &str = "03";
    const CLOSE: &str = "07";
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let line = line?;
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let (Some(local), Some(state), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9)) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line of it lacks fields"));
        };
        match (protocol, *state) {
            (Protocol::Tcp, LISTEN) | (Protocol::Udp, CLOSE) => {}
            (Protocol::Tcp, SYN_RECV) | (Protocol::Udp, _) => continue,
            // Those that listen come first, and there may be a million others.
            (Protocol::Tcp, _) => break,
        }
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, format!("{local:?} in it is not an address"));
        let (address, number) = local.split_once(':').ok_or_else(wrong)?;
        if u16::from_str_radix(number, 16).map_err(|_| wrong())? == port {
            let inode = inode.parse().map_err(io::Error::other)?;
            found.push(Listener { address: ip(address).ok_or_else(wrong)?, inode });
        }
    }
    Ok(found)
}

/// An address as the kernel prints it: in words of 32 bits, each a number of this machine, in hexadecimal digits.
fn ip(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(words.as_flattened()).ok()?).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::{Deadline, Status};
    use std::net::{TcpListener, UdpSocket};
    use std::time::Instant;

    fn found(target: &str, pairs: &[(&str, &str)]) -> Finding {
        build(target, &mut Options::of(pairs)).expect("it is well formed")(Deadline::at(Instant::now()))
    }

    fn says(finding: &Finding, status: Status, text: &str) {
        let context = finding.context.as_deref().unwrap_or_default();
        assert!(finding.status == status && context.contains(text), "{text:?} should be in {finding:?}");
    }

    #[test]
    fn a_socket_that_listens_is_found_by_its_port_address_and_process() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port().to_string();
        assert_eq!(found(&port, &[]), Finding::PASS);
        assert_eq!(found(&port, &[("address", "127.0.0.1")]), Finding::PASS);
        says(&found(&port, &[("address", "0.0.0.0")]), Status::Fail, "at 0.0.0.0, got 127.0.0.1");
        let ours = std::env::current_exe().expect("/proc is mounted").display().to_string();
        // Another test may be another user for a moment, and with it the whole process, which then sees less.
        let mut tries = (0..100).map(|_| found(&port, &[("process", &ours)]));
        let held = tries.find(|held| held.status != Status::Error).expect("we are ourselves again");
        assert!(held.status == Status::Pass, "{held:?}");
        // Other tests may be starting programs, which hold it until they are executed.
        assert_ne!(found(&port, &[("process", "no-such-program")]).status, Status::Pass);
        drop(listener);
    }

    #[test]
    fn a_socket_for_datagrams_is_one_of_udp() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let port = socket.local_addr().expect("it is bound").port().to_string();
        assert_eq!(found(&port, &[("protocol", "udp")]), Finding::PASS);
    }

    const TABLE: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 x
   1: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1 x
   2: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 333 1 x
   3: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 444 1 x
   4: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 555 1 x
";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_tables_of_the_kernel_are_read() {
        let of = |port| listening(TABLE.as_bytes(), Protocol::Tcp, port).expect("it is well formed");
        let listener = |address: [u8; 4], inode| Listener { address: address.into(), inode };
        assert_eq!(of(22), [listener([0, 0, 0, 0], 111), listener([127, 0, 0, 1], 222)]);
        assert_eq!(of(8080), [], "a connection is not a listener, and those end the list of these");
        assert_eq!(of(443), []);
        let six = "h\n 0: 00000000000000000000000001000000:0016 0:0 0A 0:0 0:0 0 0 0 7 1 x\n";
        let found = listening(six.as_bytes(), Protocol::Tcp, 22).expect("it is well formed");
        assert_eq!(found, [Listener { address: Ipv6Addr::LOCALHOST.into(), inode: 7 }]);
        for broken in
            ["h\n 0: 00000000:0016", "h\n 0: 0000:0016 0:0 0A 0:0 0:0 0 0 0 7 1\n", "h\n 0: x 0 0A 0 0 0 0 0 7\n"]
        {
            assert!(listening(broken.as_bytes(), Protocol::Tcp, 22).is_err(), "{broken}");
        }
    }

    #[test]
    fn that_nobody_listens_is_decided_only_where_others_would() {
        let reason = |namespace| nobody("port 22 (tcp)", namespace);
        assert!(matches!(reason(NetworkNamespace::Hosts), Reason::Fail(_)));
        assert!(matches!(reason(NetworkNamespace::Containers), Reason::Fail(_)));
        assert!(matches!(reason(NetworkNamespace::OfItsOwn), Reason::Error(_)));
        assert!(matches!(reason(NetworkNamespace::Unknown), Reason::Error(_)));
    }

    #[test]
    fn wrong_options_are_refused() {
        for (target, pairs, text) in [
            ("ssh", &[][..], "the target is not a port"),
            ("0", &[][..], "the target is not a port"),
            ("70000", &[][..], "the target is not a port"),
            ("22", &[("address", "localhost")][..], "option address: write an IP address"),
            ("22", &[("protocol", "sctp")][..], "option protocol: write tcp or udp"),
            ("22", &[("process", "")][..], "option process: write the name"),
        ] {
            let error = build(target, &mut Options::of(pairs)).err().unwrap_or_default();
            assert!(error.starts_with(text), "{error}");
        }
    }
}
