//! `pop3://[USER:PASSWORD@]HOST[:PORT]` and `pop3s://…`: a mail server greets us, lets us sign in, and says goodbye (RFC 1939,
//! and RFC 5034 for SASL).

use super::support::mail::{self, Account, Mechanism, Protocol, Session};
use super::support::starttls::StartTls;
use super::{Kind, Runs};
use crate::model::check::{Reason, Result};
use crate::model::control::Control;

pub(super) const KIND: Kind = Kind {
    scheme: "pop3",
    port: Some(110),
    options: &mail::OPTIONS,
    runs: Runs::OnThread,
    controls: Control::NETWORK,
    title: "pop3://{target} answers",
    passes: "a server of mailboxes greets, lets us sign in if there is an account, and says goodbye",
    notices: &["refused", "black_hole", "rubbish", "starved"],
    examples: &["pop3://anna:secret@localhost#starttls"],
    build: |target, options| POP3.build(target, options),
};

pub(super) const KIND_POP3S: Kind = Kind {
    scheme: "pop3s",
    port: Some(995),
    options: &mail::TLS_OPTIONS,
    title: "pop3s://{target} answers",
    passes: "the same with TLS from the first byte on, and the certificate is trusted",
    notices: &["refused", "black_hole", "rubbish", "stranger: another certificate", "starved"],
    examples: &["pop3s://localhost"],
    build: |target, options| POP3.build_with_tls(target, options),
    ..KIND
};

static POP3: Protocol = Protocol { scheme: "pop3", starttls: StartTls::Pop3, tls_port: 995, talk };

fn talk(session: &mut Session, account: Option<&Account>) -> Result {
    if !session.has_greeted {
        expect_ok(session, "its greeting")?;
    }
    if let Some(account) = account {
        session.sign_in(|session| sign_in(session, account))?;
    }
    session.say("QUIT")?;
    expect_ok(session, "its goodbye")
}

fn sign_in(session: &mut Session, account: &Account) -> Result {
    let (first, then, is_ready): (_, _, fn(&str) -> bool) = match account.mechanism {
        Some(Mechanism::Plain) => {
            ("AUTH PLAIN".to_owned(), account.plain(), |line| line == "+" || line.starts_with("+ "))
        }
        Some(Mechanism::Login) | None => {
            (format!("USER {}", account.user), format!("PASS {}", account.password), is_ok)
        }
    };
    for (said, is_good) in [(first, is_ready), (then, is_ok)] {
        const AWAITED: &str = "its answer to our account";
        session.say(&said)?;
        let line = session.line(AWAITED)?;
        if line.starts_with("-ERR") {
            return Err(match is_its_fault(&line) {
                true => session.unexpected(AWAITED, &line),
                false => Reason::Error(session.came(AWAITED, &line)),
            });
        }
        if !is_good(&line) {
            return Err(session.unexpected(AWAITED, &line));
        }
    }
    Ok(())
}

/// Unless it says that something in it is broken, it may be well: it is we who are not let in (RFC 2449, RFC 3206).
fn is_its_fault(line: &str) -> bool {
    line.to_ascii_uppercase().starts_with("-ERR [SYS/")
}

fn is_ok(line: &str) -> bool {
    line == "+OK" || line.starts_with("+OK ")
}

fn expect_ok(session: &mut Session, awaited: &str) -> Result {
    let line = session.line(awaited)?;
    if is_ok(&line) { Ok(()) } else { Err(session.unexpected(awaited, &line)) }
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

    #[test]
    fn a_server_that_greets_and_says_goodbye_is_well() {
        assert_eq!(find("+OK ready\r\n+OK\r\n", "", &[]), Finding::PASS);
        for (said, why) in [
            ("", "it closed the connection before its greeting"),
            ("-ERR busy\r\n", "its greeting is \"-ERR busy\""),
            ("* OK ready\r\n", "its greeting is \"* OK ready\""),
            ("+OK ready\r\n", "it closed the connection before its goodbye"),
            ("+OK ready\r\n-ERR\r\n", "its goodbye is \"-ERR\""),
            ("+OKready\r\n+OK\r\n", "its greeting is"),
        ] {
            let found = find(said, "", &[]);
            assert!(found.status == Status::Fail && found.context.expect("it says why").contains(why), "{said}");
        }
    }

    #[test]
    fn who_is_not_let_in_cannot_tell_and_who_gets_no_answer_can() {
        for (said, pairs, status) in [
            ("+OK\r\n+OK\r\n+OK\r\n", &[][..], Status::Pass),
            ("+OK\r\n+OK\r\n", &[], Status::Fail),
            ("+OK\r\n-ERR [AUTH] wrong\r\n", &[], Status::Error),
            ("-ERR [AUTH] with TLS only\r\n", &[], Status::Error),
            ("+OK\r\n-ERR [IN-USE] somebody else\r\n", &[], Status::Error),
            ("+OK\r\n-ERR [SYS/TEMP] later\r\n", &[], Status::Fail),
            ("+OK\r\n+ \r\n", &[], Status::Fail),
            ("+ \r\n+OK\r\n+OK\r\n", &[("auth", "plain")], Status::Pass),
            ("+OK\r\n+OK\r\n+OK\r\n", &[("auth", "plain")], Status::Fail),
            ("-ERR unknown\r\n", &[("auth", "plain")], Status::Error),
        ] {
            let found = find(&format!("+OK ready\r\n{said}"), "anna:hunter2hunter2@", pairs);
            assert_eq!(found.status, status, "{said}: {found:?}");
        }
        let found = find("+OK ready\r\n+OK\r\n-ERR what is hunter2hunter2?\r\n", "anna:hunter2hunter2@", &[]);
        assert!(found.context.expect("it says why").contains("what is ***?"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn a_damaged_answer_never_passes(at in 0..24_usize, byte: u8) {
            const SAID: &str = "+OK x\r\n+OK\r\n+OK\r\n+OK x\r\n";
            let mut said = SAID.as_bytes().to_vec();
            said[at] = byte;
            let found = testing::find(&KIND, "//anna:pw@{}", said.clone(), &[]);
            let lines: Vec<_> = said.split(|&byte| byte == b'\n').collect();
            let is_ok = |line: &&[u8]| {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                line == b"+OK" || line.starts_with(b"+OK ")
            };
            prop_assert!(found.status != Status::Pass || lines.iter().filter(|line| is_ok(line)).count() >= 4, "{:?}", said);
        }
    }
}
