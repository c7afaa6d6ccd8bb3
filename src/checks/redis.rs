//! `redis://[USER:PASSWORD@]HOST[:PORT]`, `rediss://` with TLS: a Redis or Valkey answers, and is what it should be.
//! The protocol, RESP2: <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::support::connection::{Connection, Transport, broken};
use super::support::dialogue::Dialogue;
use super::support::login::{Login, PASSWORD_FILE};
use super::support::secrets::Secrets;
use super::support::target::Target;
use super::support::thresholds::{self, Good};
use super::support::timed;
#[cfg(feature = "tls")]
use super::support::{
    opt::joined,
    tls_settings::{self, TlsSettings},
};
use super::{Action, Kind, Opt, Options, Runs, Value, excerpt, since};
use crate::model::amount::{self, Amount};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::duration;
use crate::model::perfdata::Perfdata;

const OPTIONS: [Opt; 9] = [
    PASSWORD_FILE,
    Opt::new("role", Value::Word(&["primary", "replica"]), "What it has to be"),
    Opt::new("replicas", Value::Number, "So many replicas have to follow it"),
    Opt::new("warn_replicas", Value::Number, "If fewer replicas follow it, it warns"),
    Opt::new("lag", Value::Time, "A replica may be so far behind"),
    Opt::new("warn_lag", Value::Time, "If a replica is further behind than this, it warns"),
    Opt::new("max_memory", Value::Amount, "So much memory may be used"),
    Opt::new("warn_max_memory", Value::Amount, "If so much memory is used, it warns"),
    Opt::new("sentinel", Value::Text, "The name of the primary that a sentinel has to know"),
];

pub(super) const KIND: Kind = Kind {
    scheme: "redis",
    port: Some(PORT),
    options: &OPTIONS,
    runs: Runs::OnThread,
    controls: Control::NETWORK,
    title: "redis://{target} answers",
    passes: "a Redis or Valkey answers PING, and is what it should be",
    notices: &["refused", "black_hole", "rubbish", "starved"],
    examples: &["redis://:secret@localhost#role=primary&replicas=1"],
    build: |target, options| build(Transport::Tcp, target, options),
};

#[cfg(feature = "tls")]
const TLS_OPTIONS: [Opt; 14] = joined(OPTIONS, tls_settings::OPTIONS);

#[cfg(feature = "tls")]
pub(super) const KIND_REDISS: Kind = Kind {
    scheme: "rediss",
    port: Some(PORT),
    options: &TLS_OPTIONS,
    title: "rediss://{target} answers",
    passes: "the same, and the certificate is trusted",
    examples: &["rediss://:secret@localhost#ca=/etc/ssl/redis.pem"],
    build: |target, options| build(Transport::Tls(TlsSettings::take(options)?), target, options),
    notices: &["refused", "black_hole", "rubbish", "stranger: another certificate", "starved"],
    ..KIND
};

const PORT: u16 = 6379;

struct RedisProbe {
    login: Login,
    transport: Transport,
    /// The name under which a sentinel, which the target is then, knows the master.
    sentinel: Option<String>,
    role: Option<Role>,
    hard: Limits,
    milder: Limits,
    hidden: Secrets,
}

/// What its figures have to be.
struct Limits {
    replicas: Option<u64>,
    lag: Option<Duration>,
    max_memory: Option<Amount>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Primary,
    Replica,
}

impl Role {
    fn parse(text: &str) -> std::result::Result<Role, &'static str> {
        match text {
            "primary" | "master" => Ok(Role::Primary),
            "replica" | "slave" => Ok(Role::Replica),
            _ => Err("write primary or replica"),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
        }
    }
}

fn build(transport: Transport, target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let probe = RedisProbe {
        login: Login::take(target, PORT, options)?,
        transport,
        sentinel: options.take("sentinel")?,
        role: options.parse("role", Role::parse)?,
        hard: Limits {
            replicas: options.whole("replicas")?,
            lag: options.parse("lag", duration::parse_some)?,
            max_memory: options.parse("max_memory", Amount::of_bytes)?,
        },
        milder: Limits {
            replicas: options.whole("warn_replicas")?,
            lag: options.parse("warn_lag", duration::parse_some)?,
            max_memory: options.parse("warn_max_memory", Amount::of_bytes)?,
        },
        hidden: options.hidden(),
    };
    let Limits { replicas, lag, max_memory } = &probe.hard;
    let (replicas, lag) =
        (replicas.as_ref().map(|it| (it, it.to_string())), lag.as_ref().map(|it| (it, duration::spoken(*it))));
    let max_memory = max_memory.as_ref().map(|it| (it, it.to_string()));
    thresholds::verify(Good::Above, "replicas", replicas, probe.milder.replicas.as_ref())?;
    thresholds::verify(Good::Below, "lag", lag, probe.milder.lag.as_ref())?;
    thresholds::verify(Good::Below, "max_memory", max_memory, probe.milder.max_memory.as_ref())?;
    if !probe.login.path.is_empty() {
        return Err("a database has no state of its own: write HOST:PORT".to_owned());
    }
    Ok(Box::new(move |deadline| probe.run(deadline)))
}

impl RedisProbe {
    fn run(&self, deadline: Deadline) -> Finding {
        let began = Instant::now();
        let told = |why| format!("expected redis at {} to be well: {why} ({})", self.login.server, since(began));
        let finding = |verdict: Result| Finding::from(verdict.map_err(|reason| reason.told(told)));
        match self.ask(timed::before(deadline)) {
            Ok(None) => finding(Ok(())),
            Ok(Some(info)) => {
                let verdict = self.verdict(&info).and_then(|()| self.hard.verdict(&info));
                let milder = || self.milder.verdict(&info).map_err(|reason| reason.told(told));
                thresholds::judged(Finding { perfdata: info.perfdata(), ..finding(verdict) }, milder)
            }
            Err(reason) => finding(Err(reason)),
        }
    }

    /// What it says of itself, if that is asked for.
    fn ask(&self, deadline: Deadline) -> Result<Option<Info>> {
        let server = match &self.sentinel {
            None => None,
            Some(name) => Some(self.master(name, deadline)?),
        };
        let mut redis = self.connect(server.as_ref().unwrap_or(&self.login.server), deadline)?;
        match redis.ask(&["PING"])? {
            Reply::Simple(text) if text == "PONG" => {}
            other => return Err(redis.unexpected(&other)),
        }
        let asks_more = self.role.is_some() || self.hard.asks() || self.milder.asks();
        // A sentinel may still name a master that is one no more.
        if !asks_more && self.sentinel.is_none() {
            return Ok(None);
        }
        match redis.ask(&["INFO"])? {
            Reply::Bulk(text) => Info::parse(&text).map(Some),
            other => Err(redis.unexpected(&other)),
        }
    }

    fn connect(&self, server: &Target, deadline: Deadline) -> Result<Redis<'_>> {
        let mut redis = self.open(server, deadline)?;
        if let Some(password) = self.login.password()? {
            let user = self.login.user.as_deref();
            let words: Vec<_> = ["AUTH"].into_iter().chain(user).chain([password.as_str()]).collect();
            match redis.ask(&words)? {
                Reply::Simple(text) if text == "OK" => {}
                other => return Err(redis.unexpected(&other)),
            }
        }
        Ok(redis)
    }

    fn open(&self, server: &Target, deadline: Deadline) -> Result<Redis<'_>> {
        let connection = self.transport.connect(server, deadline)?;
        Ok(Redis { dialogue: Dialogue::new(connection), hidden: &self.hidden })
    }

    /// Where the master is, as the sentinel has it.
    fn master(&self, name: &str, deadline: Deadline) -> Result<Target> {
        let mut sentinel = self.open(&self.login.server, deadline)?;
        match sentinel.ask(&["SENTINEL", "get-master-addr-by-name", name])? {
            Reply::Array(items) if items.len() == 2 => {
                let port = items[1].parse().map_err(|_| Reason::Fail(format!("{:?} is not a port", items[1])))?;
                Ok(Target::new(items[0].as_str(), port))
            }
            Reply::Nothing => Err(Reason::Fail(format!("the sentinel knows no master {name:?}"))),
            other => Err(sentinel.unexpected(&other)),
        }
    }

    fn verdict(&self, info: &Info) -> Result {
        // What a sentinel names has to be a master, unless something else is asked for.
        let role = self.role.or(self.sentinel.as_ref().map(|_| Role::Primary));
        if let Some(role) = role
            && info.role != role
        {
            return Err(Reason::Fail(format!("it is a {}, and has to be a {}", info.role.word(), role.word())));
        }
        let asks_for_lag = self.hard.lag.or(self.milder.lag).is_some();
        if info.role == Role::Replica && !info.is_linked && (self.role == Some(Role::Replica) || asks_for_lag) {
            return Err(Reason::Fail("it has no link to its primary".to_owned()));
        }
        Ok(())
    }
}

impl Limits {
    fn asks(&self) -> bool {
        self.replicas.is_some() || self.lag.is_some() || self.max_memory.is_some()
    }

    fn verdict(&self, info: &Info) -> Result {
        let online = info.lags.len() as u64;
        if let Some(least) = self.replicas
            && online < least
        {
            return Err(Reason::Fail(format!("it has to have at least {least} replicas online, and has {online}")));
        }
        if let Some(most) = self.lag {
            let (whose, lag) = match info.role {
                Role::Primary => ("a replica of it", info.lags.iter().max().copied()),
                Role::Replica => ("it", info.behind),
            };
            let Some(lag) = lag else {
                return Err(Reason::Fail("it has no replica online whose lag could be told".to_owned()));
            };
            if lag > most {
                let (most, lag) = (humantime::format_duration(most), humantime::format_duration(lag));
                return Err(Reason::Fail(format!("{whose} may be {most} behind, and is {lag}")));
            }
        }
        match self.max_memory {
            Some(Amount::Percent(_)) if info.max_memory == 0 => {
                Err(Reason::Error("it has no maxmemory, so there is nothing that a share could be of".to_owned()))
            }
            Some(most) if most.is_reached_by(info.used_memory, info.max_memory) => Err(Reason::Fail(format!(
                "it has to use less than {most} of memory, and uses {}",
                amount::spoken(info.used_memory)
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

/// A connection to a server that speaks RESP2.
struct Redis<'a> {
    dialogue: Dialogue<Box<dyn Connection>>,
    hidden: &'a Secrets,
}

/// What a server answers, as far as the answers to our commands go: an array in an array is none of them, so that no
/// server can make us go as deep as it likes.
enum Reply {
    Simple(String),
    Bulk(String),
    Array(Vec<String>),
    Nothing,
    Error(String),
    Other(Vec<u8>),
}

impl Redis<'_> {
    fn ask(&mut self, words: &[&str]) -> Result<Reply> {
        let mut command = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| command += &format!("${}\r\n{word}\r\n", word.len()));
        let answer = self.dialogue.send(command.as_bytes()).and_then(|()| self.reply());
        answer.map_err(|error| broken(&error))
    }

    fn reply(&mut self) -> std::io::Result<Reply> {
        let line = self.dialogue.line()?;
        let text = || String::from_utf8_lossy(&line[1..]).into_owned();
        let count = || str::from_utf8(&line[1..]).ok().and_then(|digits| digits.parse::<i64>().ok());
        Ok(match (line.first(), line.get(1..).and_then(|_| count())) {
            (Some(b'+'), _) => Reply::Simple(text()),
            (Some(b'-'), _) => Reply::Error(text()),
            (Some(b'$' | b'*'), Some(-1)) => Reply::Nothing,
            (Some(b'$'), Some(length @ 0..)) => Reply::Bulk(self.bulk(length as usize)?),
            (Some(b'*'), Some(count @ 0..=16)) => {
                let mut items = Vec::new();
                for _ in 0..count {
                    match self
                        .dialogue
                        .line()?
                        .strip_prefix(b"$")
                        .and_then(|digits| str::from_utf8(digits).ok()?.parse().ok())
                    {
                        Some(length) => items.push(self.bulk(length)?),
                        None => return Ok(Reply::Other(line)),
                    }
                }
                Reply::Array(items)
            }
            _ => Reply::Other(line),
        })
    }

    fn bulk(&mut self, length: usize) -> std::io::Result<String> {
        let bytes = self.dialogue.bytes(length)?;
        self.dialogue.bytes(2)?; // CR LF
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Why an answer is not the one that was hoped for.
    fn unexpected(&self, reply: &Reply) -> Reason {
        let quoted = |bytes: &[u8]| excerpt(bytes, bytes.len(), self.hidden);
        match reply {
            Reply::Error(text) => {
                let answer = format!("it answered {}", quoted(text.as_bytes()));
                // It may be as well as can be: it is we who may not ask.
                match text.split(' ').next().unwrap_or_default() {
                    "NOAUTH" => Reason::Error(format!("{answer}: give a password")),
                    "WRONGPASS" | "NOPERM" => Reason::Error(format!("{answer}: give another user or password")),
                    // `ERR invalid password` and `ERR Client sent AUTH, but no password is set` before Redis 6.
                    "ERR" if text.contains("password") => Reason::Error(format!("{answer}: give another password")),
                    _ => Reason::Fail(answer),
                }
            }
            Reply::Simple(text) | Reply::Bulk(text) => Reason::Fail(format!("it answered {}", quoted(text.as_bytes()))),
            Reply::Other(line) => Reason::Fail(format!("it does not answer as Redis does: got {}", quoted(line))),
            Reply::Array(_) | Reply::Nothing => Reason::Fail("it answered with something else".to_owned()),
        }
    }
}

/// What INFO says.
#[derive(Debug, PartialEq)]
struct Info {
    role: Role,
    used_memory: u64,
    /// 0 where there is no limit.
    max_memory: u64,
    /// Of a replica: whether its primary is heard, and how long ago that was.
    is_linked: bool,
    behind: Option<Duration>,
    /// Of each replica that is online: how long ago it was heard.
    lags: Vec<Duration>,
}

impl Info {
    fn parse(text: &str) -> Result<Info> {
        let fields: HashMap<_, _> = text.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
        let missing = |name: &str| Reason::Error(format!("there is no {name} in what INFO says to this user"));
        let figure = |name: &str| fields.get(name).and_then(|value| value.parse().ok()).ok_or_else(|| missing(name));
        let role = fields.get("role").and_then(|role| Role::parse(role).ok()).ok_or_else(|| missing("role"))?;
        let replicas = (0..).map_while(|number| fields.get(format!("slave{number}").as_str()));
        let lag = |replica: &&str| {
            let parts: HashMap<_, _> = replica.split(',').filter_map(|part| part.split_once('=')).collect();
            (parts.get("state") == Some(&"online")).then(|| parts.get("lag")?.parse().ok().map(Duration::from_secs))?
        };
        Ok(Info {
            role,
            used_memory: figure("used_memory")?,
            // Before 3.2 it was not told.
            max_memory: figure("maxmemory").unwrap_or(0),
            is_linked: fields.get("master_link_status") == Some(&"up"),
            behind: figure("master_last_io_seconds_ago").ok().map(Duration::from_secs),
            lags: replicas.filter_map(lag).collect(),
        })
    }

    fn perfdata(&self) -> Vec<Perfdata> {
        let mut figures = vec![Perfdata::new("used_memory", self.used_memory as f64, "B")];
        if self.max_memory > 0 {
            figures.push(Perfdata::new("max_memory", self.max_memory as f64, "B"));
        }
        figures.push(match (self.role, self.behind) {
            (Role::Replica, Some(behind)) => Perfdata::new("behind", behind.as_secs_f64(), "s"),
            _ => Perfdata::new("replicas", self.lags.len() as f64, ""),
        });
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::support::dialogue::testing;
    use crate::model::check::Status;
    use proptest::prelude::*;

    fn find(said: Vec<u8>, pairs: &[(&str, &str)]) -> Finding {
        testing::find(&KIND, "//{}", said, pairs)
    }

    /// The same at a server whose INFO says this.
    fn find_info(info: &str, pairs: &[(&str, &str)]) -> Finding {
        find(format!("+PONG\r\n${}\r\n{info}\r\n", info.len()).into_bytes(), pairs)
    }

    const PRIMARY: &str = "# Memory\r\nused_memory:1000\r\nmaxmemory:2000\r\n# Replication\r\nrole:master\r\n\
        connected_slaves:2\r\nslave0:ip=192.0.2.1,port=6379,state=online,offset=1,lag=3\r\n\
        slave1:ip=192.0.2.2,port=6379,state=wait_bgsave,offset=0,lag=0\r\n";
    const REPLICA: &str = "used_memory:1000\r\nmaxmemory:0\r\nrole:slave\r\nmaster_link_status:up\r\n\
        master_last_io_seconds_ago:7\r\n";

    #[test]
    fn what_info_says_is_judged() {
        for (info, pairs, expected) in [
            (PRIMARY, &[("role", "primary"), ("replicas", "1"), ("lag", "3s"), ("max_memory", "60%")][..], ""),
            (PRIMARY, &[("role", "replica")], "it is a primary, and has to be a replica"),
            (PRIMARY, &[("replicas", "2")], "at least 2 replicas online, and has 1"),
            (PRIMARY, &[("lag", "2s")], "a replica of it may be 2s behind, and is 3s"),
            (PRIMARY, &[("max_memory", "50%")], "less than 50% of memory"),
            (REPLICA, &[("role", "replica"), ("lag", "7s")], ""),
            (REPLICA, &[("lag", "5s")], "it may be 5s behind, and is 7s"),
            (&REPLICA.replace(":up", ":down"), &[("role", "replica")], "no link to its primary"),
            ("used_memory:1\r\nrole:master\r\n", &[("lag", "5s")], "no replica online"),
        ] {
            let found = find_info(info, pairs);
            let passes = found.status == Status::Pass;
            assert!(passes == expected.is_empty() && found.context.unwrap_or_default().contains(expected), "{pairs:?}");
        }
        assert_eq!(find_info(REPLICA, &[("max_memory", "50%")]).status, Status::Error, "a share of nothing");
        for (info, pairs) in [
            (PRIMARY, &[("warn_replicas", "2")][..]),
            (PRIMARY, &[("lag", "3s"), ("warn_lag", "2s")]),
            (PRIMARY, &[("max_memory", "60%"), ("warn_max_memory", "50%")]),
            (REPLICA, &[("warn_lag", "5s")]),
        ] {
            assert_eq!(find_info(info, pairs).status, Status::Warn, "{pairs:?}");
        }
        assert_eq!(find_info("# Server\r\n", &[("role", "primary")]).status, Status::Error, "INFO hides it");
    }

    #[test]
    fn who_may_not_ask_cannot_tell_and_who_gets_no_answer_can() {
        for (said, status) in [
            ("-NOAUTH Authentication required.\r\n", Status::Error),
            ("-NOPERM this user has no permissions\r\n", Status::Error),
            ("-LOADING Redis is loading the dataset in memory\r\n", Status::Fail),
            ("-MASTERDOWN Link with MASTER is down\r\n", Status::Fail),
            ("HTTP/1.1 400 Bad Request\r\n", Status::Fail),
            ("*1\r\n*1\r\n*1\r\n", Status::Fail),
            ("$5\r\nPONG\r\n", Status::Fail),
            ("$-7\r\n", Status::Fail),
            ("\r\n", Status::Fail),
            ("", Status::Fail),
        ] {
            assert_eq!(find(said.into(), &[]).status, status, "{said}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn a_damaged_answer_never_passes(at in 0..7_usize, byte: u8) {
            let mut said = b"+PONG\r\n".to_vec();
            prop_assume!(said[at] != byte);
            said[at] = byte;
            // The end of a line may be a bare LF, and then another line is nothing that we asked for.
            let is_the_same = said.starts_with(b"+PONG\n");
            prop_assert!(is_the_same || find(said, &[]).status != Status::Pass);
        }
    }
}
