//! `smtp://[USER:PASSWORD@]HOST[:PORT]` and `smtps://…`: a mail server greets us, lets us sign in, and says goodbye (RFC 5321,
//! and RFC 4954 for signing in).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::support::mail::{self, Account, Mechanism, Protocol, Session};
use super::support::starttls::StartTls;
use super::{Kind, Runs};
use crate::model::check::{Reason, Result};
use crate::model::control::Control;

pub(super) const KIND: Kind = Kind {
    scheme: "smtp",
    port: Some(25),
    options: &mail::OPTIONS,
    runs: Runs::OnThread,
    controls: Control::NETWORK,
    title: "smtp://{target} answers",
    passes: "a mail server greets, lets us sign in if there is an account, and says goodbye",
    notices: &["refused", "black_hole", "rubbish", "starved"],
    examples: &["smtp://localhost#starttls", "smtp://anna:secret@localhost:587#starttls&auth=plain"],
    build: |target, options| SMTP.build(target, options),
};

pub(super) const KIND_SMTPS: Kind = Kind {
    scheme: "smtps",
    port: Some(465),
    options: &mail::TLS_OPTIONS,
    title: "smtps://{target} answers",
    passes: "the same with TLS from the first byte on, and the certificate is trusted",
    notices: &["refused", "black_hole", "rubbish", "stranger: another certificate", "starved"],
    examples: &["smtps://localhost"],
    build: |target, options| SMTP.build_with_tls(target, options),
    ..KIND
};

static SMTP: Protocol = Protocol { scheme: "smtp", starttls: StartTls::Smtp, tls_port: 465, talk };

fn talk(session: &mut Session, account: Option<&Account>) -> Result {
    if !session.has_greeted {
        Reply::read(session, "its greeting")?.expect(220, session, "its greeting")?;
    }
    const EHLO: &str = "its answer to EHLO";
    let offered = ask(session, "EHLO hospital.invalid", EHLO)?;
    offered.expect(250, session, EHLO)?;
    if let Some(account) = account {
        session.sign_in(|session| sign_in(session, account, &offered))?;
    }
    ask(session, "QUIT", "its goodbye")?.expect(221, session, "its goodbye")
}

fn sign_in(session: &mut Session, account: &Account, offered: &Reply) -> Result {
    const AUTH: &str = "its answer to AUTH";
    let ways = offered.mechanisms();
    let offers = |name: &str| ways.iter().any(|way| way.eq_ignore_ascii_case(name));
    let mechanism = match account.mechanism {
        Some(mechanism) => mechanism,
        None if offers("PLAIN") => Mechanism::Plain,
        None if offers("LOGIN") => Mechanism::Login,
        None if ways.is_empty() => {
            return Err(Reason::Error(
                "it offers no way to sign in: it may do so with TLS, or on another port".to_owned(),
            ));
        }
        None => return Err(Reason::Error(format!("of its ways to sign in, none is known here: {ways:?}"))),
    };
    let reply = match mechanism {
        Mechanism::Plain => ask(session, &format!("AUTH PLAIN {}", account.plain()), AUTH)?,
        Mechanism::Login => {
            let mut reply = ask(session, "AUTH LOGIN", AUTH)?;
            for part in [&account.user, &account.password] {
                if reply.code == 334 {
                    reply = ask(session, &BASE64_STANDARD.encode(part), AUTH)?;
                }
            }
            reply
        }
    };
    match reply.code {
        235 => Ok(()),
        // 432: the password has to be set anew. It may be as well as can be: it is we who are not let in.
        432 | 500..=599 => Err(Reason::Error(session.came(AUTH, reply.last()))),
        _ => Err(session.unexpected(AUTH, reply.last())),
    }
}

fn ask(session: &mut Session, line: &str, awaited: &str) -> Result<Reply> {
    session.say(line)?;
    Reply::read(session, awaited)
}

/// A code, and the lines that come with it.
struct Reply {
    code: u16,
    lines: Vec<String>,
}

impl Reply {
    fn read(session: &mut Session, awaited: &str) -> Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let line = session.line(awaited)?;
            let code = line.get(..3).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
            let code = code.and_then(|code| code.parse().ok());
            let begun = lines.first().map_or("", |first: &String| &first[..3]);
            match (code, line.as_bytes().get(3)) {
                (Some(code), end @ (None | Some(b' ' | b'-'))) if line.starts_with(begun) => {
                    let is_last = end != Some(&b'-');
                    lines.push(line);
                    if is_last {
                        return Ok(Reply { code, lines });
                    }
                }
                _ => return Err(session.unexpected(awaited, &line)),
            }
        }
    }

    fn expect(&self, code: u16, session: &Session, awaited: &str) -> Result {
        if self.code == code { Ok(()) } else { Err(session.unexpected(awaited, self.last())) }
    }

    fn last(&self) -> &str {
        self.lines.last().map_or("", String::as_str)
    }

    /// The ways to sign in that an answer to EHLO names. `AUTH=` is how the first servers wrote it.
    fn mechanisms(&self) -> Vec<&str> {
        let words = self.lines.iter().filter_map(|line| {
            let (word, ways) = line.get(4..)?.split_at_checked(4)?;
            (word.eq_ignore_ascii_case("AUTH") && ways.starts_with([' ', '='])).then(|| ways[1..].split_whitespace())
        });
        words.flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::support::dialogue::testing;
    use crate::model::check::{Finding, Status};
    use proptest::prelude::*;

    fn find(said: &str, account: &str, pairs: &[(&str, &str)]) -> Finding {
        testing::find(&KIND, &format!("//{account}{{}}"), said.into(), pairs)
    }

    const GREETING: &str = "220-mail.example\r\n220 ESMTP\r\n250-mail.example\r\n250-AUTH LOGIN PLAIN\r\n250 HELP\r\n";

    #[test]
    fn a_server_that_greets_and_says_goodbye_is_well() {
        assert_eq!(find(&format!("{GREETING}221 bye\r\n"), "", &[]), Finding::PASS);
        assert_eq!(find("220\r\n250\r\n221\r\n", "", &[]), Finding::PASS);
        for (said, why) in [
            ("", "it closed the connection before its greeting"),
            ("554 no\r\n", "its greeting is \"554 no\""),
            ("421 busy\r\n", "its greeting is \"421 busy\""),
            ("SSH-2.0-x\r\n", "its greeting is \"SSH-2.0-x\""),
            ("220 x\r\n", "it closed the connection before its answer to EHLO"),
            ("220 x\r\n502 no\r\n", "its answer to EHLO is \"502 no\""),
            ("220 x\r\n250-x\r\n220 y\r\n", "its answer to EHLO is \"220 y\""),
            ("220 x\r\n250 x\r\n", "it closed the connection before its goodbye"),
            ("220 x\r\n250 x\r\n500 what\r\n", "its goodbye is \"500 what\""),
        ] {
            let found = find(said, "", &[]);
            assert!(found.status == Status::Fail && found.context.expect("it says why").contains(why), "{said}");
        }
    }

    #[test]
    fn who_is_not_let_in_cannot_tell_and_who_gets_no_answer_can() {
        for (said, status) in [
            ("235 welcome\r\n221 bye\r\n", Status::Pass),
            ("235 welcome\r\n", Status::Fail),
            ("535 5.7.8 wrong\r\n", Status::Error),
            ("504 unknown\r\n", Status::Error),
            ("538 with TLS only\r\n", Status::Error),
            ("432 a new password is needed\r\n", Status::Error),
            ("454 later\r\n", Status::Fail),
            ("421 goodbye\r\n", Status::Fail),
            ("221 goodbye\r\n", Status::Fail),
            ("334 \r\n", Status::Fail),
            ("", Status::Fail),
        ] {
            let found = find(&format!("{GREETING}{said}"), "anna:hunter2hunter2@", &[]);
            assert_eq!(found.status, status, "{said}: {found:?}");
        }
        let said = format!("{GREETING}334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n235 welcome\r\n221 bye\r\n");
        assert_eq!(find(&said, "anna:pw@", &[("auth", "login")]), Finding::PASS);
        for offered in ["250 HELP", "250 AUTH CRAM-MD5", "250 AUTHPLAIN"] {
            let found = find(&format!("220 x\r\n{offered}\r\n235 ok\r\n221 bye\r\n"), "anna:pw@", &[]);
            assert_eq!(found.status, Status::Error, "{offered}");
        }
    }

    #[test]
    fn what_a_server_quotes_of_the_password_is_hidden() {
        let account = Account { user: "anna".to_owned(), password: "hunter2hunter2".to_owned(), mechanism: None };
        for echo in [account.plain(), account.password.clone(), BASE64_STANDARD.encode(&account.password)] {
            let found = find(&format!("{GREETING}500 what is {echo}?\r\n"), "anna:hunter2hunter2@", &[]);
            assert!(found.context.expect("it says why").contains("what is ***?"));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn a_damaged_answer_never_passes(at in 0..200_usize, byte: u8) {
            const SAID: &str = "220 x\r\n250-x\r\n250 AUTH PLAIN\r\n235 x\r\n221 x\r\n";
            let at = at % SAID.len();
            let mut said = SAID.as_bytes().to_vec();
            said[at] = byte;
            let found = testing::find(&KIND, "//anna:pw@{}", said.clone(), &[]);
            // A reply ends with the first line that has no dash.
            let lines = said.split(|&byte| byte == b'\n').filter(|line| line.len() >= 3 && line.get(3) != Some(&b'-'));
            let codes: Vec<_> = lines.map(|line| &line[..3]).collect();
            let is_well = codes == [b"220", b"250", b"235", b"221"];
            prop_assert!(found.status != Status::Pass || is_well, "{found:?} {is_well} {said:?}");
        }
    }
}
