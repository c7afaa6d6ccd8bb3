//! STARTTLS: asking a server in plain text to go on with TLS.

use std::io::{self, Read, Write};

use super::ber;
use super::opt::{Opt, Value};
use super::secrets::Secrets;
use super::timed::{reason, spoken};
use crate::checks::excerpt;
use crate::model::check::{Reason, Result};

/// The row of the option that asks for it.
pub(in crate::checks) const STARTTLS: Opt =
    Opt::new("starttls", Value::Flag, "TLS is asked for, and has to be granted");

/// A protocol in which that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checks) enum StartTls {
    /// RFC 3207.
    Smtp,
    /// RFC 9051.
    Imap,
    /// RFC 2595.
    Pop3,
    /// RFC 4511, 4.14.
    Ldap,
    /// <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL>
    Postgres,
    /// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html>
    MySql,
}

/// Longer lines, and more of them, no such server writes.
const LONGEST_LINE: usize = 4096;
const MOST_LINES: usize = 200;

impl StartTls {
    /// Their names.
    pub(in crate::checks) const NAMES: &[&str] = &["smtp", "imap", "pop3", "ldap", "postgres", "mysql"];

    pub(in crate::checks) fn parse(text: &str) -> std::result::Result<StartTls, &'static str> {
        match text {
            "smtp" => Ok(StartTls::Smtp),
            "imap" => Ok(StartTls::Imap),
            "pop3" => Ok(StartTls::Pop3),
            "ldap" => Ok(StartTls::Ldap),
            "postgres" => Ok(StartTls::Postgres),
            "mysql" => Ok(StartTls::MySql),
            _ => Err("write smtp, imap, pop3, ldap, postgres or mysql"),
        }
    }

    /// The port on which servers take it.
    pub(in crate::checks) fn port(self) -> u16 {
        match self {
            StartTls::Smtp => 25,
            StartTls::Imap => 143,
            StartTls::Pop3 => 110,
            StartTls::Ldap => 389,
            StartTls::Postgres => 5432,
            StartTls::MySql => 3306,
        }
    }

    /// Asks for TLS. Nothing of what follows is read: it is for TLS. The reason says why the server does not go on, and no more.
    pub(in crate::checks) fn ask(self, stream: &mut (impl Read + Write)) -> Result {
        match self {
            StartTls::Smtp => {
                reply(stream, "its greeting", |line| smtp(line, "220"))?;
                say(stream, "EHLO hospital.invalid\r\n")?;
                reply(stream, "its answer to EHLO", |line| smtp(line, "250"))?;
                say(stream, "STARTTLS\r\n")?;
                reply(stream, "its answer to STARTTLS", |line| smtp(line, "220"))
            }
            StartTls::Imap => {
                reply(stream, "its greeting", |line| if line.starts_with("* OK") { Line::Good } else { Line::Bad })?;
                say(stream, "a STARTTLS\r\n")?;
                reply(stream, "its answer to STARTTLS", |line| match line {
                    _ if line.starts_with("a OK") => Line::Good,
                    _ if line.starts_with("* ") => Line::More,
                    _ => Line::Bad,
                })
            }
            StartTls::Pop3 => {
                let is_ok = |line: &str| if line.starts_with("+OK") { Line::Good } else { Line::Bad };
                reply(stream, "its greeting", is_ok)?;
                say(stream, "STLS\r\n")?;
                reply(stream, "its answer to STLS", is_ok)
            }
            StartTls::Ldap => ldap(stream),
            StartTls::Postgres => postgres(stream),
            StartTls::MySql => mysql(stream),
        }
    }
}

/// An extended request with the name of this operation, which is the first of the session.
fn ldap(stream: &mut (impl Read + Write)) -> Result {
    const REQUEST: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
    const EXTENDED_RESPONSE: u8 = 0x78;
    const MOST: usize = 16 * 1024;
    send(stream, REQUEST)?;
    let message = ber::read(stream, ber::SEQUENCE, MOST).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => Reason::Fail(format!("it does not speak LDAP: {error}")),
        _ => unread(&error, "its answer to STARTTLS"),
    })?;
    let mut fields = ber::Elements(&message);
    let mut result = fields.number(ber::INTEGER).and_then(|_| fields.one(EXTENDED_RESPONSE)).map(ber::Elements);
    match result.as_mut().and_then(|result| result.number(ber::ENUMERATED)) {
        Some(0) => Ok(()),
        Some(code) => {
            let text = result.and_then(|mut result| result.one(ber::OCTETS).and_then(|_| result.one(ber::OCTETS)));
            let text = text.unwrap_or_default();
            let text = excerpt(text, text.len(), &Secrets::default());
            Err(Reason::Fail(format!("its answer to STARTTLS is {text} ({code})")))
        }
        None => Err(Reason::Fail("it does not speak LDAP: a message is not what it should be".to_owned())),
    }
}

fn postgres(stream: &mut (impl Read + Write)) -> Result {
    const REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
    send(stream, REQUEST)?;
    let mut answer = [0];
    stream.read_exact(&mut answer).map_err(|error| unread(&error, "its answer"))?;
    match answer {
        [b'S'] => Ok(()),
        [b'N'] => Err(Reason::Fail("it does not offer TLS".to_owned())),
        _ => Err(Reason::Fail(
            "it does not speak PostgreSQL's protocol: it answers neither yes nor no to TLS".to_owned(),
        )),
    }
}

/// It speaks first. Of what it says it can, TLS is all that matters here.
fn mysql(stream: &mut (impl Read + Write)) -> Result {
    let out_of_turn =
        || Reason::Fail("it does not speak MySQL's protocol: a packet is not what it should be".to_owned());
    let mut head = [0; 4];
    stream.read_exact(&mut head).map_err(|error| unread(&error, "its greeting"))?;
    let [length @ .., number] = head;
    let length = u32::from_le_bytes([length[0], length[1], length[2], 0]) as usize;
    if number != 0 || !(1..=LONGEST_LINE).contains(&length) {
        return Err(out_of_turn());
    }
    let mut greeting = vec![0; length];
    stream.read_exact(&mut greeting).map_err(|error| unread(&error, "its greeting"))?;
    match greeting.as_slice() {
        [10, rest @ ..] => {
            const TLS: u16 = 1 << 11;
            // Behind the version, the number of the thread and the first part of the nonce.
            let version = rest.iter().position(|byte| *byte == 0).ok_or_else(out_of_turn)?;
            let can = rest[version + 1..].get(13..15).ok_or_else(out_of_turn)?;
            if u16::from_le_bytes([can[0], can[1]]) & TLS == 0 {
                return Err(Reason::Fail("it does not offer TLS".to_owned()));
            }
            // The protocol of version 4.1, TLS, and signing in as since then; a length, and utf8mb4_general_ci.
            send(stream, &[&b"\x20\0\0\x01\0\x8a\0\0\0\0\x04\0\x2d"[..], &[0; 23]].concat())
        }
        // Too many connections, or this host is blocked.
        [0xff, _, _, text @ ..] => {
            let text = excerpt(text, text.len(), &Secrets::default());
            Err(Reason::Fail(format!("its greeting is {text}")))
        }
        _ => Err(out_of_turn()),
    }
}

/// What a line of a reply is.
enum Line {
    Good,
    Bad,
    /// There are more lines.
    More,
}

fn smtp(line: &str, code: &str) -> Line {
    match line.strip_prefix(code) {
        Some(rest) if rest.starts_with('-') => Line::More,
        Some(rest) if rest.is_empty() || rest.starts_with(' ') => Line::Good,
        Some(_) | None => Line::Bad,
    }
}

fn say(stream: &mut impl Write, text: &str) -> Result {
    send(stream, text.as_bytes())
}

fn send(stream: &mut impl Write, bytes: &[u8]) -> Result {
    stream.write_all(bytes).and_then(|()| stream.flush()).map_err(|error| reason(&error, spoken(&error)))
}

fn reply(stream: &mut impl Read, what: &str, is: impl Fn(&str) -> Line) -> Result {
    for _ in 0..MOST_LINES {
        let line = line(stream).map_err(|error| unread(&error, what))?;
        match is(&String::from_utf8_lossy(&line)) {
            Line::Good => return Ok(()),
            Line::More => {}
            Line::Bad => {
                let got = excerpt(&line, line.len(), &Secrets::default());
                return Err(Reason::Fail(format!("{what} is {got}")));
            }
        }
    }
    Err(Reason::Fail(format!("{what} has no end")))
}

/// Why what we wait for has not come.
fn unread(error: &io::Error, what: &str) -> Reason {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Reason::Fail(format!("it closed the connection before {what}")),
        _ => reason(error, format!("waiting for {what}: {}", spoken(error))),
    }
}

/// One line without its end. It is read byte by byte, as what follows may be for TLS.
fn line(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < LONGEST_LINE {
        stream.read_exact(&mut byte)?;
        if byte == *b"\n" {
            return Ok(line.strip_suffix(b"\r").map(<[u8]>::to_vec).unwrap_or(line));
        }
        line.push(byte[0]);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "a line of it has no end"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    struct Script(Cursor<&'static [u8]>, Vec<u8>);

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_protocol_is_asked_in_its_words_and_nothing_of_tls_is_read() {
        for (protocol, said, told) in [
            (
                StartTls::Smtp,
                &b"220-mail\r\n220 ESMTP\r\n250-mail\r\n250-SIZE 1\r\n250 STARTTLS\r\n220 go\r\nTLS"[..],
                &b"EHLO hospital.invalid\r\nSTARTTLS\r\n"[..],
            ),
            (StartTls::Imap, b"* OK ready\r\n* CAPABILITY x\r\na OK go\r\nTLS", b"a STARTTLS\r\n"),
            (StartTls::Pop3, b"+OK ready\r\n+OK go\r\nTLS", b"STLS\r\n"),
            (
                StartTls::Ldap,
                b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\0\x04\0\x04\0TLS",
                b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037",
            ),
            (StartTls::Postgres, b"STLS", b"\0\0\0\x08\x04\xd2\x16\x2f"),
            (
                StartTls::MySql,
                b"\x12\0\0\0\x0a8\0\x01\0\0\x00noncenon\0\xff\xffTLS",
                b"\x20\0\0\x01\0\x8a\0\0\0\0\x04\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            ),
        ] {
            let mut script = Script(Cursor::new(said), Vec::new());
            assert_eq!(protocol.ask(&mut script), Ok(()));
            assert_eq!(script.1, told);
            let mut rest = String::new();
            script.0.read_to_string(&mut rest).expect("it is text");
            assert_eq!(rest, "TLS");
        }
    }

    const GREETING_WITHOUT: &[u8] = b"\x12\0\0\0\x0a8\0\x01\0\0\0noncenon\0\xff\xf7";

    #[test]
    fn a_server_that_does_not_want_to_says_why() {
        for (protocol, said, told) in [
            (StartTls::Smtp, "554 no\r\n", "its greeting is \"554 no\""),
            (StartTls::Smtp, "220 x\r\n250 x\r\n454 not now\r\n", "its answer to STARTTLS is \"454 not now\""),
            (StartTls::Smtp, "SSH-2.0-x\r\n", "its greeting is \"SSH-2.0-x\""),
            (StartTls::Smtp, "220 x\r\n250 x\r\n", "it closed the connection before its answer to STARTTLS"),
            (StartTls::Imap, "* OK\r\na BAD what\r\n", "its answer to STARTTLS is \"a BAD what\""),
            (StartTls::Imap, "* BYE\r\n", "its greeting is \"* BYE\""),
            (StartTls::Pop3, "+OK\r\n-ERR\r\n", "its answer to STLS is \"-ERR\""),
            (StartTls::Pop3, "", "it closed the connection before its greeting"),
        ] {
            let mut script = Script(Cursor::new(said.as_bytes()), Vec::new());
            assert_eq!(protocol.ask(&mut script), Err(Reason::Fail(told.to_owned())), "{said}");
        }
        for (protocol, said, told) in [
            (StartTls::Ldap, &b"\x30\x0e\x02\x01\x01\x78\x09\x0a\x01\x34\x04\0\x04\x02no"[..], "is \"no\" (52)"),
            (StartTls::Ldap, b"HTTP/1.1", "it does not speak LDAP"),
            (StartTls::Ldap, b"\x30\x05\x02\x01\x01\x78\0", "it does not speak LDAP"),
            (StartTls::Ldap, b"\x30", "it closed the connection before its answer to STARTTLS"),
            (StartTls::Postgres, b"N", "it does not offer TLS"),
            (StartTls::Postgres, b"E", "it does not speak PostgreSQL's protocol"),
            (StartTls::Postgres, b"", "it closed the connection"),
            (StartTls::MySql, GREETING_WITHOUT, "it does not offer TLS"),
            (StartTls::MySql, b"\x05\0\0\0\xff\x10\x04no", "its greeting is \"no\""),
            (StartTls::MySql, b"220 mail\r\n", "it does not speak MySQL's protocol"),
            (StartTls::MySql, b"\x02\0\0\0\x0a8", "it does not speak MySQL's protocol"),
            (StartTls::MySql, b"\x05\0\0\0\x0a8\0\0\0", "it does not speak MySQL's protocol"),
            (StartTls::MySql, b"\x05\0\0\0\x0a", "it closed the connection"),
        ] {
            let found = protocol.ask(&mut Script(Cursor::new(said), Vec::new()));
            assert!(matches!(&found, Err(Reason::Fail(why)) if why.contains(told)), "{told}: {found:?}");
        }
        let endless: &'static str = Box::leak("x".repeat(5000).into_boxed_str());
        let mut script = Script(Cursor::new(endless.as_bytes()), Vec::new());
        assert!(matches!(StartTls::Smtp.ask(&mut script), Err(Reason::Fail(why)) if why.contains("has no end")));
    }
}
