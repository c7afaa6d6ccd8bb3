//! A session with a MySQL or MariaDB: the handshake, and statements with answers as text.
//! The protocol: <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html>,
//! <https://mariadb.com/docs/server/reference/clientserver-protocol>

use std::io::{self, BufReader, Read, Write};
use std::time::Instant;

use mysql_common::auth::plugins::caching_sha2_password::scramble_sha256;
use mysql_common::auth::plugins::client_ed25519::ClientEd25519;
use mysql_common::auth::plugins::mysql_native_password::scramble_native;
use mysql_common::auth::plugins::{ChallengeResponsePlugin, Context};
use mysql_common::constants::CapabilityFlags;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{AuthPlugin, AuthSwitchRequest, HandshakePacket, HandshakeResponse, SslRequest};
use mysql_common::proto::MySerialize;

use super::server_key::ServerKey;
use crate::checks::support::connection::{Connection, broken};
use crate::checks::support::login::Login;
use crate::checks::support::secrets::Secrets;
use crate::checks::support::sql::Database;
use crate::checks::{excerpt, tcp};
use crate::model::check::{Deadline, Reason, Result};

/// How much of an answer is read. A query may give a million rows; the first one counts.
const MOST: usize = 256 * 1024;

/// Nobody follows more servers, and nobody looks at more rows.
const MOST_ROWS: usize = 64;

/// More columns no table has.
const MOST_COLUMNS: u64 = 4096;

/// No server has as many ways to sign in; who goes on asking shall not keep us busy.
const MOST_STEPS: usize = 16;

/// What an answer begins with that is no table, or ends with.
const OK: u8 = 0x00;
const MORE: u8 = 0x01;
const NULL: u8 = 0xfb;
const EOF: u8 = 0xfe;
const ERR: u8 = 0xff;

/// Commands.
const QUIT: u8 = 0x01;
const QUERY: u8 = 0x03;

/// What a server says with `caching_sha2_password`: that it knows the password, or that it wants it as it is.
const IS_KNOWN: &[u8] = &[3];
const IS_WANTED: &[u8] = &[4];

/// The number of the error that a statement cannot be understood.
pub(super) const SYNTAX: u16 = 1064;

/// A session with a server.
pub(super) struct Session<'a> {
    stream: BufReader<Box<dyn Connection>>,
    /// The number of the next packet, by which both sides see that none is missing.
    sequence: u8,
    hidden: &'a Secrets,
    pub(super) is_mariadb: bool,
}

/// A table that a statement gives; one that gives none has no rows.
#[derive(Debug, Default)]
pub(super) struct ResultSet {
    pub(super) names: Vec<String>,
    /// The first ones; `None` is NULL.
    pub(super) rows: Vec<Vec<Option<Vec<u8>>>>,
}

/// What a server objects to a statement, or to us.
pub(super) struct Objection {
    pub(super) code: u16,
    state: String,
    text: Vec<u8>,
}

impl Session<'_> {
    pub(super) fn open<'a>(
        database: &'a Database,
        server_key: Option<&ServerKey>,
        deadline: Deadline,
    ) -> Result<Session<'a>> {
        let Database { login, hidden, .. } = database;
        let tls = database.tls.as_ref();
        let mut stream = tcp::connect(&login.server, deadline)?;
        let mut sequence = 0;
        // It speaks first. Nothing of what follows is read yet: it may be for TLS.
        let greeting = read_packet(&mut stream, &mut sequence)?;
        if greeting.first() == Some(&ERR) {
            return Err(reason(&Objection::parse(&greeting)?, hidden));
        }
        let greeting = greeted(&greeting)?;
        let capabilities = wanted(&greeting, login, tls.is_some())?;
        let stream: Box<dyn Connection> = match tls {
            None => Box::new(stream),
            Some(settings) => {
                // With the collation utf8mb4_general_ci.
                let request = SslRequest::new(capabilities, MOST as u32, 45);
                write_packet(&mut stream, &mut sequence, &serialized(&request))?;
                Box::new(settings.shake_hands(stream, login.server.name(), true)?)
            }
        };
        let is_mariadb = greeting.server_version_ref().windows(7).any(|part| part == b"MariaDB");
        let mut session = Session { stream: BufReader::new(stream), sequence, hidden, is_mariadb };
        let password = login.password()?.unwrap_or_default();
        session.sign_in(
            &greeting,
            capabilities,
            login,
            &Account { password, is_encrypted: tls.is_some(), server_key },
        )?;
        session.limit(deadline)?;
        Ok(session)
    }

    fn sign_in(
        &mut self,
        greeting: &HandshakePacket<'_>,
        capabilities: CapabilityFlags,
        login: &Login,
        account: &Account<'_>,
    ) -> Result {
        // What it proposes is its default. Where that says nothing to us, the account may still have another one.
        let plugin = match greeting.auth_plugin() {
            Some(plugin @ (AuthPlugin::CachingSha2Password | AuthPlugin::Ed25519)) => plugin.into_owned(),
            Some(_) | None => AuthPlugin::MysqlNativePassword,
        };
        let nonce = greeting.nonce();
        // The other one has a nonce of its own, which comes with the change to it.
        let first = match plugin {
            AuthPlugin::Ed25519 => Vec::new(),
            _ => account.response(&plugin, &nonce)?,
        };
        let database = (!login.path.is_empty()).then_some(login.path.as_bytes());
        let user = login.user.as_deref().unwrap_or("root").as_bytes();
        let proposed = capabilities.contains(CapabilityFlags::CLIENT_PLUGIN_AUTH).then(|| plugin.borrow());
        let response = HandshakeResponse::new(
            Some(first),
            (8, 0, 0),
            Some(user),
            database,
            proposed,
            capabilities,
            None,
            MOST as u32,
        );
        self.send(&serialized(&response))?;
        let (mut plugin, mut nonce) = (plugin, nonce.to_vec());
        for _ in 0..MOST_STEPS {
            let packet = self.next()?;
            match packet.split_first() {
                Some((&OK, _)) => return Ok(()),
                Some((&ERR, _)) => return Err(self.reason(&Objection::parse(&packet)?)),
                Some((&EOF, rest)) if !rest.is_empty() => {
                    let request: AuthSwitchRequest<'_> = ParseBuf(&packet).parse(()).map_err(malformed)?;
                    plugin = request.auth_plugin().into_owned();
                    nonce = request.plugin_data().to_vec();
                    let response = account.response(&plugin, &nonce)?;
                    self.send(&response)?;
                }
                Some((&MORE, IS_KNOWN)) if plugin == AuthPlugin::CachingSha2Password => {}
                Some((&MORE, IS_WANTED)) if plugin == AuthPlugin::CachingSha2Password => {
                    self.send(&account.told(&nonce)?)?;
                }
                Some((&EOF, _)) => {
                    return Err(Reason::Error(
                        "it wants the password as MySQL 4.0 did, which tells it to whoever listens".to_owned(),
                    ));
                }
                _ => return Err(out_of_turn()),
            }
        }
        Err(out_of_turn())
    }

    /// A server does not see that nobody waits any more: what it works at would pile up, round by round.
    fn limit(&mut self, deadline: Deadline) -> Result {
        let left = deadline.remaining(Instant::now());
        let statement = match self.is_mariadb {
            true => format!("set session max_statement_time = {:.3}", left.as_secs_f64() + 0.1),
            false => format!("set session max_execution_time = {}", left.as_millis() + 100),
        };
        // An old one knows no such variable.
        self.try_query(&statement).map(drop)
    }

    pub(super) fn query(&mut self, query: &str) -> Result<ResultSet> {
        self.try_query(query)?.map_err(|objection| self.reason(&objection))
    }

    /// Asks, and reads to the end of the answer, or as much of it as is read at all.
    pub(super) fn try_query(&mut self, query: &str) -> Result<std::result::Result<ResultSet, Objection>> {
        self.sequence = 0;
        self.send(&[&[QUERY], query.as_bytes()].concat())?;
        let packet = self.next()?;
        let columns = match packet.first() {
            Some(&OK) => return Ok(Ok(ResultSet::default())),
            Some(&ERR) => return Objection::parse(&packet).map(Err),
            Some(&NULL) => return Err(Reason::Error("the query wants a file of ours".to_owned())),
            _ => ParseBuf(&packet).checked_eat_lenenc_int().filter(|count| (1..=MOST_COLUMNS).contains(count)),
        };
        let columns = columns.ok_or_else(out_of_turn)?;
        let mut answer = ResultSet::default();
        let mut size = 0;
        for _ in 0..columns {
            let packet = self.next()?;
            size += packet.len();
            answer.names.push(name(&packet).ok_or_else(out_of_turn)?);
        }
        match self.next()?.as_slice() {
            [EOF, rest @ ..] if rest.len() < 8 => {}
            _ => return Err(out_of_turn()),
        }
        loop {
            let packet = self.next()?;
            match packet.as_slice() {
                [EOF, rest @ ..] if rest.len() < 8 => return Ok(Ok(answer)),
                [ERR, ..] => return Objection::parse(&packet).map(Err),
                row if answer.rows.len() < MOST_ROWS => answer.rows.push(values(row, columns).ok_or_else(out_of_turn)?),
                _ => {}
            }
            size += packet.len();
            if size > MOST {
                return Ok(Ok(answer));
            }
        }
    }

    /// Says goodbye; whether that arrives does not matter any more.
    pub(super) fn end(mut self) {
        self.sequence = 0;
        let _ = self.send(&[QUIT]);
    }

    fn send(&mut self, payload: &[u8]) -> Result {
        write_packet(self.stream.get_mut(), &mut self.sequence, payload)
    }

    fn next(&mut self) -> Result<Vec<u8>> {
        read_packet(&mut self.stream, &mut self.sequence)
    }

    /// What an objection says of the server.
    pub(super) fn reason(&self, objection: &Objection) -> Reason {
        reason(objection, self.hidden)
    }
}

/// What is needed of its greeting, if it is one.
fn greeted(packet: &[u8]) -> Result<HandshakePacket<'static>> {
    // The length of its nonce, which mysql_common takes for a signed number.
    let version = packet.iter().position(|byte| *byte == 0).unwrap_or(packet.len());
    if packet.get(version + 21).is_none_or(|length| *length > 0x7f) {
        return Err(out_of_turn());
    }
    let greeting: HandshakePacket<'_> = ParseBuf(packet).parse(()).map_err(malformed)?;
    if greeting.protocol_version() != 10 {
        return Err(out_of_turn());
    }
    Ok(greeting.into_owned())
}

/// What of its capabilities is used.
fn wanted(greeting: &HandshakePacket<'_>, login: &Login, tls: bool) -> Result<CapabilityFlags> {
    let needed = CapabilityFlags::CLIENT_PROTOCOL_41 | CapabilityFlags::CLIENT_SECURE_CONNECTION;
    let mut offered = greeting.capabilities();
    // MariaDB leaves that one out, by which a client of its own sees its other ones.
    offered.insert(CapabilityFlags::CLIENT_LONG_PASSWORD);
    if !offered.contains(needed) {
        return Err(Reason::Error("it speaks the protocol of MySQL 4.0, which is not known here".to_owned()));
    }
    if tls && !offered.contains(CapabilityFlags::CLIENT_SSL) {
        return Err(Reason::Fail("it does not offer TLS".to_owned()));
    }
    let mut wanted = needed
        | CapabilityFlags::CLIENT_LONG_PASSWORD
        | CapabilityFlags::CLIENT_TRANSACTIONS
        | CapabilityFlags::CLIENT_PLUGIN_AUTH
        | CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA;
    wanted.set(CapabilityFlags::CLIENT_CONNECT_WITH_DB, !login.path.is_empty());
    wanted.set(CapabilityFlags::CLIENT_SSL, tls);
    Ok(wanted & offered)
}

/// Who signs in, and whether others may listen.
struct Account<'a> {
    password: String,
    is_encrypted: bool,
    server_key: Option<&'a ServerKey>,
}

impl Account<'_> {
    /// What a plugin answers to what it is given by the server.
    fn response(&self, plugin: &AuthPlugin<'_>, nonce: &[u8]) -> Result<Vec<u8>> {
        let password = self.password.as_bytes();
        let other_nonce = |_| out_of_turn();
        match plugin {
            AuthPlugin::MysqlNativePassword => Ok(scramble_native(nonce, password).map(Vec::from).unwrap_or_default()),
            AuthPlugin::CachingSha2Password => {
                let nonce = nonce.try_into().map_err(other_nonce)?;
                Ok(scramble_sha256(nonce, password).map(Vec::from).unwrap_or_default())
            }
            AuthPlugin::Ed25519 => {
                let response = ClientEd25519::default().run(self, nonce).map_err(|_| out_of_turn())?;
                Ok(response.data().unwrap_or_default().to_vec())
            }
            AuthPlugin::Sha256Password => self.told(nonce),
            AuthPlugin::MysqlClearPassword => self.in_plain(),
            AuthPlugin::MysqlOldPassword | AuthPlugin::Parsec | AuthPlugin::Other(_) => {
                let name = plugin.as_bytes();
                let name = excerpt(name, name.len(), &Secrets::default());
                Err(Reason::Error(format!("it wants a way to sign in that is not known here: {name}")))
            }
        }
    }

    /// The password for a server that has to know it.
    fn told(&self, nonce: &[u8]) -> Result<Vec<u8>> {
        match self.server_key {
            Some(_) if nonce.is_empty() => Err(out_of_turn()),
            Some(key) if !self.is_encrypted => key.encrypt(&self.password, nonce).map_err(Reason::Error),
            None if !self.is_encrypted => Err(Reason::Error(
                "it wants the password as it is, which is only said with TLS: give tls, or server_public_key"
                    .to_owned(),
            )),
            Some(_) | None => self.in_plain(),
        }
    }

    /// The password as it is, for those alone whom it is for.
    fn in_plain(&self) -> Result<Vec<u8>> {
        match self.is_encrypted {
            true => Ok([self.password.as_bytes(), b"\0"].concat()),
            false => {
                Err(Reason::Error("it wants the password as it is, which is only said with TLS: give tls".to_owned()))
            }
        }
    }
}

impl Context for &Account<'_> {
    fn pass(&self) -> &[u8] {
        self.password.as_bytes()
    }

    fn is_ipc_transport(&self) -> bool {
        false
    }

    fn is_tls_transport(&self) -> bool {
        self.is_encrypted
    }

    fn scramble(&self) -> &[u8] {
        &[]
    }

    fn server_key_pem(&self) -> Option<&[u8]> {
        None
    }
}

impl Objection {
    fn parse(packet: &[u8]) -> Result<Objection> {
        let [_, low, high, rest @ ..] = packet else { return Err(out_of_turn()) };
        // Before it knows what we understand, it says no state.
        let (state, text) = match rest {
            [b'#', rest @ ..] if rest.len() >= 5 => rest.split_at(5),
            _ => (&b"HY000"[..], rest),
        };
        let state = String::from_utf8_lossy(state).into_owned();
        Ok(Objection { code: u16::from_le_bytes([*low, *high]), state, text: text.to_vec() })
    }
}

/// What an objection says of the server, by its number and its SQLSTATE.
fn reason(objection: &Objection, hidden: &Secrets) -> Reason {
    let Objection { code, state, text } = objection;
    let why = format!("it says {} ({code}, {state})", excerpt(text, text.len(), hidden));
    match (state.get(..2), code) {
        // We are not let in, the database is not there, or the statement is wrong or not allowed: it may be well.
        (Some("28" | "42" | "3D" | "21" | "22" | "25" | "0A"), _) => Reason::Error(why),
        // The same, where there is no state for it: this host is not allowed or is blocked, the variable is not known, the
        // server lacks an option for the statement, the password has ended, TLS is needed, the account is locked.
        (_, 1129 | 1130 | 1193 | 1290 | 1820 | 1862 | 3118 | 3159 | 4151) => Reason::Error(why),
        _ => Reason::Fail(why),
    }
}

/// The name of a column in its description: the fifth of its texts.
fn name(packet: &[u8]) -> Option<String> {
    let mut rest = ParseBuf(packet);
    let name = (0..5).map(|_| rest.checked_eat_lenenc_str()).collect::<Option<Vec<_>>>()?.pop()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// The values of a row.
fn values(packet: &[u8], columns: u64) -> Option<Vec<Option<Vec<u8>>>> {
    let mut rest = ParseBuf(packet);
    let values = (0..columns).map(|_| match rest.0.first()? {
        &NULL => rest.checked_eat_u8().map(|_| None),
        _ => rest.checked_eat_lenenc_str().map(|value| Some(value.to_vec())),
    });
    let values = values.collect::<Option<Vec<_>>>()?;
    rest.is_empty().then_some(values)
}

fn serialized(packet: &impl MySerialize) -> Vec<u8> {
    let mut payload = Vec::new();
    packet.serialize(&mut payload);
    payload
}

fn write_packet(stream: &mut (impl Write + ?Sized), sequence: &mut u8, payload: &[u8]) -> Result {
    // No statement is as long as that: it stands in the name of a check.
    let [a, b, c, _] = (payload.len() as u32).to_le_bytes();
    let packet = [&[a, b, c, *sequence], payload].concat();
    *sequence = sequence.wrapping_add(1);
    stream.write_all(&packet).and_then(|()| stream.flush()).map_err(|error| broken(&error))
}

fn read_packet(stream: &mut impl Read, sequence: &mut u8) -> Result<Vec<u8>> {
    let failed = |error: io::Error| broken(&error);
    let mut head = [0; 4];
    stream.read_exact(&mut head).map_err(failed)?;
    let [a, b, c, number] = head;
    if number != *sequence {
        return Err(out_of_turn());
    }
    *sequence = sequence.wrapping_add(1);
    let length = u32::from_le_bytes([a, b, c, 0]) as usize;
    if length > MOST {
        return Err(Reason::Error("it says more than 256 KiB at once, and no more is read".to_owned()));
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).map_err(failed)?;
    Ok(payload)
}

fn malformed(error: io::Error) -> Reason {
    Reason::Fail(format!("it does not speak MySQL's protocol: {error}"))
}

fn out_of_turn() -> Reason {
    Reason::Fail("it does not speak MySQL's protocol: a packet is not what it should be".to_owned())
}
