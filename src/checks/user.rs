//! `user:postgres#uid=104&group=ssl-cert`: there is a user, and it is as expected.

use super::{Action, Kind, Opt, Options, Runs, Value};
use crate::model::check::{Finding, Reason, Result};
use crate::model::control::Control;
use crate::os::accounts::{self, Account};

pub(super) const KIND: Kind = Kind {
    scheme: "user",
    port: None,
    options: &[
        Opt::new("uid", Value::Number, "The number that it has to have"),
        Opt::new("gid", Value::Number, "The number that its group has to have"),
        Opt::new("group", Value::Text, "A group that it has to be in").repeatable(),
        Opt::new("home", Value::Path, "The folder that it has to have"),
        Opt::new("shell", Value::Path, "The shell that it has to have"),
    ],
    // The directory of a company may have to be asked.
    runs: Runs::OnThread,
    controls: Control::HOST,
    title: "There is the user {target}",
    passes: "there is a user",
    notices: &["gone", "starved"],
    examples: &["user:root#uid=0&shell=/bin/bash"],
    build,
};

/// What a user must be like; what is not set does not matter.
struct Expected {
    uid: Option<u32>,
    gid: Option<u32>,
    groups: Vec<String>,
    home: Option<String>,
    shell: Option<String>,
}

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    if target.is_empty() || target.contains([':', '\n', '\0']) {
        return Err("the target is not the name of a user, as in user:postgres".to_owned());
    }
    let name = target.to_owned();
    let expected = Expected {
        uid: options.whole("uid")?,
        gid: options.whole("gid")?,
        groups: options.take_all("group"),
        home: options.take("home")?,
        shell: options.take("shell")?,
    };
    Ok(Box::new(move |_| match accounts::user(&name) {
        Ok(Some(found)) => Finding::from(expected.verdict(&name, &found)),
        Ok(None) => Finding::fail(format!("expected a user {name}, and there is none: see `getent passwd`")),
        Err(error) => Finding::error(format!("cannot look up the user {name}: {error}")),
    }))
}

impl Expected {
    fn verdict(&self, name: &str, found: &Account) -> Result {
        let mut wrong = Vec::new();
        let mut differs = |what: &str, expected: Option<String>, got: &str| {
            wrong.extend(expected.filter(|it| it != got).map(|it| format!("expected the {what} {it}, got {got}")));
        };
        differs("uid", self.uid.map(|uid| uid.to_string()), &found.uid.to_string());
        differs("gid", self.gid.map(|gid| gid.to_string()), &found.gid.to_string());
        differs("home", self.home.clone(), &found.home);
        differs("shell", self.shell.clone(), &found.shell);
        if !self.groups.is_empty() {
            let groups = accounts::groups_of(name, found.gid)
                .map_err(|error| Reason::Error(format!("cannot look up the groups of {name}: {error}")))?;
            let is_missing = |group: &&String| !groups.contains(group);
            let missing: Vec<_> = self.groups.iter().filter(is_missing).map(String::as_str).collect();
            if !missing.is_empty() {
                wrong.push(format!("expected it to be in {}, got {}", missing.join(", "), groups.join(", ")));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(Reason::Fail(format!("{}: {name}", wrong.join(", and ")))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::{Deadline, Status};
    use std::time::Instant;

    fn found(target: &str, pairs: &[(&str, &str)]) -> Finding {
        build(target, &mut Options::of(pairs)).expect("it is well formed")(Deadline::at(Instant::now()))
    }

    #[test]
    fn root_is_there_and_is_as_expected() {
        assert_eq!(found("root", &[("uid", "0"), ("gid", "0"), ("group", "root"), ("home", "/root")]), Finding::PASS);
        let finding = found("root", &[("uid", "7"), ("group", "no-such"), ("shell", "/bin/none")]);
        let context = finding.context.unwrap_or_default();
        assert_eq!(finding.status, Status::Fail);
        for text in ["expected the uid 7, got 0", "the shell /bin/none, got /", "to be in no-such, got root"] {
            assert!(context.contains(text) && context.ends_with(": root"), "{context}");
        }
    }

    #[test]
    fn one_that_is_not_there_fails_by_its_name_and_not_by_a_number() {
        assert_eq!(found("no-such-user", &[]).status, Status::Fail);
        assert_eq!(found("0", &[]).status, Status::Fail);
    }

    #[test]
    fn wrong_options_are_refused() {
        let error = build("root", &mut Options::of(&[("uid", "root")])).err();
        assert_eq!(error.as_deref(), Some("option uid: write a whole number"));
        assert!(build("", &mut Options::of(&[])).is_err());
    }
}
