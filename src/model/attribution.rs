//! From a finding and the controls on our side to whose fault it is. Pure.
//!
//! | blame | when |
//! |---|---|
//! | `ours` | a control fails, or the run met an error of this host: nothing is known of the other side |
//! | `theirs` | it answered, and wrongly, or it refused |
//! | `path` | nothing came back, and nothing else behind the same route has answered in the same round; or a part of it has not come |
//!
//! A function or a program that could not decide blames nobody: it may look at anything.

use std::net::SocketAddr;

use super::blame::Blame;
use super::check::{Code, Finding, Status};
use super::control::Control;
use super::report::Outcome;
use super::transcript::{Field, UNKNOWN_NAME};

/// Errors that say that nothing came back.
const SILENCE: [&str; 3] = ["ETIMEDOUT", "EHOSTUNREACH", "EHOSTDOWN"];

/// Whether a finding may come of this control's failing.
pub(crate) fn concerns(control: Control, found: &Finding) -> bool {
    let is_bad = match found.status {
        Status::Fail | Status::Error | Status::ExpectedFailure => true,
        Status::Pass | Status::Warn | Status::UnexpectedSuccess => false,
        Status::Skip => return false,
    };
    match control {
        // A wrong clock makes what has ended look valid, and the other way round.
        Control::Clock => noted(found, Field::NotAfter) || noted(found, Field::AgeS),
        // Whoever answers for everybody makes everything look well.
        Control::ClosedPort => !is_bad,
        Control::Name => errors(found).any(|error| error == UNKNOWN_NAME),
        Control::CpuTime => is_bad && (noted(found, Field::LimitMs) || errors(found).any(|error| error == "ETIMEDOUT")),
        Control::Output => {
            is_bad && (is_silent(found) || is_lost(found) || refused_by(found).or(reset_by(found)).is_some())
        }
        Control::Descriptor | Control::Loopback | Control::Start | Control::File => is_bad && !is_of_this_host(found),
    }
}

/// The finding with its blame. `failing` says which control fails, and how, of those that concern it.
pub(crate) fn attributed(found: Finding, code: Code, failing: Option<&str>) -> Finding {
    if let Some(failing) = failing {
        let why = found.context.map(|context| format!(": {context}")).unwrap_or_default();
        let context = format!("not decided: {failing} (it was {}{why})", found.status.word());
        let parts = Vec::new();
        return Finding { status: Status::Error, context: Some(context), blame: Some(Blame::Ours), parts, ..found };
    }
    let blame = match found.status {
        Status::Fail if is_silent(&found) || is_lost(&found) => Some(Blame::Path),
        Status::Fail | Status::UnexpectedSuccess => Some(Blame::Theirs),
        Status::Error => match (errors(&found).last(), code) {
            // Somebody who knows has said so.
            (Some(UNKNOWN_NAME), _) => Some(Blame::Theirs),
            (Some(_), _) | (None, Code::BuiltIn | Code::BuiltInAndProgram) => Some(Blame::Ours),
            (None, Code::Function | Code::Program) => None,
        },
        Status::Pass | Status::Warn | Status::Skip | Status::ExpectedFailure => None,
    };
    Finding { blame, ..found }
}

/// Compares what is silent with its neighbours: where another target behind the same route has answered, the route works. Unless
/// nothing that comes is dropped here, that tells nothing: an answer may have been.
pub(crate) fn compare_routes(outcomes: &mut [Outcome]) {
    if !outcomes.iter().any(|outcome| outcome.finding.blame == Some(Blame::Path)) {
        return;
    }
    let routes = |outcome: &Outcome| -> Vec<String> {
        let noted = outcome.finding.transcript.iter().flat_map(|noted| noted.values(Field::From));
        noted.map(str::to_owned).collect()
    };
    let answered: Vec<String> =
        outcomes.iter().filter(|outcome| has_answered(&outcome.finding)).flat_map(routes).collect();
    for outcome in outcomes {
        let answers_get_in = outcome
            .finding
            .transcript
            .iter()
            .flat_map(|noted| noted.values(Field::OurDrops))
            .any(|seen| seen == "none");
        let is_silent = outcome.finding.blame == Some(Blame::Path) && answers_get_in;
        if is_silent && routes(outcome).iter().any(|route| answered.contains(route)) {
            outcome.finding.blame = Some(Blame::Theirs);
        }
    }
}

fn noted(found: &Finding, field: Field) -> bool {
    found.transcript.as_ref().is_some_and(|noted| noted.values(field).next().is_some())
}

fn errors(found: &Finding) -> impl Iterator<Item = &str> {
    found.transcript.iter().flat_map(|noted| noted.values(Field::Errno))
}

fn has_answered(found: &Finding) -> bool {
    noted(found, Field::ConnectMs) || noted(found, Field::FirstByteMs)
}

/// Whether packets of a connection that was made have not arrived.
fn is_lost(found: &Finding) -> bool {
    noted(found, Field::Lost)
}

/// Whether something was tried, and nothing came back.
fn is_silent(found: &Finding) -> bool {
    noted(found, Field::Errno) && errors(found).all(|error| SILENCE.contains(&error)) && !has_answered(found)
}

/// The first address that was tried, if all have refused.
pub(crate) fn refused_by(found: &Finding) -> Option<SocketAddr> {
    let is_refused = noted(found, Field::Errno) && errors(found).all(|error| error == "ECONNREFUSED");
    address(found).filter(|_| is_refused && !has_answered(found))
}

/// The address of a connection that was made and then reset, which may be seen at once.
pub(crate) fn reset_by(found: &Finding) -> Option<SocketAddr> {
    let is_reset = errors(found).last() == Some("ECONNRESET");
    let addresses = found.transcript.iter().flat_map(|noted| noted.values(Field::Address));
    // Others that were tried before have not answered.
    addresses.last().filter(|_| is_reset)?.parse().ok()
}

/// The first address that was tried, with its port.
pub(crate) fn address(found: &Finding) -> Option<SocketAddr> {
    let mut addresses = found.transcript.iter().flat_map(|noted| noted.values(Field::Address));
    addresses.find_map(|address| address.parse().ok())
}

/// Whether the run has met an error that needs no control to be ours.
fn is_of_this_host(found: &Finding) -> bool {
    found.status == Status::Error && errors(found).last().is_some_and(|error| error != UNKNOWN_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Check;
    use crate::model::transcript::Transcript;
    use std::sync::Arc;
    use std::time::Duration;

    fn found(status: Status, notes: &[(Field, &str)]) -> Finding {
        let mut transcript = Transcript::default();
        notes.iter().for_each(|(field, value)| transcript.add(*field, value));
        Finding { transcript: Some(Box::new(transcript)), ..Finding::new(status, "why") }
    }

    const REFUSED: &[(Field, &str)] = &[(Field::Address, "10.0.0.1:80"), (Field::Errno, "ECONNREFUSED")];
    const SILENT: &[(Field, &str)] =
        &[(Field::Address, "10.0.0.1:80"), (Field::Errno, "ETIMEDOUT"), (Field::From, "10.0.0.9")];
    const UNHEARD: &[(Field, &str)] =
        &[(Field::Errno, "ETIMEDOUT"), (Field::From, "10.0.0.9"), (Field::OurDrops, "some")];
    const UNANSWERED: &[(Field, &str)] =
        &[(Field::Errno, "ETIMEDOUT"), (Field::From, "10.0.0.9"), (Field::OurDrops, "none")];
    const LOST: &[(Field, &str)] =
        &[(Field::ConnectMs, "1"), (Field::Errno, "ETIMEDOUT"), (Field::Lost, "of what came")];
    const RESET: &[(Field, &str)] =
        &[(Field::Address, "10.0.0.1:80"), (Field::ConnectMs, "1"), (Field::Errno, "ECONNRESET")];
    const FROZEN: &[(Field, &str)] = &[(Field::ConnectMs, "1"), (Field::Errno, "ETIMEDOUT")];
    const NO_DESCRIPTOR: &[(Field, &str)] = &[(Field::Errno, "EMFILE")];
    const NO_SUCH_NAME: &[(Field, &str)] = &[(Field::Errno, UNKNOWN_NAME)];

    #[test]
    fn who_is_to_blame() {
        for (status, notes, code, blame) in [
            (Status::Fail, REFUSED, Code::BuiltIn, Some(Blame::Theirs)),
            (Status::Fail, SILENT, Code::BuiltIn, Some(Blame::Path)),
            (Status::Fail, FROZEN, Code::BuiltIn, Some(Blame::Theirs)),
            (Status::Fail, LOST, Code::BuiltIn, Some(Blame::Path)),
            (Status::Fail, RESET, Code::BuiltIn, Some(Blame::Theirs)),
            (Status::Fail, &[], Code::Program, Some(Blame::Theirs)),
            (Status::UnexpectedSuccess, &[], Code::BuiltIn, Some(Blame::Theirs)),
            (Status::Error, NO_DESCRIPTOR, Code::BuiltIn, Some(Blame::Ours)),
            (Status::Error, NO_DESCRIPTOR, Code::Program, Some(Blame::Ours)),
            (Status::Error, NO_SUCH_NAME, Code::BuiltIn, Some(Blame::Theirs)),
            (Status::Error, &[], Code::BuiltIn, Some(Blame::Ours)),
            (Status::Error, &[], Code::Function, None),
            (Status::Pass, NO_DESCRIPTOR, Code::BuiltIn, None),
            (Status::Warn, &[], Code::BuiltIn, None),
            (Status::ExpectedFailure, REFUSED, Code::BuiltIn, None),
        ] {
            let finding = attributed(found(status, notes), code, None);
            assert_eq!((finding.blame, finding.status), (blame, status), "{status:?} {notes:?} {code:?}");
        }
    }

    #[test]
    fn where_a_control_fails_nothing_is_decided() {
        for status in [Status::Fail, Status::Pass, Status::Error, Status::ExpectedFailure] {
            let finding = attributed(found(status, REFUSED), Code::BuiltIn, Some("no program starts"));
            assert_eq!((finding.status, finding.blame), (Status::Error, Some(Blame::Ours)));
            let context = format!("not decided: no program starts (it was {}: why)", status.word());
            assert_eq!(finding.context, Some(context));
        }
    }

    #[test]
    fn a_control_concerns_what_may_come_of_it() {
        use Control::*;
        let ends: &[(Field, &str)] = &[(Field::NotAfter, "2026-12-24")];
        for (control, status, notes, concerns_it) in [
            (Descriptor, Status::Fail, REFUSED, true),
            (Descriptor, Status::ExpectedFailure, REFUSED, true),
            (Descriptor, Status::Pass, REFUSED, false),
            (Descriptor, Status::Error, NO_DESCRIPTOR, false),
            (ClosedPort, Status::Pass, &[], true),
            (ClosedPort, Status::Fail, &[], false),
            (ClosedPort, Status::Skip, &[], false),
            (Name, Status::Error, NO_SUCH_NAME, true),
            (Name, Status::Error, NO_DESCRIPTOR, false),
            (Clock, Status::Pass, ends, true),
            (Clock, Status::Fail, ends, true),
            (Clock, Status::Fail, REFUSED, false),
            (CpuTime, Status::Fail, SILENT, true),
            (CpuTime, Status::Fail, FROZEN, true),
            (CpuTime, Status::Fail, REFUSED, false),
            (Output, Status::Fail, SILENT, true),
            (Output, Status::Fail, REFUSED, true),
            (Output, Status::Fail, LOST, true),
            (Output, Status::Fail, RESET, true),
            (Output, Status::Fail, FROZEN, false),
        ] {
            assert_eq!(concerns(control, &found(status, notes)), concerns_it, "{control:?} {status:?} {notes:?}");
        }
    }

    #[test]
    fn a_route_works_if_another_target_behind_it_has_answered() {
        let outcome = |notes: &[(Field, &str)], status| {
            let check = Arc::new(Check::new("x", |_| ()));
            let finding = attributed(found(status, notes), Code::BuiltIn, None);
            Outcome::of(check, finding, Duration::ZERO, Duration::ZERO)
        };
        let answering = |from| outcome(&[(Field::ConnectMs, "1"), (Field::From, from)], Status::Pass);
        for (notes, other, blame) in [
            (UNANSWERED, answering("10.0.0.9"), Blame::Theirs),
            (UNANSWERED, answering("127.0.0.1"), Blame::Path),
            (UNANSWERED, outcome(SILENT, Status::Fail), Blame::Path),
            (UNHEARD, answering("10.0.0.9"), Blame::Path),
            (SILENT, answering("10.0.0.9"), Blame::Path),
        ] {
            let mut outcomes = [outcome(notes, Status::Fail), other];
            compare_routes(&mut outcomes);
            assert_eq!(outcomes[0].finding.blame, Some(blame));
        }
    }
}
