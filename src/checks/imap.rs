//! `imap://[USER:PASSWORD@]HOST[:PORT]` and `imaps://…`: a mail server greets us, lets us sign in, and says goodbye (RFC 9051).

use super::support::mail::{self, Account, Mechanism, Protocol, Session};
use super::support::starttls::StartTls;
use super::{Kind, Runs};
use crate::model::check::{Reason, Result};
use crate::model::control::Control;

pub(super) const KIND: Kind = Kind {
    scheme: "imap",
    port: Some(143),
    options: &mail::OPTIONS,
    runs: Runs::OnThread,
    controls: Control::NETWORK,
    title: "imap://{target} answers",
    passes: "a server of mailboxes greets, lets us sign in if there is an account, and says goodbye",
    notices: &["refused", "black_hole", "rubbish", "starved"],
    examples: &["imap://anna:secret@localhost#starttls"],
    build: |target, options| IMAP.build(target, options),
};

pub(super) const KIND_IMAPS: Kind = Kind {
    scheme: "imaps",
    port: Some(993),
    options: &mail::TLS_OPTIONS,
    title: "imaps://{target} answers",
    passes: "the same with TLS from the first byte on, and the certificate is trusted",
    notices: &["refused", "black_hole", "rubbish", "stranger: another certificate", "starved"],
    examples: &["imaps://localhost"],
    build: |target, options| IMAP.build_with_tls(target, options),
    ..KIND
};

static IMAP: Protocol = Protocol { scheme: "imap", starttls: StartTls::Imap, tls_port: 993, talk };

fn talk(session: &mut Session, account: Option<&Account>) -> Result {
    if !session.has_greeted {
        let line = session.line("its greeting")?;
        match untagged(&line).map(first_word).as_deref() {
            Some("OK") => {}
            // It knows us by our address, and takes no account.
            Some("PREAUTH") if account.is_none() => {}
            Some("PREAUTH") => return Err(Reason::Error("it lets us in before we sign in".to_owned())),
            _ => return Err(session.unexpected("its greeting", &line)),
        }
    }
    if let Some(account) = account {
        session.sign_in(|session| sign_in(session, account))?;
    }
    const GOODBYE: &str = "its goodbye";
    session.say("z LOGOUT")?;
    let (answers, end) = Ending::read(session, "z", GOODBYE)?;
    match end {
        Ending::Ok if answers.iter().any(|answer| first_word(answer) == "BYE") => Ok(()),
        Ending::Ok => Err(Reason::Fail("it says no BYE".to_owned())),
        Ending::No(line) | Ending::Bad(line) | Ending::Other(line) => Err(session.unexpected(GOODBYE, &line)),
    }
}

fn sign_in(session: &mut Session, account: &Account) -> Result {
    const CAPABILITY: &str = "its answer to CAPABILITY";
    session.say("a CAPABILITY")?;
    let (answers, end) = Ending::read(session, "a", CAPABILITY)?;
    if let Ending::No(line) | Ending::Bad(line) | Ending::Other(line) = end {
        return Err(session.unexpected(CAPABILITY, &line));
    }
    let capabilities = answers.iter().filter(|answer| first_word(answer) == "CAPABILITY");
    let capabilities = capabilities.flat_map(|answer| answer.split_whitespace().skip(1)).map(str::to_ascii_uppercase);
    let capabilities: Vec<_> = capabilities.collect();
    let offers = |name: &str| capabilities.iter().any(|capability| capability == name);
    let mechanism = match account.mechanism {
        Some(mechanism) => mechanism,
        None if offers("AUTH=PLAIN") => Mechanism::Plain,
        None if offers("LOGINDISABLED") => {
            return Err(Reason::Error(
                "it offers no way to sign in that is known here: it may do so with TLS".to_owned(),
            ));
        }
        None => Mechanism::Login,
    };
    const ACCOUNT: &str = "its answer to our account";
    match mechanism {
        Mechanism::Plain => {
            session.say("b AUTHENTICATE PLAIN")?;
            match Ending::read(session, "b", ACCOUNT)?.1 {
                Ending::Other(line) if line == "+" || line.starts_with("+ ") => session.say(&account.plain())?,
                end => return Err(objection(session, ACCOUNT, end)),
            }
        }
        Mechanism::Login => session.say(&format!("b LOGIN {} {}", quoted(&account.user), quoted(&account.password)))?,
    }
    match Ending::read(session, "b", ACCOUNT)?.1 {
        Ending::Ok => Ok(()),
        end => Err(objection(session, ACCOUNT, end)),
    }
}

/// Unless it says that something in it is broken, it may be well: it is we who are not let in (RFC 5530).
fn objection(session: &Session, awaited: &str, end: Ending) -> Reason {
    match end {
        Ending::No(line) => {
            let codes = ["[UNAVAILABLE]", "[SERVERBUG]", "[CORRUPTION]", "[LIMIT]"];
            let text = line.to_ascii_uppercase();
            match codes.iter().any(|code| text.contains(code)) {
                true => session.unexpected(awaited, &line),
                false => Reason::Error(session.came(awaited, &line)),
            }
        }
        Ending::Bad(line) => Reason::Error(session.came(awaited, &line)),
        Ending::Other(line) => session.unexpected(awaited, &line),
        Ending::Ok => Reason::Fail(format!("{awaited} comes too early")),
    }
}

/// How an answer to a command ends: the line, but for OK, where it does not matter.
enum Ending {
    Ok,
    No(String),
    Bad(String),
    /// It is not what ends an answer.
    Other(String),
}

impl Ending {
    /// Reads to the line that has the tag of a command. What comes before it is told without its mark.
    fn read(session: &mut Session, tag: &str, awaited: &str) -> Result<(Vec<String>, Ending)> {
        let mut answers = Vec::new();
        loop {
            let line = session.line(awaited)?;
            if let Some(answer) = untagged(&line) {
                // It leaves, unless that is what it was asked for.
                if first_word(answer) == "BYE" && tag != "z" {
                    return Err(session.unexpected(awaited, &line));
                }
                answers.push(answer.to_owned());
                continue;
            }
            let status = line.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')).map(first_word);
            let end = match status.as_deref() {
                Some("OK") => Ending::Ok,
                Some("NO") => Ending::No(line),
                Some("BAD") => Ending::Bad(line),
                _ => Ending::Other(line),
            };
            return Ok((answers, end));
        }
    }
}

fn untagged(line: &str) -> Option<&str> {
    line.strip_prefix("* ")
}

fn first_word(text: &str) -> String {
    text.split(' ').next().unwrap_or_default().to_ascii_uppercase()
}

/// A string as a command has it. Control characters are not in it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
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

    const BYE: &str = "* BYE see you\r\nz OK done\r\n";

    #[test]
    fn a_server_that_greets_and_says_goodbye_is_well() {
        assert_eq!(find(&format!("* OK ready\r\n{BYE}"), "", &[]), Finding::PASS);
        assert_eq!(find(&format!("* PREAUTH ready\r\n{BYE}"), "", &[]), Finding::PASS);
        for (said, why) in [
            ("", "it closed the connection before its greeting"),
            ("* BYE busy\r\n", "its greeting is \"* BYE busy\""),
            ("+OK ready\r\n", "its greeting is \"+OK ready\""),
            ("* OK ready\r\n", "it closed the connection before its goodbye"),
            ("* OK ready\r\n* BYE\r\n", "it closed the connection before its goodbye"),
            ("* OK ready\r\nz OK\r\n", "it says no BYE"),
            ("* OK ready\r\n* BYE\r\nz NO\r\n", "its goodbye is \"z NO\""),
            ("* OK ready\r\n* BYE\r\ny OK\r\n", "its goodbye is \"y OK\""),
        ] {
            let found = find(said, "", &[]);
            assert!(found.status == Status::Fail && found.context.expect("it says why").contains(why), "{said}");
        }
    }

    #[test]
    fn who_is_not_let_in_cannot_tell_and_who_gets_no_answer_can() {
        const PLAIN: &str = "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\na OK\r\n+ \r\n";
        const LOGIN: &str = "* CAPABILITY IMAP4rev1\r\na OK\r\n";
        for (said, status) in [
            (format!("{PLAIN}b OK in\r\n{BYE}"), Status::Pass),
            (format!("{LOGIN}* OK hi\r\nb OK in\r\n{BYE}"), Status::Pass),
            (format!("{PLAIN}b OK in\r\n"), Status::Fail),
            (format!("{PLAIN}b NO [AUTHENTICATIONFAILED] wrong\r\n"), Status::Error),
            (format!("{LOGIN}b NO no\r\n"), Status::Error),
            (format!("{LOGIN}b BAD what\r\n"), Status::Error),
            (format!("{LOGIN}b NO [UNAVAILABLE] later\r\n"), Status::Fail),
            (format!("{LOGIN}* BYE down\r\nb OK\r\n{BYE}"), Status::Fail),
            (format!("{LOGIN}+ more\r\nb OK\r\n{BYE}"), Status::Fail),
            ("* CAPABILITY IMAP4rev1 LOGINDISABLED\r\na OK\r\n".to_owned(), Status::Error),
            ("* CAPABILITY AUTH=PLAIN\r\na OK\r\nb OK early\r\nb OK in\r\n* BYE\r\nz OK\r\n".to_owned(), Status::Fail),
            ("a BAD what\r\n".to_owned(), Status::Fail),
            (String::new(), Status::Fail),
        ] {
            let found = find(&format!("* OK ready\r\n{said}"), "anna:hunter2hunter2@", &[]);
            assert_eq!(found.status, status, "{said}: {found:?}");
        }
        let said = format!("* OK ready\r\n{LOGIN}b BAD what is \"hunter2hunter2\"?\r\n");
        assert!(find(&said, "anna:hunter2hunter2@", &[]).context.is_some_and(|why| why.contains("***")));
    }

    #[test]
    fn a_string_is_quoted() {
        assert_eq!(quoted(r#"a "b" \c"#), r#""a \"b\" \\c""#);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn a_damaged_answer_never_passes(at in 0..200_usize, byte: u8) {
            const SAID: &str = "* OK x\r\n* CAPABILITY\r\na OK x\r\nb OK x\r\n* BYE x\r\nz OK x\r\n";
            let at = at % SAID.len();
            let mut said = SAID.as_bytes().to_vec();
            said[at] = byte;
            let found = testing::find(&KIND, "//anna:pw@{}", said.clone(), &[]);
            let begin = |line: &[u8], with: &[u8]| line.to_ascii_uppercase().starts_with(with);
            let lines: Vec<_> = said.split(|&byte| byte == b'\n').collect();
            let ends: Vec<_> = lines.iter().filter(|line| !line.starts_with(b"* ") && !line.is_empty()).collect();
            let is_well = begin(lines[0], b"* OK")
                && lines.iter().any(|line| begin(line, b"* BYE"))
                // What follows the last is not read.
                && ends.len() >= 3
                && ends.iter().zip([b"A OK", b"B OK", b"Z OK"]).all(|(line, end)| begin(line, end));
            prop_assert!(found.status != Status::Pass || is_well, "{found:?} {is_well} {said:?}");
        }
    }
}
