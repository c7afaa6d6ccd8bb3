//! `postgres://USER:PASSWORD@HOST[:PORT][/DATABASE]`: a PostgreSQL answers, and is what it should be.
//! The protocol, version 3.0: <https://www.postgresql.org/docs/current/protocol.html>

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{ErrorResponseBody, Header, Message};
use postgres_protocol::message::frontend;

use super::support::connection::{Connection, broken};
use super::support::login::Login;
use super::support::secrets::Secrets;
use super::support::sql::{self, Database, Role};
use super::support::starttls::StartTls;
use super::support::timed;
use super::support::tls_settings::TlsSettings;
use super::{Action, Kind, Options, Runs, excerpt, since, tcp};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;
use crate::os::descriptors::Ready;

pub(super) const KIND: Kind = Kind {
    scheme: "postgres",
    port: Some(PORT),
    options: &sql::OPTIONS,
    runs: Runs::OnThread,
    controls: Control::NETWORK,
    title: "postgres://{target} answers",
    passes: "a PostgreSQL lets us in and carries out a statement",
    notices: &["refused", "black_hole", "rubbish", "starved"],
    examples: &["postgres://anna@localhost/shop#query=select%201"],
    build,
};

const PORT: u16 = 5432;

/// How much of its answers is read. A query may give a million rows; the first one counts.
const MOST: usize = 256 * 1024;

/// How long it may take to connect once more, when our time is over.
const TO_CANCEL: Duration = Duration::from_millis(50);

/// How far a replica is behind. Where nothing new comes, it is not behind as long as somebody sends; `pg_stat_wal_receiver`
/// shows to everybody that there is a receiver, and no more.
const LAG: &str = "select case \
    when not pg_is_in_recovery() then 0 \
    when exists (select from pg_stat_wal_receiver where pid is not null) \
        and pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0 \
    else extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()) end";

struct PostgresProbe(Database);

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let probe = PostgresProbe(Database::take(target, PORT, options)?);
    Ok(Box::new(move |deadline| Finding::from(probe.run(deadline))))
}

impl PostgresProbe {
    fn run(&self, deadline: Deadline) -> Result {
        let began = Instant::now();
        let told = |why| format!("expected postgres at {} to be well: {why} ({})", self.0.login.server, since(began));
        self.ask(timed::before(deadline)).map_err(|reason| reason.told(told))
    }

    fn ask(&self, deadline: Deadline) -> Result {
        let mut session = Session::open(&self.0.login, self.0.tls.as_ref(), deadline, &self.0.hidden)?;
        if let Some(role) = self.0.role {
            let found = match session.query("select pg_is_in_recovery()")?.flatten().as_deref() {
                Some(b"t") => Role::Replica,
                Some(b"f") => Role::Primary,
                _ => return Err(Reason::Fail("it does not say whether it is a replica".to_owned())),
            };
            if found != role {
                return Err(role.missed());
            }
        }
        let mut is_behind = Ok(());
        if self.0.asks_for_lag() {
            let lag = session.query(LAG)?.flatten();
            let lag = lag.and_then(|lag| str::from_utf8(&lag).ok()?.parse::<f64>().ok());
            let lag =
                lag.ok_or_else(|| Reason::Fail("it has replayed nothing yet, so its lag is unknown".to_owned()))?;
            is_behind = self.0.judge_lag(lag)?;
        }
        match &self.0.value {
            Some(value) => {
                value.verdict(session.query(&value.query)?.as_ref().map(Option::as_deref), deadline, &self.0.hidden)?
            }
            // That a session begins does not show that a statement is carried out.
            None if self.0.role.is_none() && !self.0.asks_for_lag() => drop(session.query("select 1")?),
            None => {}
        }
        session.end();
        is_behind
    }
}

/// A session with a server.
struct Session<'a> {
    stream: Box<dyn Connection>,
    /// What is to be sent.
    out: BytesMut,
    /// What has come and is not read yet.
    come: BytesMut,
    hidden: &'a Secrets,
    /// Where a statement is cancelled, with which key, and whether one is under way.
    server: SocketAddr,
    key: Option<(i32, i32)>,
    is_asking: bool,
}

impl Drop for Session<'_> {
    /// A server does not see that nobody waits any more: what it works at would pile up, round by round.
    fn drop(&mut self) {
        let (true, Some((process, key))) = (self.is_asking, self.key) else { return };
        let mut request = BytesMut::new();
        frontend::cancel_request(process, key, &mut request);
        // Whether that arrives does not matter to the answer.
        let _ = TcpStream::connect_timeout(&self.server, TO_CANCEL).and_then(|mut server| server.write_all(&request));
    }
}

/// The first value of the first row, `None` for NULL, if there is a row.
type FirstValue = Option<Option<Vec<u8>>>;

impl Session<'_> {
    fn open<'a>(
        login: &Login,
        tls: Option<&TlsSettings>,
        deadline: Deadline,
        hidden: &'a Secrets,
    ) -> Result<Session<'a>> {
        let user = login.user.as_deref().unwrap_or("postgres");
        let database = if login.path.is_empty() { user } else { &login.path };
        let mut stream = tcp::connect(&login.server, deadline)?;
        let server = stream.retry(Ready::ToWrite, |stream| stream.peer_addr()).map_err(|error| broken(&error))?;
        let stream: Box<dyn Connection> = match tls {
            None => Box::new(stream),
            Some(settings) => {
                StartTls::Postgres.ask(&mut stream)?;
                Box::new(settings.shake_hands(stream, login.server.name(), true)?)
            }
        };
        let (out, come) = (BytesMut::new(), BytesMut::new());
        let mut session = Session { stream, out, come, hidden, server, key: None, is_asking: false };
        let parameters = [("user", user), ("database", database), ("application_name", "hospital")];
        frontend::startup_message(parameters, &mut session.out)?;
        session.sign_in(user, login)?;
        loop {
            match session.next()? {
                Message::ReadyForQuery(_) => return Ok(session),
                Message::BackendKeyData(body) => session.key = Some((body.process_id(), body.secret_key())),
                Message::ErrorResponse(body) => return Err(session.objection(&body)),
                _ => {}
            }
        }
    }

    fn sign_in(&mut self, user: &str, login: &Login) -> Result {
        let password = || {
            let password = login.password()?;
            password.ok_or_else(|| Reason::Error("it wants a password: give one".to_owned()))
        };
        let mut scram = None;
        loop {
            match self.next()? {
                Message::AuthenticationOk => return Ok(()),
                Message::AuthenticationCleartextPassword => {
                    frontend::password_message(password()?.as_bytes(), &mut self.out)?;
                }
                Message::AuthenticationMd5Password(body) => {
                    let hash = md5_hash(user.as_bytes(), password()?.as_bytes(), body.salt());
                    frontend::password_message(hash.as_bytes(), &mut self.out)?;
                }
                Message::AuthenticationSasl(body) => {
                    let offered = body.mechanisms().collect::<Vec<_>>().map_err(malformed)?;
                    if !offered.contains(&SCRAM_SHA_256) {
                        return Err(Reason::Error(format!("of its ways to sign in, none is known here: {offered:?}")));
                    }
                    let first = ScramSha256::new(password()?.as_bytes(), ChannelBinding::unsupported());
                    frontend::sasl_initial_response(SCRAM_SHA_256, first.message(), &mut self.out)?;
                    scram = Some(first);
                }
                Message::AuthenticationSaslContinue(body) => {
                    let scram = scram.as_mut().ok_or_else(out_of_turn)?;
                    scram.update(body.data()).map_err(malformed)?;
                    frontend::sasl_response(scram.message(), &mut self.out)?;
                }
                // It has to know the password too.
                Message::AuthenticationSaslFinal(body) => {
                    scram.as_mut().ok_or_else(out_of_turn)?.finish(body.data()).map_err(malformed)?;
                }
                Message::ErrorResponse(body) => return Err(self.objection(&body)),
                Message::AuthenticationKerberosV5
                | Message::AuthenticationScmCredential
                | Message::AuthenticationGss
                | Message::AuthenticationSspi => {
                    return Err(Reason::Error("it wants a way to sign in that is not known here".to_owned()));
                }
                Message::NoticeResponse(_) | Message::ParameterStatus(_) => {}
                _ => return Err(out_of_turn()),
            }
        }
    }

    /// Asks, and reads to the end of the answer, or as much of it as is read at all.
    fn query(&mut self, query: &str) -> Result<FirstValue> {
        frontend::query(query, &mut self.out)?;
        self.is_asking = true;
        let (mut first, mut size) = (None, 0);
        loop {
            match self.next()? {
                Message::DataRow(row) => {
                    size += row.buffer().len();
                    if first.is_none() {
                        let value = row.ranges().next().map_err(malformed)?.flatten();
                        first = Some(value.map(|range| row.buffer()[range].to_vec()));
                    }
                    if size > MOST {
                        return Ok(first);
                    }
                }
                Message::ErrorResponse(body) => {
                    self.is_asking = false;
                    return Err(self.objection(&body));
                }
                Message::ReadyForQuery(_) => {
                    self.is_asking = false;
                    return Ok(first);
                }
                Message::CopyInResponse(_) | Message::CopyOutResponse(_) => {
                    return Err(Reason::Error("the query is a COPY, which gives no value".to_owned()));
                }
                _ => {}
            }
        }
    }

    /// Says goodbye; whether that arrives does not matter any more.
    fn end(mut self) {
        frontend::terminate(&mut self.out);
        let _ = self.stream.write_all(&self.out);
    }

    /// Sends what is to be sent, and waits for the next message.
    fn next(&mut self) -> Result<Message> {
        let failed = |error: io::Error| broken(&error);
        if !self.out.is_empty() {
            let out = self.out.split();
            self.stream.write_all(&out).map_err(failed)?;
        }
        loop {
            if let Some(header) = Header::parse(&self.come).map_err(malformed)?
                && header.len() as usize > MOST
            {
                return Err(match header.tag() {
                    b'D' => Reason::Error("a row is longer than 256 KiB, and no more is read".to_owned()),
                    _ => {
                        let got = excerpt(&self.come, self.come.len(), self.hidden);
                        Reason::Fail(format!("it does not speak PostgreSQL's protocol: got {got}"))
                    }
                });
            }
            if let Some(message) = Message::parse(&mut self.come).map_err(malformed)? {
                return Ok(message);
            }
            let mut buffer = [0; 8 * 1024];
            match self.stream.read(&mut buffer).map_err(failed)? {
                0 => return Err(Reason::Fail("it closed the connection".to_owned())),
                count => self.come.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// What an error of the server says of it (SQLSTATE, appendix A of its manual).
    fn objection(&self, body: &ErrorResponseBody) -> Reason {
        let (mut code, mut text) = (String::new(), Vec::new());
        let mut fields = body.fields();
        while let Ok(Some(field)) = fields.next() {
            match field.type_() {
                b'C' => code = String::from_utf8_lossy(field.value_bytes()).into_owned(),
                b'M' => text = field.value_bytes().to_vec(),
                _ => {}
            }
        }
        let why = format!("it says {} ({code})", excerpt(&text, text.len(), self.hidden));
        match code.get(..2) {
            // We are not let in, the database is not there, or the statement is wrong or not allowed: it may be well.
            Some("28" | "3D" | "42" | "25" | "0A" | "22") => Reason::Error(why),
            _ => Reason::Fail(why),
        }
    }
}

fn malformed(error: io::Error) -> Reason {
    Reason::Fail(format!("it does not speak PostgreSQL's protocol: {error}"))
}

fn out_of_turn() -> Reason {
    Reason::Fail("it does not speak PostgreSQL's protocol: a message comes out of turn".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::support::dialogue::testing;
    use crate::model::check::Status;
    use proptest::prelude::*;
    use std::net::TcpListener;
    use std::thread;

    /// What a server sends that lets everybody in and gives 42 for a query, message by message.
    const SAID: &[&[u8]] = &[
        b"R\0\0\0\x08\0\0\0\0",
        b"Z\0\0\0\x05I",
        b"T\0\0\0\x21\0\x01?column?\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0",
        b"D\0\0\0\x0c\0\x01\0\0\0\x0242",
        b"C\0\0\0\x0dSELECT 1\0",
        b"Z\0\0\0\x05I",
    ];

    fn find(said: Vec<u8>, pairs: &[(&str, &str)]) -> Finding {
        testing::find(&KIND, "//anna@{}/shop", said, pairs)
    }

    const ANSWER: &[(&str, &str)] = &[("query", "select 41 + 1"), ("equals", "42")];

    #[test]
    fn a_good_answer_passes_and_an_early_end_does_not() {
        let whole = SAID.concat();
        assert_eq!(find(whole.clone(), ANSWER), Finding::PASS);
        for end in 0..whole.len() {
            assert_eq!(find(whole[..end].to_vec(), ANSWER).status, Status::Fail, "the first {end} bytes");
        }
    }

    #[test]
    fn a_statement_that_is_late_does_not_go_on_in_the_server() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let server = thread::spawn(move || {
            let (mut client, _) = listener.accept()?;
            client.write_all(&[SAID[0], b"K\0\0\0\x0c\0\0\0\x07\0\0\0\x09", SAID[1]].concat())?;
            let mut said = Vec::new();
            listener.accept()?.0.read_to_end(&mut said)?;
            io::Result::Ok(said)
        });
        let action = build(&format!("//anna@{address}/shop"), &mut Options::of(ANSWER)).expect("it is well formed");
        let found = action(Deadline::at(Instant::now() + Duration::from_secs(1)));
        assert_eq!(found.status, Status::Fail, "{found:?}");
        // Where it has not, this ends the server.
        let _ = TcpStream::connect(address);
        let said = server.join().expect("the server does not panic").expect("its sockets work");
        assert_eq!(said, b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07\0\0\0\x09");
    }

    #[test]
    fn tls_is_asked_for_and_what_is_for_tls_is_refused_without_it() {
        for (said, why) in [
            (&b"N"[..], "it does not offer TLS"),
            (b"E", "answers neither yes nor no to TLS"),
            (b"", "it closed the connection"),
            (b"Snot TLS", "does not speak TLS"),
        ] {
            let found = find(said.to_vec(), &[("tls", ""), ("insecure", "")]);
            assert!(
                found.status == Status::Fail && found.context.as_ref().is_some_and(|it| it.contains(why)),
                "{found:?}"
            );
        }
        let refused = build("//anna@localhost", &mut Options::of(&[("ca", "/x")])).err();
        assert_eq!(refused.as_deref(), Some("option ca: it is for TLS: give tls, too"));
    }

    #[test]
    fn parameters_are_not_taken_for_the_name_of_a_database() {
        let refused = build("//anna@localhost/shop?sslmode=require", &mut Options::of(&[])).err();
        assert!(refused.is_some_and(|why| why.contains("it takes no parameters")));
    }

    #[test]
    fn what_the_server_says_no_to_is_its_fault_or_ours() {
        for (code, status) in [
            ("28P01", Status::Error),
            ("3D000", Status::Error),
            ("42501", Status::Error),
            ("53300", Status::Fail),
            ("57P03", Status::Fail),
        ] {
            let fields = format!("SFATAL\0C{code}\0Mno\0\0");
            let message = [b"E", &(fields.len() as u32 + 4).to_be_bytes()[..], fields.as_bytes()].concat();
            let found = find(message, ANSWER);
            assert_eq!(found.status, status, "{found:?}");
            assert!(found.context.is_some_and(|why| why.contains(&format!("it says \"no\" ({code})"))));
        }
    }

    #[test]
    fn a_server_of_another_protocol_is_a_failure() {
        for said in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"220 mail ESMTP\r\n", b"-ERR unknown command\r\n", b""]
        {
            assert_eq!(find(said.to_vec(), &[]).status, Status::Fail);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn a_damaged_answer_never_passes_without_the_value(at in 0..SAID.concat().len(), byte: u8) {
            let mut said = SAID.concat();
            said[at] = byte;
            let found = find(said.clone(), ANSWER);
            let value = b"\0\0\0\x0242";
            let has_value = said.windows(value.len()).any(|window| window == value);
            prop_assert!(found.status != Status::Pass || has_value, "{found:?}");
        }
    }
}
