//! `mysql://USER:PASSWORD@HOST[:PORT][/DATABASE]`: a MySQL or MariaDB answers, and is what it should be.

mod session;

use std::time::{Duration, Instant};

use super::support::login::{Login, PASSWORD_FILE};
use super::support::opt::joined;
use super::support::secrets::Secrets;
use super::support::thresholds::{self, Good};
use super::support::timed;
use super::support::tls_settings::{self, TlsSettings};
use super::support::value::ExpectedValue;
use super::{Action, Kind, Opt, Options, Runs, Value, excerpt, since};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::duration;
use session::{Answer, SYNTAX, Session};

const OPTIONS: [Opt; 17] = joined(
    [
        PASSWORD_FILE,
        Opt::new("query", Value::Text, "What is asked once connected"),
        Opt::new("equals", Value::Text, "The first value of the answer has to be this").or_empty(),
        Opt::new("match", Value::Pattern, "The first value of the answer has to match"),
        Opt::new("min", Value::Number, "The first value of the answer has to be at least this"),
        Opt::new("max", Value::Number, "The first value of the answer has to be at most this"),
        Opt::new("warn_min", Value::Number, "If the first value of the answer is less than this, it warns"),
        Opt::new("warn_max", Value::Number, "If the first value of the answer is more than this, it warns"),
        Opt::new("role", Value::Word(&["primary", "replica"]), "What it has to be"),
        Opt::new("lag", Value::Time, "A replica may be so far behind"),
        Opt::new("warn_lag", Value::Time, "If a replica is further behind than this, it warns"),
        tls_settings::TLS,
    ],
    tls_settings::OPTIONS,
);

pub(super) const KIND: Kind = Kind {
    scheme: "mysql",
    options: &OPTIONS,
    runs: Runs::OnThread,
    controls: Control::NETWORK,
    title: "mysql://{target} answers",
    passes: "a MySQL or MariaDB lets us in and carries out a statement",
    notices: &["refused", "black_hole", "rubbish", "starved"],
    examples: &["mysql://anna@localhost/shop#query=select%201"],
    build,
};

const PORT: u16 = 3306;

struct MysqlProbe {
    login: Login,
    tls: Option<TlsSettings>,
    value: Option<ExpectedValue>,
    role: Option<Role>,
    lag: Option<Duration>,
    warn_lag: Option<Duration>,
    hidden: Secrets,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Primary,
    Replica,
}

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let login = Login::take(target, PORT, options)?;
    if login.path.contains('?') {
        return Err("the target is not [USER:PASSWORD@]HOST[:PORT][/DATABASE]: it takes no parameters".to_owned());
    }
    let probe = MysqlProbe {
        login,
        tls: TlsSettings::take_if_asked(options)?,
        value: ExpectedValue::take(options)?,
        role: options.parse("role", |text| match text {
            "primary" => Ok(Role::Primary),
            "replica" => Ok(Role::Replica),
            _ => Err("write primary or replica"),
        })?,
        lag: options.parse("lag", duration::parse_some)?,
        warn_lag: options.parse("warn_lag", duration::parse_some)?,
        hidden: options.hidden(),
    };
    let hard = probe.lag.as_ref().map(|lag| (lag, duration::spoken(*lag)));
    thresholds::verify(Good::Below, "lag", hard, probe.warn_lag.as_ref())?;
    Ok(Box::new(move |deadline| Finding::from(probe.run(deadline))))
}

impl MysqlProbe {
    fn run(&self, deadline: Deadline) -> Result {
        let began = Instant::now();
        let told = |why| format!("expected mysql at {} to be well: {why} ({})", self.login.server, since(began));
        self.ask(timed::before(deadline)).map_err(|reason| reason.told(told))
    }

    fn ask(&self, deadline: Deadline) -> Result {
        let mut session = Session::open(&self.login, self.tls.as_ref(), deadline, &self.hidden)?;
        let asks_for_lag = self.lag.or(self.warn_lag).is_some();
        let mut is_behind = Ok(());
        if self.role.is_some() || asks_for_lag {
            is_behind = self.judge_replication(&mut session)?;
        }
        if let Some(value) = &self.value {
            let answer = session.query(&value.query)?;
            let first = answer.rows.first().and_then(|row| row.first());
            value.verdict(first.map(Option::as_deref), deadline, &self.hidden)?;
        } else if self.role.is_none() && !asks_for_lag && session.query("select 1")?.rows.is_empty() {
            // That a session begins does not show that a statement is carried out.
            return Err(Reason::Fail("it gives no row for `select 1`".to_owned()));
        }
        session.end();
        is_behind
    }

    /// Judges by the hard limits; what comes back is judged by the milder one.
    fn judge_replication(&self, session: &mut Session<'_>) -> Result<Result> {
        let sources = sources(session)?;
        let found = if sources.rows.is_empty() { Role::Primary } else { Role::Replica };
        match (self.role, found) {
            (Some(Role::Primary), Role::Replica) => {
                return Err(Reason::Fail("it is a replica, and has to be a primary".to_owned()));
            }
            (Some(Role::Replica), Role::Primary) => {
                return Err(Reason::Fail("it is a primary, and has to be a replica".to_owned()));
            }
            // One that was a primary, or will be, follows nobody, and is read-only in the meantime.
            (Some(Role::Primary), Role::Primary) => {
                let answer = session.query("select @@global.read_only")?;
                if answer.rows.first().and_then(|row| row.first()).cloned().flatten().as_deref() != Some(b"0") {
                    return Err(Reason::Fail("it is read-only, and has to be a primary".to_owned()));
                }
            }
            (Some(Role::Replica) | None, Role::Replica) | (None, Role::Primary) => {}
        }
        let mut milder = Ok(());
        for source in Source::all(&sources) {
            milder = milder.and(self.judge_source(&source)?);
        }
        Ok(milder)
    }

    fn judge_source(&self, source: &Source) -> Result<Result> {
        for (what, state) in [("receive", source.receives), ("apply", source.applies)] {
            if state != Some(b"Yes") {
                let state = state.unwrap_or_default();
                let state = excerpt(state, state.len(), &self.hidden);
                let why = source.error.unwrap_or_default();
                let why = if why.is_empty() { String::new() } else { excerpt(why, why.len(), &self.hidden) };
                let why = if why.is_empty() { why } else { format!(", as {why}") };
                return Err(Reason::Fail(format!(
                    "it does not {what} what its primary writes: its thread for that is {state}{why}"
                )));
            }
        }
        if self.lag.or(self.warn_lag).is_none() {
            return Ok(Ok(()));
        }
        let lag = source.behind.and_then(|seconds| str::from_utf8(seconds).ok()?.parse::<u64>().ok());
        let lag = lag.ok_or_else(|| Reason::Fail("it does not know how far it is behind its primary".to_owned()))?;
        let exceeded = |most: Option<Duration>| {
            let most = humantime::format_duration(most.filter(|most| Duration::from_secs(lag) > *most)?);
            Some(format!("it may be {most} behind its primary, and is {lag}s"))
        };
        match (exceeded(self.lag), exceeded(self.warn_lag)) {
            (Some(why), _) => Err(Reason::Fail(why)),
            (None, Some(why)) => Ok(Err(Reason::Warn(why))),
            (None, None) => Ok(Ok(())),
        }
    }
}

/// What it says of those that it follows: a row for each.
fn sources(session: &mut Session<'_>) -> Result<Answer> {
    if session.is_mariadb {
        return session.query("show all slaves status");
    }
    match session.try_query("show replica status")? {
        Ok(answer) => Ok(answer),
        // Before MySQL 8.0.22.
        Err(objection) if objection.code == SYNTAX => session.query("show slave status"),
        Err(objection) => Err(session.reason(&objection)),
    }
}

/// A server that it follows, with the names of either time.
struct Source<'a> {
    receives: Option<&'a [u8]>,
    applies: Option<&'a [u8]>,
    behind: Option<&'a [u8]>,
    error: Option<&'a [u8]>,
}

impl Source<'_> {
    fn all(answer: &Answer) -> impl Iterator<Item = Source<'_>> {
        answer.rows.iter().map(|row| {
            let value = |names: &[&str]| {
                let place = answer.names.iter().position(|name| names.contains(&name.as_str()))?;
                row.get(place)?.as_deref()
            };
            let error = value(&["Last_IO_Error"]).filter(|error| !error.is_empty());
            Source {
                receives: value(&["Slave_IO_Running", "Replica_IO_Running"]),
                applies: value(&["Slave_SQL_Running", "Replica_SQL_Running"]),
                behind: value(&["Seconds_Behind_Master", "Seconds_Behind_Source"]),
                error: error.or_else(|| value(&["Last_SQL_Error"])),
            }
        })
    }
}

#[cfg(test)]
mod tests;
