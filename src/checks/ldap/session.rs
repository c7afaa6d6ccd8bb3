//! A session with a directory, LDAP 3 (RFC 4511): who we are, one search, and goodbye.

use std::io::{self, BufReader, Write};
use std::time::Duration;

use crate::checks::excerpt;
use crate::checks::support::ber::{self, BOOLEAN, ENUMERATED, Elements, INTEGER, OCTETS, SEQUENCE, element, number};
use crate::checks::support::connection::{Connection, broken};
use crate::checks::support::secrets::Secrets;
use crate::model::check::{Reason, Result};

/// No message is longer: no attributes are asked for.
const MOST: usize = 256 * 1024;

/// A server may tell of other servers; who tells of nothing else shall not keep us busy.
const MOST_REFERENCES: usize = 1024;

/// Operations.
const BIND: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
const UNBIND: u8 = 0x42;
const SEARCH: u8 = 0x63;
const ENTRY: u8 = 0x64;
const DONE: u8 = 0x65;
const REFERENCE: u8 = 0x73;
const EXTENDED_RESPONSE: u8 = 0x78;

/// Codes of a result.
const SUCCESS: u32 = 0;
const TIME_LIMIT_EXCEEDED: u32 = 3;
const SIZE_LIMIT_EXCEEDED: u32 = 4;
const ADMIN_LIMIT_EXCEEDED: u32 = 11;
const NO_SUCH_OBJECT: u32 = 32;
const BUSY: u32 = 51;
const UNAVAILABLE: u32 = 52;
const OTHER: u32 = 80;

/// A session with a server.
pub(super) struct Session<'a> {
    stream: BufReader<Box<dyn Connection>>,
    /// The number of the last request, which its answers have too.
    id: u32,
    hidden: &'a Secrets,
}

/// What is looked for.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) base: String,
    pub(super) scope: Scope,
    /// As it is sent.
    pub(super) filter: Vec<u8>,
    /// So many entries are enough to know.
    pub(super) enough: u32,
}

/// Where it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Base = 0,
    One = 1,
    Sub = 2,
}

/// How many entries were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    All(u32),
    /// There may be more.
    AtLeast(u32),
}

impl Session<'_> {
    pub(super) fn new(connection: Box<dyn Connection>, hidden: &Secrets) -> Session<'_> {
        // With STARTTLS, the first one was before TLS.
        Session { stream: BufReader::new(connection), id: 1, hidden }
    }

    /// Says who we are; nobody, if that is empty.
    pub(super) fn bind(&mut self, dn: &str, password: &str) -> Result {
        const SIMPLE: u8 = 0x80;
        let request = [number(INTEGER, 3), octets(dn), element(SIMPLE, password.as_bytes())].concat();
        self.send(&element(BIND, &request))?;
        match self.answer()? {
            (BIND_RESPONSE, answer) => match self.result(&answer)? {
                (SUCCESS, _) => Ok(()),
                (_, reason) => Err(reason),
            },
            _ => Err(out_of_turn()),
        }
    }

    /// Searches, in so much time, and counts what there is.
    pub(super) fn count(&mut self, search: &Search, time: Duration) -> Result<Found> {
        const NO_ATTRIBUTES: &str = "1.1";
        const NEVER_FOLLOW: u32 = 0;
        let request = [
            octets(&search.base),
            number(ENUMERATED, search.scope as u32),
            number(ENUMERATED, NEVER_FOLLOW),
            number(INTEGER, search.enough),
            number(INTEGER, time.as_secs() as u32 + 1),
            element(BOOLEAN, &[0xff]),
            search.filter.clone(),
            element(SEQUENCE, &octets(NO_ATTRIBUTES)),
        ];
        self.send(&element(SEARCH, &request.concat()))?;
        let (mut entries, mut references) = (0, 0);
        loop {
            match self.answer()? {
                (ENTRY, entry) => {
                    let mut fields = Elements(&entry);
                    fields.one(OCTETS).and_then(|_name| fields.one(SEQUENCE)).ok_or_else(out_of_turn)?;
                    entries += 1;
                    // It does not heed the limit.
                    if entries > search.enough {
                        return Ok(Found::AtLeast(entries));
                    }
                }
                (REFERENCE, _) if references < MOST_REFERENCES => references += 1,
                (DONE, answer) => {
                    return match self.result(&answer)? {
                        (SUCCESS, _) => Ok(Found::All(entries)),
                        (SIZE_LIMIT_EXCEEDED | ADMIN_LIMIT_EXCEEDED, _) if entries > 0 => Ok(Found::AtLeast(entries)),
                        (_, reason) => Err(reason),
                    };
                }
                _ => return Err(out_of_turn()),
            }
        }
    }

    /// Says goodbye; whether that arrives does not matter any more.
    pub(super) fn end(mut self) {
        let _ = self.send(&element(UNBIND, &[]));
    }

    fn send(&mut self, operation: &[u8]) -> Result {
        self.id += 1;
        let message = element(SEQUENCE, &[&number(INTEGER, self.id)[..], operation].concat());
        let stream = self.stream.get_mut();
        stream.write_all(&message).and_then(|()| stream.flush()).map_err(|error| broken(&error))
    }

    /// The next answer to the last request: the operation, and what it says.
    fn answer(&mut self) -> Result<(u8, Vec<u8>)> {
        let message = ber::read(&mut self.stream, SEQUENCE, MOST).map_err(|error| unread(&error))?;
        let mut fields = Elements(&message);
        let id = fields.number(INTEGER).ok_or_else(out_of_turn)?;
        match fields.any() {
            // A notice that it is about to leave (RFC 4511, 4.4.1).
            Some((EXTENDED_RESPONSE, notice)) if id == 0 => {
                let (_, reason) = self.result(notice)?;
                Err(reason.told(|why| format!("it ends the session: {why}")))
            }
            Some((tag, content)) if id == self.id => Ok((tag, content.to_vec())),
            _ => Err(out_of_turn()),
        }
    }

    /// The code of a result, and what it says of the server where it is not a success.
    fn result(&self, answer: &[u8]) -> Result<(u32, Reason)> {
        result(answer, self.hidden).ok_or_else(out_of_turn)
    }
}

fn result(answer: &[u8], hidden: &Secrets) -> Option<(u32, Reason)> {
    let mut fields = Elements(answer);
    let code = fields.number(ENUMERATED)?;
    let _matched = fields.one(OCTETS)?;
    let text = fields.one(OCTETS)?;
    let name = name(code).map(|name| format!(" {name}")).unwrap_or_default();
    let text = if text.is_empty() { String::new() } else { format!(": {}", excerpt(text, text.len(), hidden)) };
    let why = format!("it says{name} ({code}){text}");
    let reason = match code {
        TIME_LIMIT_EXCEEDED | NO_SUCH_OBJECT | BUSY | UNAVAILABLE | OTHER => Reason::Fail(why),
        // We are not let in, may not look, or ask for what it does not do: it may be well.
        _ => Reason::Error(why),
    };
    Some((code, reason))
}

/// What a code is called (RFC 4511, appendix A), of those that are met.
fn name(code: u32) -> Option<&'static str> {
    Some(match code {
        1 => "operationsError",
        2 => "protocolError",
        3 => "timeLimitExceeded",
        4 => "sizeLimitExceeded",
        7 => "authMethodNotSupported",
        8 => "strongerAuthRequired",
        10 => "referral",
        11 => "adminLimitExceeded",
        13 => "confidentialityRequired",
        32 => "noSuchObject",
        34 => "invalidDNSyntax",
        48 => "inappropriateAuthentication",
        49 => "invalidCredentials",
        50 => "insufficientAccessRights",
        51 => "busy",
        52 => "unavailable",
        53 => "unwillingToPerform",
        80 => "other",
        _ => return None,
    })
}

/// Why a message could not be read.
fn unread(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::InvalidData if error.get_ref().is_some_and(|inner| !inner.is::<rustls::Error>()) => {
            Reason::Fail(format!("it does not speak LDAP: {error}"))
        }
        _ => broken(error),
    }
}

fn out_of_turn() -> Reason {
    Reason::Fail("it does not speak LDAP: a message is not what it should be".to_owned())
}

fn octets(text: &str) -> Vec<u8> {
    element(OCTETS, text.as_bytes())
}
