//! `ldap://[DN:PASSWORD@]HOST[:PORT]`, `ldaps://` with TLS: an OpenLDAP, an Active Directory or another directory lets us in, and
//! a search finds what it should.

mod filter;
mod session;

use std::time::Instant;

use super::support::connection::Transport;
use super::support::login::{Login, PASSWORD_FILE};
use super::support::opt::joined;
use super::support::options::{TOO_LARGE, whole};
use super::support::secrets::Secrets;
use super::support::starttls::{STARTTLS, StartTls};
use super::support::thresholds::{self, Range};
use super::support::timed;
use super::support::tls_settings::{self, TlsSettings};
use super::{Action, Kind, Opt, Options, Runs, Value, since};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::perfdata::Perfdata;
use session::{Found, Scope, Search, Session};

const TLS_OPTIONS: [Opt; 14] = joined(
    [
        PASSWORD_FILE,
        Opt::new("bind_dn", Value::Text, "Who signs in, if that is not in the target"),
        Opt::new("base", Value::Text, "The entry at and under which it is searched").or_empty(),
        Opt::new(
            "scope",
            Value::Word(&["sub", "one", "base"]),
            "At and under the base unless given, right under it, or it alone",
        ),
        Opt::new("filter", Value::Text, "What is searched for, as in (uid=anna)"),
        Opt::new("min", Value::Number, "So many entries have to be found at least; one, unless max is given"),
        Opt::new("max", Value::Number, "So many entries may be found at most"),
        Opt::new("warn_min", Value::Number, "If fewer entries than this are found, it warns"),
        Opt::new("warn_max", Value::Number, "If more entries than this are found, it warns"),
    ],
    tls_settings::OPTIONS,
);

const OPTIONS: [Opt; 15] = joined([STARTTLS], TLS_OPTIONS);

pub(super) const KIND: Kind = Kind {
    scheme: "ldap",
    port: Some(389),
    options: &OPTIONS,
    runs: Runs::OnThread,
    controls: Control::NETWORK,
    title: "ldap://{target} answers",
    passes: "a directory lets us in and carries out a search",
    notices: &["refused", "black_hole", "rubbish", "starved"],
    examples: &["ldap://localhost#starttls", "ldap://cn=web,dc=shop:secret@dir#base=dc=shop&filter=(uid=anna)"],
    build: |target, options| build(Transport::take(StartTls::Ldap, "ldap", options)?, 389, target, options),
};

pub(super) const KIND_LDAPS: Kind = Kind {
    scheme: "ldaps",
    port: Some(636),
    options: &TLS_OPTIONS,
    title: "ldaps://{target} answers",
    passes: "the same with TLS from the first byte on, and the certificate is trusted",
    notices: &["refused", "black_hole", "rubbish", "stranger: another certificate", "starved"],
    examples: &["ldaps://localhost"],
    build: |target, options| build(Transport::Tls(TlsSettings::take(options)?), 636, target, options),
    ..KIND
};

struct LdapProbe {
    login: Login,
    /// Who signs in.
    dn: String,
    transport: Transport,
    search: Search,
    /// How many entries there have to be, if that matters.
    range: Option<Range<u32>>,
    hidden: Secrets,
}

fn build(transport: Transport, port: u16, target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let login = Login::take(target, port, options)?;
    if !login.path.is_empty() {
        return Err("the target is not [DN:PASSWORD@]HOST[:PORT]: give the base as base=dc=shop".to_owned());
    }
    let dn = match (&login.user, options.take("bind_dn")?) {
        (Some(_), Some(_)) => return Err("there is a user, and a bind_dn too: give one of them".to_owned()),
        (user, given) => user.clone().or(given).unwrap_or_default(),
    };
    match (dn.is_empty(), login.has_password()) {
        (true, true) => return Err("there is nobody to sign in: give bind_dn".to_owned()),
        (false, false) => return Err("there is a user without a password: give password_file".to_owned()),
        (true, false) | (false, true) => {}
    }
    options.go_with("base", "a search", &SEARCHED)?;
    let base = options.take("base")?;
    let filter = options.parse("filter", filter::encode)?;
    let scope = options.parse("scope", Scope::parse)?;
    let number =
        |text: &str| whole::<u32>(text).and_then(|number| if number > MOST { Err(TOO_LARGE) } else { Ok(number) });
    let range = Range::take(options, number)?;
    let range = if range.is_open() { Range::at_least(1) } else { range };
    let search = Search {
        // Without a base, it is asked about itself, which every server answers.
        scope: scope.unwrap_or(if base.is_some() { Scope::Sub } else { Scope::Base }),
        filter: filter.map_or_else(|| filter::encode("(objectClass=*)"), Ok)?,
        enough: range.enough(),
        base: base.clone().unwrap_or_default(),
    };
    let range = base.map(|_| range);
    Ok(Box::new({
        let probe = LdapProbe { login, dn, transport, search, range, hidden: options.hidden() };
        move |deadline| probe.run(deadline)
    }))
}

/// The options that say what is searched for.
const SEARCHED: [&str; 6] = ["scope", "filter", "min", "max", "warn_min", "warn_max"];

/// More than that, a server cannot be asked for.
const MOST: u32 = i32::MAX as u32 - 1;

impl Scope {
    fn parse(text: &str) -> std::result::Result<Scope, &'static str> {
        match text {
            "sub" => Ok(Scope::Sub),
            "one" => Ok(Scope::One),
            "base" => Ok(Scope::Base),
            _ => Err("write sub, one or base"),
        }
    }
}

impl LdapProbe {
    fn run(&self, deadline: Deadline) -> Finding {
        let began = Instant::now();
        let told =
            |why| format!("expected {} at {} to be well: {why} ({})", self.scheme(), self.login.server, since(began));
        let (found, range) = match (self.ask(timed::before(deadline)), &self.range) {
            (Err(reason), _) => return Finding::from(Err(reason.told(told))),
            (Ok(_), None) => return Finding::PASS,
            (Ok(found), Some(range)) => (found, range),
        };
        let (Found::All(entries) | Found::AtLeast(entries)) = found;
        let perfdata = match found {
            Found::All(entries) => vec![Perfdata::new("entries", f64::from(entries), "")],
            Found::AtLeast(entries) if entries < self.search.enough => {
                let why = format!("the server tells of {entries} entries, and that there are more");
                return Finding::error(told(why));
            }
            Found::AtLeast(_) => Vec::new(),
        };
        let or_more = if perfdata.is_empty() { " or more" } else { "" };
        let verdict = |exceeded: Option<String>| match exceeded {
            None => Ok(()),
            Some(limit) => Err(Reason::Fail(told(format!("expected {limit} entries, found {entries}{or_more}")))),
        };
        let finding = Finding { perfdata, ..Finding::from(verdict(range.exceeded(entries))) };
        thresholds::judged(finding, || verdict(range.mildly_exceeded(entries)))
    }

    fn scheme(&self) -> &'static str {
        match self.transport {
            Transport::Tls(_) => "ldaps",
            Transport::Tcp | Transport::StartTls(..) => "ldap",
        }
    }

    fn ask(&self, deadline: Deadline) -> Result<Found> {
        let password = self.login.password()?.unwrap_or_default();
        // Most servers take that for nobody, and let it in.
        if !self.dn.is_empty() && password.is_empty() {
            return Err(Reason::Error("the password is empty: give one".to_owned()));
        }
        let connection = self.transport.connect(&self.login.server, deadline)?;
        let mut session = Session::new(connection, &self.hidden);
        session.bind(&self.dn, &password)?;
        let found = session.count(&self.search, deadline.remaining(Instant::now()))?;
        session.end();
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
