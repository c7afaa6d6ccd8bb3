//! `group:docker#member=alice`: there is a group, and it is as expected.

use super::{Action, Kind, Opt, Options, Runs, Value};
use crate::model::check::{Finding, Reason, Result};
use crate::model::control::Control;
use crate::os::accounts;

pub(super) const KIND: Kind = Kind {
    scheme: "group",
    port: None,
    options: &[
        Opt::new("gid", Value::Number, "The number that it has to have"),
        Opt::new("member", Value::Text, "A user that has to be in it").repeatable(),
    ],
    // The directory of a company may have to be asked.
    runs: Runs::OnThread,
    controls: Control::HOST,
    title: "There is the group {target}",
    passes: "there is a group",
    notices: &["gone", "starved"],
    examples: &["group:adm#member=syslog"],
    build,
};

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    if target.is_empty() || target.contains([':', '\n', '\0']) {
        return Err("the target is not the name of a group, as in group:docker".to_owned());
    }
    let name = target.to_owned();
    let gid = options.whole("gid")?;
    let members = options.take_all("member");
    Ok(Box::new(move |_| Finding::from(find(&name, gid, &members))))
}

fn find(name: &str, gid: Option<u32>, members: &[String]) -> Result {
    let cannot = |error| Reason::Error(format!("cannot look up the group {name}: {error}"));
    let Some(found) = accounts::group(name).map_err(cannot)? else {
        return Err(Reason::Fail(format!("expected a group {name}, and there is none: see `getent group`")));
    };
    let mut wrong = Vec::new();
    wrong.extend(
        gid.filter(|gid| *gid != found)
            .map(|gid| format!("expected the group {name} to have the gid {gid}, got {found}")),
    );
    for member in members {
        // Who has it as the own group is not listed in it.
        match accounts::user(member).map_err(cannot)? {
            None => wrong.push(format!("expected {member} to be in the group {name}, and there is no such user")),
            Some(user) if !accounts::groups_of(member, user.gid).map_err(cannot)?.iter().any(|group| group == name) => {
                wrong.push(format!("expected {member} to be in the group {name}, and it is not"));
            }
            Some(_) => {}
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Reason::Fail(wrong.join(", and "))) }
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
    fn the_group_of_root_has_root_in_it() {
        assert_eq!(found("root", &[("gid", "0"), ("member", "root")]), Finding::PASS);
        let finding = found("root", &[("gid", "7"), ("member", "daemon"), ("member", "no-such")]);
        assert_eq!(finding.status, Status::Fail);
        let context = "expected the group root to have the gid 7, got 0, and expected daemon to be in the group root, and it is \
                       not, and expected no-such to be in the group root, and there is no such user";
        assert_eq!(finding.context.as_deref(), Some(context));
    }

    #[test]
    fn one_that_is_not_there_fails() {
        assert_eq!(found("no-such-group", &[]).status, Status::Fail);
        assert!(build("", &mut Options::of(&[])).is_err());
    }
}
