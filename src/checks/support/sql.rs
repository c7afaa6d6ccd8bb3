//! What is asked of a database that speaks SQL: the options, and what `role` and `lag` mean.

use std::time::Duration;

use super::login::{Login, PASSWORD_FILE};
use super::opt::joined;
use super::secrets::Secrets;
use super::thresholds::{self, Good};
use super::tls_settings::{self, TlsSettings};
use super::value::ExpectedValue;
use crate::checks::{Opt, Options, Value};
use crate::model::check::{Reason, Result};
use crate::model::duration;

pub(in crate::checks) const OPTIONS: [Opt; 17] = joined(
    [
        PASSWORD_FILE,
        Opt::new("query", Value::Statement, "What is asked once connected"),
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

/// Where a database is, who asks it, and what it has to be.
pub(in crate::checks) struct Database {
    pub(in crate::checks) login: Login,
    pub(in crate::checks) tls: Option<TlsSettings>,
    pub(in crate::checks) value: Option<ExpectedValue>,
    pub(in crate::checks) role: Option<Role>,
    lag: Option<Duration>,
    warn_lag: Option<Duration>,
    pub(in crate::checks) hidden: Secrets,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checks) enum Role {
    Primary,
    Replica,
}

impl Role {
    /// What is wrong where it is the other one.
    pub(in crate::checks) fn missed(self) -> Reason {
        let (is, has_to_be) = match self {
            Role::Primary => ("replica", "primary"),
            Role::Replica => ("primary", "replica"),
        };
        Reason::Fail(format!("it is a {is}, and has to be a {has_to_be}"))
    }
}

impl Database {
    /// Takes the options out of those that were given.
    pub(in crate::checks) fn take(
        target: &str,
        port: u16,
        options: &mut Options,
    ) -> std::result::Result<Database, String> {
        let login = Login::take(target, port, options)?;
        if login.path.contains('?') {
            return Err("the target is not [USER:PASSWORD@]HOST[:PORT][/DATABASE]: it takes no parameters".to_owned());
        }
        let database = Database {
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
        let hard = database.lag.as_ref().map(|lag| (lag, duration::spoken(*lag)));
        thresholds::verify(Good::Below, "lag", hard, database.warn_lag.as_ref())?;
        Ok(database)
    }

    /// Whether anything depends on how far it is behind its primary.
    pub(in crate::checks) fn asks_for_lag(&self) -> bool {
        self.lag.or(self.warn_lag).is_some()
    }

    /// Judges how far it is behind, in seconds, by the hard limit; what comes back is judged by the milder one.
    pub(in crate::checks) fn judge_lag(&self, seconds: f64) -> Result<Result> {
        let exceeded = |most: Option<Duration>| {
            let most = humantime::format_duration(most.filter(|most| seconds > most.as_secs_f64())?);
            Some(format!("it may be {most} behind its primary, and is {seconds:.0}s"))
        };
        match (exceeded(self.lag), exceeded(self.warn_lag)) {
            (Some(why), _) => Err(Reason::Fail(why)),
            (None, Some(why)) => Ok(Err(Reason::Warn(why))),
            (None, None) => Ok(Ok(())),
        }
    }
}
