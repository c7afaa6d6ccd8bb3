//! STARTTLS: asking a server of mail in plain text to go on with TLS.

use std::io::{self, Read, Write};

use super::timed::{reason, spoken};
use crate::checks::excerpt;
use crate::checks::support::secrets::Secrets;
use crate::model::check::{Reason, Result};

/// A protocol in which that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checks) enum StartTls {
    /// RFC 3207.
    Smtp,
    /// RFC 9051.
    Imap,
    /// RFC 2595.
    Pop3,
}

/// Longer lines, and more of them, no such server writes.
const LONGEST_LINE: usize = 4096;
const MOST_LINES: usize = 200;

impl StartTls {
    /// Their names.
    pub(in crate::checks) const NAMES: &[&str] = &["smtp", "imap", "pop3"];

    pub(in crate::checks) fn parse(text: &str) -> std::result::Result<StartTls, &'static str> {
        match text {
            "smtp" => Ok(StartTls::Smtp),
            "imap" => Ok(StartTls::Imap),
            "pop3" => Ok(StartTls::Pop3),
            _ => Err("write smtp, imap or pop3"),
        }
    }

    /// The port on which servers take it.
    pub(in crate::checks) fn port(self) -> u16 {
        match self {
            StartTls::Smtp => 25,
            StartTls::Imap => 143,
            StartTls::Pop3 => 110,
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
        }
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
    stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).map_err(|error| reason(&error, spoken(&error)))
}

fn reply(stream: &mut impl Read, what: &str, is: impl Fn(&str) -> Line) -> Result {
    for _ in 0..MOST_LINES {
        let line = line(stream).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Reason::Fail(format!("it closed the connection before {what}")),
            _ => reason(&error, format!("waiting for {what}: {}", spoken(&error))),
        })?;
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

    struct Script(Cursor<&'static str>, Vec<u8>);

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
                "220-mail\r\n220 ESMTP\r\n250-mail\r\n250-SIZE 1\r\n250 STARTTLS\r\n220 go\r\nTLS",
                "EHLO hospital.invalid\r\nSTARTTLS\r\n",
            ),
            (StartTls::Imap, "* OK ready\r\n* CAPABILITY x\r\na OK go\r\nTLS", "a STARTTLS\r\n"),
            (StartTls::Pop3, "+OK ready\r\n+OK go\r\nTLS", "STLS\r\n"),
        ] {
            let mut script = Script(Cursor::new(said), Vec::new());
            assert_eq!(protocol.ask(&mut script), Ok(()));
            assert_eq!(String::from_utf8_lossy(&script.1), told);
            let mut rest = String::new();
            script.0.read_to_string(&mut rest).expect("it is text");
            assert_eq!(rest, "TLS");
        }
    }

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
            let mut script = Script(Cursor::new(said), Vec::new());
            assert_eq!(protocol.ask(&mut script), Err(Reason::Fail(told.to_owned())), "{said}");
        }
        let endless: &'static str = Box::leak("x".repeat(5000).into_boxed_str());
        let mut script = Script(Cursor::new(endless), Vec::new());
        assert!(matches!(StartTls::Smtp.ask(&mut script), Err(Reason::Fail(why)) if why.contains("has no end")));
    }
}
