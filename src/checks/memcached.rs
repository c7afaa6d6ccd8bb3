//! `memcached://HOST[:PORT]`: a memcached answers with its statistics.
//! The protocol: <https://github.com/memcached/memcached/blob/master/doc/protocol.txt>

use std::collections::HashMap;
use std::time::Instant;

use super::support::dialogue::Dialogue;
use super::support::target::{Target, authority};
use super::support::thresholds::{self, Good};
use super::support::timed::{self, reason, spoken};
use super::{Action, Kind, Opt, Options, Runs, Value, excerpt, since, tcp};
use crate::checks::support::secrets::Secrets;
use crate::model::amount::{self, Amount};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::perfdata::Perfdata;

pub(super) const KIND: Kind = Kind {
    scheme: "memcached",
    port: Some(PORT),
    options: &[
        Opt::new("max_memory", Value::Amount, "So much memory may be used"),
        Opt::new("warn_max_memory", Value::Amount, "If so much memory is used, it warns"),
        Opt::new("max_connections", Value::Number, "So many connections may be used"),
        Opt::new("warn_max_connections", Value::Number, "If more connections than this are used, it warns"),
    ],
    runs: Runs::OnThread,
    controls: Control::NETWORK,
    title: "memcached at {target} answers",
    passes: "a memcached gives its statistics",
    notices: &["refused", "black_hole", "rubbish", "starved"],
    examples: &["memcached://localhost#max_memory=90%"],
    build,
};

const PORT: u16 = 11211;

struct MemcachedProbe {
    server: Target,
    hard: Limits,
    milder: Limits,
    hidden: Secrets,
}

/// How much may be used.
struct Limits {
    memory: Option<Amount>,
    connections: Option<u64>,
}

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let server = authority(target);
    let probe = MemcachedProbe {
        // Its text protocol knows no users.
        server: Target::parse(server, Some(PORT))
            .filter(|_| !server.contains('@'))
            .ok_or("the target is not HOST[:PORT], as in memcached://cache:11211")?,
        hard: Limits {
            memory: options.parse("max_memory", Amount::of_bytes)?,
            connections: options.whole("max_connections")?,
        },
        milder: Limits {
            memory: options.parse("warn_max_memory", Amount::of_bytes)?,
            connections: options.whole("warn_max_connections")?,
        },
        hidden: options.hidden(),
    };
    let Limits { memory, connections } = &probe.hard;
    let memory = memory.as_ref().map(|it| (it, it.to_string()));
    let connections = connections.as_ref().map(|it| (it, it.to_string()));
    thresholds::verify(Good::Below, "max_memory", memory, probe.milder.memory.as_ref())?;
    thresholds::verify(Good::Below, "max_connections", connections, probe.milder.connections.as_ref())?;
    Ok(Box::new(move |deadline| probe.run(deadline)))
}

impl MemcachedProbe {
    fn run(&self, deadline: Deadline) -> Finding {
        let began = Instant::now();
        let told = |why| format!("expected memcached at {} to be well: {why} ({})", self.server, since(began));
        match self.ask(timed::before(deadline)) {
            Ok(stats) => {
                let verdict = |limits: &Limits| limits.verdict(&stats).map_err(|reason| reason.told(told));
                let finding = Finding { perfdata: stats.perfdata(), ..Finding::from(verdict(&self.hard)) };
                thresholds::judged(finding, || verdict(&self.milder))
            }
            Err(reason) => Finding::from(Err(reason.told(told))),
        }
    }

    fn ask(&self, deadline: Deadline) -> Result<Stats> {
        let stream = tcp::connect(&self.server, deadline)?;
        let mut dialogue = Dialogue::new(stream);
        let failed = |error| reason(&error, spoken(&error));
        dialogue.send(b"stats\r\n").map_err(failed)?;
        let mut stats = HashMap::new();
        loop {
            let line = dialogue.line().map_err(failed)?;
            let text = String::from_utf8_lossy(&line);
            let mut words = text.split(' ');
            match (words.next(), words.next(), words.next()) {
                (Some("STAT"), Some(name), Some(value)) => drop(stats.insert(name.to_owned(), value.to_owned())),
                (Some("END"), None, None) => break,
                _ => {
                    let got = excerpt(&line, line.len(), &self.hidden);
                    return Err(Reason::Fail(format!("it does not answer as memcached does: got {got}")));
                }
            }
        }
        let figure = |name: &str| {
            let value = stats.get(name).and_then(|value| value.parse().ok());
            value.ok_or_else(|| Reason::Fail(format!("there is no {name} in its statistics")))
        };
        Ok(Stats {
            used: figure("bytes")?,
            memory: figure("limit_maxbytes")?,
            connections: figure("curr_connections")?,
            most_connections: stats.get("max_connections").and_then(|value| value.parse().ok()),
        })
    }
}

impl Limits {
    fn verdict(&self, stats: &Stats) -> Result {
        if let Some(most) = self.memory
            && most.is_reached_by(stats.used, stats.memory)
        {
            let (used, of) = (amount::spoken(stats.used), amount::spoken(stats.memory));
            return Err(Reason::Fail(format!("it has to use less than {most} of its memory, and uses {used} of {of}")));
        }
        if let Some(most) = self.connections
            && stats.connections > most
        {
            let connections = stats.connections;
            return Err(Reason::Fail(format!("at most {most} clients may be connected, and there are {connections}")));
        }
        Ok(())
    }
}

/// What is read of its statistics: bytes, and numbers of clients.
struct Stats {
    used: u64,
    memory: u64,
    connections: u64,
    /// Where it says so.
    most_connections: Option<u64>,
}

impl Stats {
    fn perfdata(&self) -> Vec<Perfdata> {
        let mut figures = vec![
            Perfdata::new("used", self.used as f64, "B"),
            Perfdata::new("memory", self.memory as f64, "B"),
            Perfdata::new("connections", self.connections as f64, ""),
        ];
        figures.extend(self.most_connections.map(|most| Perfdata::new("max_connections", most as f64, "")));
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_judged_by_hard_and_by_milder_limits() {
        let stats = Stats { used: 60, memory: 100, connections: 7, most_connections: None };
        let limits =
            |percent, connections| Limits { memory: Some(Amount::Percent(percent)), connections: Some(connections) };
        assert_eq!(limits(61.0, 7).verdict(&stats), Ok(()));
        assert!(limits(60.0, 7).verdict(&stats).is_err() && limits(61.0, 6).verdict(&stats).is_err());
    }

    #[test]
    fn what_memcached_has_no_notion_of_is_refused() {
        for (target, pairs, why) in [
            ("//anna:secret@localhost", &[][..], "the target is not HOST[:PORT]"),
            ("//localhost", &[("max_connections", "9%")][..], "option max_connections: write a whole number"),
            (
                "//localhost",
                &[("max_connections", "9"), ("warn_max_connections", "9")],
                "option warn_max_connections: ",
            ),
            (
                "//localhost",
                &[("max_memory", "9%"), ("warn_max_memory", "10%")],
                "option warn_max_memory: it has to be",
            ),
        ] {
            let error = build(target, &mut Options::of(pairs)).err();
            assert!(error.as_ref().is_some_and(|error| error.starts_with(why)), "{error:?}");
        }
    }
}
