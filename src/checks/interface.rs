//! `interface:eth0#address=10.0.0.0/8&mtu=1500`: a network interface is up, and as expected.

use std::net::IpAddr;
use std::str::FromStr;

use super::{Action, Kind, Opt, Options, Runs, Value};
use crate::model::check::{Finding, Reason, Result};
use crate::model::control::Control;
use crate::os::network::{self, Interface, NetworkNamespace};

pub(super) const KIND: Kind = Kind {
    scheme: "interface",
    port: None,
    options: &[
        Opt::new(
            "address",
            Value::Text,
            "An address that it has to have, or a network that one of them is in, as in 10.0.0.0/8",
        )
        .repeatable(),
        Opt::new("mtu", Value::Number, "Its largest packet, in bytes"),
    ],
    runs: Runs::OnThread,
    controls: Control::HOST,
    title: "The interface {target} is up",
    passes: "a network interface is up and connected",
    notices: &["gone", "starved"],
    examples: &["interface:lo#address=127.0.0.0/8"],
    build,
};

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    // The kernel takes no longer ones.
    if ["", ".", ".."].contains(&target)
        || target.len() > 15
        || target.contains(|c: char| c == '/' || c.is_whitespace())
    {
        return Err("the target is not the name of an interface, as in interface:eth0".to_owned());
    }
    let name = target.to_owned();
    let read = |text: &String| text.parse().map_err(|why| format!("option address: {why}"));
    let addresses = options.take_all("address").iter().map(read).collect::<std::result::Result<Vec<Range>, _>>()?;
    let mtu = options.parse("mtu", |text| text.parse::<u32>().map_err(|_| "write a number of bytes, as in 1500"))?;
    Ok(Box::new(move |_| Finding::from(find(&name, &addresses, mtu))))
}

fn find(name: &str, addresses: &[Range], mtu: Option<u32>) -> Result {
    let cannot = |error| Reason::Error(format!("cannot look at the interface {name}: {error}"));
    let found = match network::interface(name).map_err(cannot)? {
        Some(found) => found,
        None => return Err(missing(name, NetworkNamespace::ours())),
    };
    let wrong = verdict(&found, addresses);
    let mtu = match mtu {
        Some(expected) => Some((expected, network::mtu(name).map_err(cannot)?)),
        None => None,
    };
    let other = mtu.filter(|(expected, got)| expected != got);
    let other = other.map(|(expected, got)| format!("an MTU of {expected}, got {got}"));
    let wrong: Vec<_> = wrong.into_iter().chain(other).map(|wrong| format!("expected {wrong}")).collect();
    if wrong.is_empty() { Ok(()) } else { Err(Reason::Fail(format!("{}: {name}", wrong.join(", and ")))) }
}

/// What it says that there is none of this name where we look.
fn missing(name: &str, namespace: NetworkNamespace) -> Reason {
    match namespace {
        NetworkNamespace::Hosts | NetworkNamespace::Containers => {
            Reason::Fail(format!("expected an interface {name}, and there is none in our network namespace"))
        }
        NetworkNamespace::OfItsOwn | NetworkNamespace::Unknown => Reason::Error(format!(
            "our network namespace has no interface {name}, and it may not be that of the host, whose interfaces we \
             cannot see"
        )),
    }
}

/// Everything that is not as expected, as what was expected and what there is.
fn verdict(found: &Interface, addresses: &[Range]) -> Vec<String> {
    if !found.is_up {
        return vec!["it to be up, and it is switched off".to_owned()];
    }
    if !found.is_running {
        return vec!["it to be up, and nothing is connected to it".to_owned()];
    }
    let is_missing = |range: &&Range| !found.addresses.iter().any(|address| range.contains(*address));
    let got = || match found.addresses.is_empty() {
        true => "none".to_owned(),
        false => found.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    addresses.iter().filter(is_missing).map(|range| format!("the address {}, got {}", range.written, got())).collect()
}

/// An address, or all that begin like it: `10.0.0.0/8`.
#[derive(Clone, Debug, PartialEq)]
struct Range {
    written: String,
    first: IpAddr,
    /// How many bits of it count.
    bits: u32,
}

impl FromStr for Range {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Range, &'static str> {
        const WRONG: &str = "write an IP address or a network, as in 10.0.0.7 or 10.0.0.0/8";
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| WRONG)?)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| WRONG)?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most { Err(WRONG) } else { Ok(Range { written: text.to_owned(), first, bits }) }
    }
}

impl Range {
    fn contains(&self, address: IpAddr) -> bool {
        // Zero bits of 128 would shift by 128, which is too far.
        let begins =
            |first: u128, other: u128, width: u32| self.bits == 0 || (first ^ other) >> (width - self.bits) == 0;
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(other)) => begins(first.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(first), IpAddr::V6(other)) => begins(first.to_bits(), other.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::{Deadline, Status};
    use std::time::Instant;

    fn found(target: &str, pairs: &[(&str, &str)]) -> Finding {
        build(target, &mut Options::of(pairs)).expect("it is well formed")(Deadline::at(Instant::now()))
    }

    #[test]
    fn loopback_is_up_with_its_addresses() {
        assert_eq!(found("lo", &[("address", "127.0.0.1"), ("address", "127.0.0.0/8")]), Finding::PASS);
        let finding = found("lo", &[("address", "192.0.2.0/24"), ("mtu", "99")]);
        let context = finding.context.unwrap_or_default();
        assert_eq!(finding.status, Status::Fail);
        assert!(context.starts_with("expected the address 192.0.2.0/24, got 127.0.0.1"), "{context}");
        assert!(context.contains(", and expected an MTU of 99, got ") && context.ends_with(": lo"), "{context}");
    }

    #[test]
    fn one_that_is_off_or_has_no_cable_is_not_up() {
        let interface = |is_up, is_running| Interface { is_up, is_running, addresses: Vec::new() };
        assert_eq!(verdict(&interface(false, false), &[]), ["it to be up, and it is switched off"]);
        assert_eq!(verdict(&interface(true, false), &[]), ["it to be up, and nothing is connected to it"]);
        assert!(verdict(&interface(true, true), &[]).is_empty());
    }

    #[test]
    fn what_another_network_namespace_has_is_not_missing() {
        assert!(matches!(missing("eth9", NetworkNamespace::Hosts), Reason::Fail(_)));
        assert!(matches!(missing("eth9", NetworkNamespace::Containers), Reason::Fail(_)));
        assert!(matches!(missing("eth9", NetworkNamespace::OfItsOwn), Reason::Error(_)));
        assert!(matches!(missing("eth9", NetworkNamespace::Unknown), Reason::Error(_)));
    }

    #[test]
    fn a_network_holds_the_addresses_that_begin_like_it() {
        for (range, address, holds) in [
            ("10.0.0.0/8", "10.9.8.7", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7", "10.0.0.6", false),
            ("::/0", "fe80::1", true),
            ("fe80::/10", "febf::1", true),
            ("fe80::/10", "fec0::1", false),
            ("::/0", "10.0.0.1", false),
        ] {
            let range: Range = range.parse().expect("it is one");
            assert_eq!(range.contains(address.parse().expect("it is one")), holds, "{range:?} {address}");
        }
    }

    #[test]
    fn wrong_options_are_refused() {
        for (target, pair, text) in [
            ("lo", ("address", "10.0.0.0/33"), "option address: write an IP address or a network"),
            ("lo", ("address", "eth0"), "option address: write an IP address or a network"),
            ("lo", ("mtu", "big"), "option mtu: write a number of bytes"),
            ("", ("mtu", "1"), "the target is not the name of an interface"),
            ("..", ("mtu", "1"), "the target is not the name of an interface"),
            ("a/b", ("mtu", "1"), "the target is not the name of an interface"),
        ] {
            let error = build(target, &mut Options::of(&[pair])).err().unwrap_or_default();
            assert!(error.starts_with(text), "{error}");
        }
    }
}
