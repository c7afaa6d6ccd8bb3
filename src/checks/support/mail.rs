//! What the checks of mail servers share: how a server is reached, in plain text or with TLS, who signs in, and its dialogue.

use std::io;
use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::connection::{Connection, Transport, broken};
use super::dialogue::Dialogue;
use super::login::{Login, PASSWORD_FILE};
use super::opt::{Opt, Value, joined};
use super::secrets::Secrets;
use super::starttls::{STARTTLS, StartTls};
use super::timed;
use super::tls_settings::{self, TlsSettings};
use crate::checks::{Action, Options, excerpt, since};
use crate::model::check::{Deadline, Finding, Reason, Result};

/// The options of a kind that has TLS from the first byte on.
pub(in crate::checks) const TLS_OPTIONS: [Opt; 7] = joined(
    [
        PASSWORD_FILE,
        Opt::new(
            "auth",
            Value::Word(Mechanism::NAMES),
            "How we sign in; unless given, in one of these ways that it offers",
        ),
    ],
    tls_settings::OPTIONS,
);

/// The options of a kind that begins in plain text.
pub(in crate::checks) const OPTIONS: [Opt; 8] = joined([STARTTLS], TLS_OPTIONS);

/// A protocol of mail servers.
pub(in crate::checks) struct Protocol {
    pub(in crate::checks) scheme: &'static str,
    pub(in crate::checks) starttls: StartTls,
    /// The port on which TLS begins with the first byte (RFC 8314).
    pub(in crate::checks) tls_port: u16,
    /// What is said from the greeting to the goodbye.
    pub(in crate::checks) talk: fn(&mut Session, Option<&Account>) -> Result,
}

/// A way to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checks) enum Mechanism {
    /// RFC 4616.
    Plain,
    /// The protocol's own, and SASL's LOGIN where it has none.
    Login,
}

impl Mechanism {
    const NAMES: &[&str] = &["plain", "login"];

    fn parse(text: &str) -> std::result::Result<Mechanism, &'static str> {
        match text {
            "plain" => Ok(Mechanism::Plain),
            "login" => Ok(Mechanism::Login),
            _ => Err("write plain or login"),
        }
    }
}

/// Who signs in.
pub(in crate::checks) struct Account {
    pub(in crate::checks) user: String,
    pub(in crate::checks) password: String,
    /// The way that was asked for.
    pub(in crate::checks) mechanism: Option<Mechanism>,
}

impl Account {
    /// What is said of it in SASL's PLAIN (RFC 4616).
    pub(in crate::checks) fn plain(&self) -> String {
        BASE64_STANDARD.encode(format!("\0{}\0{}", self.user, self.password))
    }
}

struct MailProbe {
    protocol: &'static Protocol,
    login: Login,
    mechanism: Option<Mechanism>,
    transport: Transport,
    hidden: Secrets,
}

impl Protocol {
    /// A check of a server that begins in plain text.
    pub(in crate::checks) fn build(
        &'static self,
        target: &str,
        options: &mut Options,
    ) -> std::result::Result<Action, String> {
        let transport = Transport::take(self.starttls, self.scheme, options)?;
        self.build_as(transport, self.starttls.port(), target, options)
    }

    /// A check of a server that begins with TLS.
    pub(in crate::checks) fn build_with_tls(
        &'static self,
        target: &str,
        options: &mut Options,
    ) -> std::result::Result<Action, String> {
        self.build_as(Transport::Tls(TlsSettings::take(options)?), self.tls_port, target, options)
    }

    fn build_as(
        &'static self,
        transport: Transport,
        port: u16,
        target: &str,
        options: &mut Options,
    ) -> std::result::Result<Action, String> {
        let login = Login::take(target, port, options)?;
        let mechanism = options.parse("auth", Mechanism::parse)?;
        match (&login.user, login.has_password()) {
            _ if !login.path.is_empty() => return Err("the target is not [USER:PASSWORD@]HOST[:PORT]".to_owned()),
            (Some(user), true) if user.contains(char::is_control) => {
                return Err("the user has a control character".to_owned());
            }
            (Some(_), true) => {}
            (None, false) if mechanism.is_none() => {}
            (None, _) => return Err("there is nobody to sign in: write USER@ before the host".to_owned()),
            (Some(_), false) => return Err("there is a user without a password: give password_file".to_owned()),
        }
        let probe = MailProbe { protocol: self, login, mechanism, transport, hidden: options.hidden() };
        Ok(Box::new(move |deadline| Finding::from(probe.run(deadline))))
    }
}

impl MailProbe {
    fn run(&self, deadline: Deadline) -> Result {
        let (began, protocol) = (Instant::now(), self.protocol.scheme);
        let told = |why| format!("expected {protocol} at {} to be well: {why} ({})", self.login.server, since(began));
        self.talk(timed::before(deadline)).map_err(|reason| reason.told(told))
    }

    fn talk(&self, deadline: Deadline) -> Result {
        let account = self.account()?;
        let stream = self.transport.connect(&self.login.server, deadline)?;
        let mut session = Session {
            dialogue: Dialogue::new(stream),
            has_greeted: matches!(self.transport, Transport::StartTls(..)),
            is_signing_in: false,
            hidden: self.hidden.clone(),
        };
        (self.protocol.talk)(&mut session, account.as_ref())
    }

    fn account(&self) -> Result<Option<Account>> {
        let (Some(user), Some(password)) = (self.login.user.clone(), self.login.password()?) else { return Ok(None) };
        // It would end the line, and what follows would be a command.
        if password.contains(char::is_control) {
            return Err(Reason::Error("the password has a control character: give another one".to_owned()));
        }
        Ok(Some(Account { user, password, mechanism: self.mechanism }))
    }
}

/// A dialogue with a mail server.
pub(in crate::checks) struct Session {
    dialogue: Dialogue<Box<dyn Connection>>,
    /// Before TLS began, and it does not do it again.
    pub(in crate::checks) has_greeted: bool,
    is_signing_in: bool,
    hidden: Secrets,
}

impl Session {
    /// Says what signs us in. Servers are slow to tell that a password is wrong, some more so each time.
    pub(in crate::checks) fn sign_in(&mut self, talk: impl FnOnce(&mut Session) -> Result) -> Result {
        self.is_signing_in = true;
        talk(self)?;
        self.is_signing_in = false;
        Ok(())
    }

    pub(in crate::checks) fn say(&mut self, line: &str) -> Result {
        self.dialogue.send(format!("{line}\r\n").as_bytes()).map_err(|error| broken(&error))
    }

    /// The next line of its greeting, or whatever we wait for.
    pub(in crate::checks) fn line(&mut self, awaited: &str) -> Result<String> {
        let line = self.dialogue.line().map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Reason::Fail(format!("it closed the connection before {awaited}")),
            io::ErrorKind::TimedOut if self.is_signing_in => Reason::Error(format!(
                "waiting for {awaited}: nothing came in time, as where a wrong password is answered late: try a longer timeout"
            )),
            _ => broken(&error).told(|why| format!("waiting for {awaited}: {why}")),
        })?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Which line came instead of what we waited for.
    pub(in crate::checks) fn came(&self, awaited: &str, line: &str) -> String {
        format!("{awaited} is {}", excerpt(line.as_bytes(), line.len(), &self.hidden))
    }

    pub(in crate::checks) fn unexpected(&self, awaited: &str, line: &str) -> Reason {
        Reason::Fail(self.came(awaited, line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::{BUILTINS, imap, pop3, smtp};

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (target, pairs, why) in [
            ("//", &[][..], "the target is not [USER:PASSWORD@]HOST[:PORT]"),
            ("//mail:x", &[], "the target is not [USER:PASSWORD@]HOST[:PORT]"),
            ("//mail/inbox", &[], "the target is not [USER:PASSWORD@]HOST[:PORT]"),
            ("//anna@mail", &[], "there is a user without a password"),
            ("//:pw@mail", &[], "there is nobody to sign in"),
            ("//mail", &[("password_file", "/f")], "there is nobody to sign in"),
            ("//mail", &[("auth", "plain")], "there is nobody to sign in"),
            ("//an%0ana:pw@mail", &[], "the user has a control character"),
            ("//anna:pw@mail", &[("password_file", "/f")], "give one of them"),
            ("//anna:pw@mail", &[("auth", "cram-md5")], "option auth: write plain or login"),
        ] {
            for kind in
                BUILTINS.iter().filter(|kind| kind.options.starts_with(&OPTIONS[1..3]) || kind.options == OPTIONS)
            {
                let error = (kind.build)(target, &mut Options::of(pairs)).err().unwrap_or_default();
                assert!(error.contains(why), "{}:{target}: {error}", kind.scheme);
            }
        }
        for kind in [smtp::KIND, imap::KIND, pop3::KIND] {
            for name in ["ca", "insecure", "servername", "client_cert", "client_key"] {
                let error = (kind.build)("//mail", &mut Options::of(&[(name, "x")])).err().unwrap_or_default();
                assert!(error.contains(&format!("option {name} is for TLS: add starttls, or write {}s", kind.scheme)));
            }
            assert!((kind.build)("//mail", &mut Options::of(&[("starttls", "yes")])).is_err());
        }
    }
}
