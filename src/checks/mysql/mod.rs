//! `mysql://USER:PASSWORD@HOST[:PORT][/DATABASE]`: a MySQL or MariaDB answers, and is what it should be.

mod server_key;
mod session;

use std::time::Instant;

use super::support::opt::joined;
use super::support::sql::{self, Database, Role};
use super::support::timed;
use super::{Action, Kind, Opt, Options, Runs, excerpt, since};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;
use server_key::ServerKey;
use session::{ResultSet, SYNTAX, Session};

const OPTIONS: [Opt; 18] = joined(sql::OPTIONS, [server_key::OPTION]);

pub(super) const KIND: Kind = Kind {
    scheme: "mysql",
    port: Some(PORT),
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

struct MysqlProbe(Database, Option<ServerKey>);

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let probe = MysqlProbe(Database::take(target, PORT, options)?, ServerKey::take(options)?);
    Ok(Box::new(move |deadline| Finding::from(probe.run(deadline))))
}

impl MysqlProbe {
    fn run(&self, deadline: Deadline) -> Result {
        let began = Instant::now();
        let told = |why| format!("expected mysql at {} to be well: {why} ({})", self.0.login.server, since(began));
        self.ask(timed::before(deadline)).map_err(|reason| reason.told(told))
    }

    fn ask(&self, deadline: Deadline) -> Result {
        let MysqlProbe(database, server_key) = self;
        let mut session = Session::open(database, server_key.as_ref(), deadline)?;
        let asks_for_lag = self.0.asks_for_lag();
        let mut is_behind = Ok(());
        if self.0.role.is_some() || asks_for_lag {
            is_behind = self.judge_replication(&mut session)?;
        }
        if let Some(value) = &self.0.value {
            let answer = session.query(&value.query)?;
            let first = answer.rows.first().and_then(|row| row.first());
            value.verdict(first.map(Option::as_deref), deadline, &self.0.hidden)?;
        } else if self.0.role.is_none() && !asks_for_lag && session.query("select 1")?.rows.is_empty() {
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
        match (self.0.role, found) {
            (Some(role), found) if role != found => return Err(role.missed()),
            // One that was a primary, or will be, follows nobody, and is read-only in the meantime.
            (Some(Role::Primary), Role::Primary) => {
                let answer = session.query("select @@global.read_only")?;
                if answer.rows.first().and_then(|row| row.first()).cloned().flatten().as_deref() != Some(b"0") {
                    return Err(Reason::Fail("it is read-only, and has to be a primary".to_owned()));
                }
            }
            _ => {}
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
                let state = excerpt(state, state.len(), &self.0.hidden);
                let why = source.error.unwrap_or_default();
                let why = if why.is_empty() { String::new() } else { excerpt(why, why.len(), &self.0.hidden) };
                let why = if why.is_empty() { why } else { format!(", as {why}") };
                return Err(Reason::Fail(format!(
                    "it does not {what} what its primary writes: its thread for that is {state}{why}"
                )));
            }
        }
        if !self.0.asks_for_lag() {
            return Ok(Ok(()));
        }
        let lag = source.behind.and_then(|seconds| str::from_utf8(seconds).ok()?.parse().ok());
        self.0
            .judge_lag(lag.ok_or_else(|| Reason::Fail("it does not know how far it is behind its primary".to_owned()))?)
    }
}

/// What it says of those that it follows: a row for each.
fn sources(session: &mut Session<'_>) -> Result<ResultSet> {
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
    fn all(answer: &ResultSet) -> impl Iterator<Item = Source<'_>> {
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
