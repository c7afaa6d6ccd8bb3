//! What has changed on our side between the last good run of a check and a bad one, and touches it: what the check is told to
//! verify, the files of ours that it reads for that, and how names are looked up here. Where something has, nobody else is blamed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::model::attribution::refused_by;
use crate::model::blame::Blame;
use crate::model::check::{Check, Expect, Finding};
use crate::model::duration;
use crate::model::episode::{CheckRecord, RecordedRun};
use crate::model::transcript::{Field, Transcript, UNKNOWN_NAME};
use crate::os::identity;

/// The most bytes of a definition that are shown.
const SHOWN: usize = 120;

/// How far the time of a file's change may lie behind: the kernel takes it from its last tick.
const TICK: Duration = Duration::from_millis(10);

/// What the resolver of this host goes by.
const OF_NAMES: [&str; 4] = ["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/gai.conf"];

/// Takes the blame for a bad finding off others, if something has changed on our side since the check was good.
pub(crate) fn weigh(check: &Check, found: &mut Finding, record: impl FnOnce() -> Option<Arc<CheckRecord>>) {
    if !matches!(found.blame, Some(Blame::Theirs | Blame::Path)) {
        return;
    }
    let Some(record) = record() else { return };
    let (Some(good), first_bad) = record.turn() else { return };
    if let Some(change) = changed(check, found, good, first_bad) {
        if !is_theirs_all_the_same(check, found, good) {
            found.blame = Some(Blame::Ours);
        }
        found.transcript.get_or_insert_default().add(Field::OurChange, change);
    }
}

/// Whether no change of ours can have led to this: the same address that we connected to refuses that now, or is asked the same and
/// answers that it is the server that has erred (RFC 9110, section 15.6).
fn is_theirs_all_the_same(check: &Check, found: &Finding, good: &RecordedRun) -> bool {
    let Some(noted) = found.transcript.as_deref() else { return false };
    let now = definition(check);
    let mut known = good.transcript.values(Field::Address).peekable();
    let is_same_place = known.peek().is_some()
        && known.all(|address| noted.values(Field::Address).any(|other| other == address))
        && target(&now) == target(&good.definition);
    let was_connected = good.transcript.values(Field::ConnectMs).next().is_some();
    let has_erred = |of: &Transcript| of.values(Field::Status).last().is_some_and(|status| status.starts_with('5'));
    is_same_place
        && (was_connected && refused_by(found).is_some()
            || has_erred(noted)
                && !has_erred(&good.transcript)
                && sent(&now).is_some_and(|sent| Some(sent) == self::sent(&good.definition)))
}

/// What is verified, without how.
fn target(definition: &str) -> &str {
    let end = definition.find('#').or_else(|| definition.rfind(", timeout "));
    &definition[..end.unwrap_or(definition.len())]
}

/// The options of what is sent to a server; `None`: not all of that is known.
fn sent(definition: &str) -> Option<Vec<&str>> {
    const SENT: [&str; 7] = ["basic", "bearer", "body", "body_file", "client_cert", "header", "method"];
    let end = definition.rfind(", timeout ").filter(|_| !definition.contains('…'))?;
    let options = definition[..end].split_once('#').map_or("", |(_, options)| options);
    let is_sent = |option: &&str| option.split_once('=').is_some_and(|(name, _)| SENT.contains(&name));
    let sent: Vec<_> = options.split('&').filter(is_sent).collect();
    (!sent.iter().any(|option| option.contains("***"))).then_some(sent)
}

/// What a check verifies, without secrets, and behind it what changes with them, too.
pub(crate) fn definition(check: &Check) -> String {
    let options = check.options.iter().filter(|(_, value)| !value.is_empty());
    let mut text = options.fold(format!("{}:{}", check.kind, check.target), |text, (name, value)| {
        let sign = if text.contains('#') { '&' } else { '#' };
        format!("{text}{sign}{name}={value}")
    });
    let expect = if check.expect == Expect::Failure { ", expected to fail" } else { "" };
    text.push_str(&format!(", timeout {}{expect}", duration::spoken(check.timeout)));
    let mut hash = Sha256::new_with_prefix(&text);
    // Whoever does not know the machine cannot try what the secret in it may be.
    if !identity::machine().is_empty() {
        hash.update(identity::machine());
        hash.update(check.definition.to_le_bytes());
    }
    let hash = hash.finalize()[..4].iter().fold(String::new(), |hash, byte| format!("{hash}{byte:02x}"));
    if text.len() > SHOWN {
        text.truncate(text.floor_char_boundary(SHOWN));
        text.push('…');
    }
    format!("{text} ({hash})")
}

/// What has changed since the check was good, and not only after it had become bad.
fn changed(check: &Check, found: &Finding, good: &RecordedRun, first_bad: Option<&RecordedRun>) -> Option<String> {
    let is_another = |definition: &str| !good.definition.is_empty() && *definition != good.definition;
    // While the first bad run was told what the good one was, this takes no time in each round.
    if first_bad.is_none_or(|was| is_another(&was.definition)) && is_another(&definition(check)) {
        return Some("what it verifies".to_owned());
    }
    let until = first_bad.map(|run| run.at);
    let is_between =
        |path: &&Path| changed_at(path).is_some_and(|at| at + TICK > good.at && until.is_none_or(|end| at <= end));
    if let Some(path) = check.files.iter().map(|path| &**path).find(is_between) {
        return Some(path.display().to_string());
    }
    let empty = Transcript::default();
    let noted = found.transcript.as_deref().unwrap_or(&empty);
    let values = |of: &Transcript, field| of.values(field).map(str::to_owned).collect::<BTreeSet<_>>();
    let differs = |of: &Transcript, field| values(of, field) != values(&good.transcript, field);
    // A name was looked up both times.
    let has_resolver = |of: &Transcript| !values(of, Field::Resolver).is_empty();
    let is_led_elsewhere =
        differs(noted, Field::Resolved) || noted.values(Field::Errno).any(|error| error == UNKNOWN_NAME);
    if !is_led_elsewhere || !has_resolver(noted) && !has_resolver(&good.transcript) {
        return None;
    }
    if differs(noted, Field::Resolver) && first_bad.is_none_or(|run| differs(&run.transcript, Field::Resolver)) {
        return Some("the name servers of this host".to_owned());
    }
    OF_NAMES.into_iter().map(Path::new).find(is_between).map(|path| path.display().to_string())
}

/// When a file was changed, or the link that leads to it.
fn changed_at(path: &Path) -> Option<SystemTime> {
    let changes = [fs::symlink_metadata(path), fs::metadata(path)].into_iter().flatten();
    let moment = |found: fs::Metadata| {
        UNIX_EPOCH + Duration::new(found.ctime().try_into().unwrap_or(0), found.ctime_nsec().try_into().unwrap_or(0))
    };
    changes.map(moment).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Status;
    use crate::model::episode::StateChange;
    use crate::os::clock;

    fn checks(file: &Path, limit: u64) -> Check {
        let check = Check::new("db", |_| ()).timeout(Duration::from_secs(limit));
        Check { files: vec![file.to_owned()], ..check }
    }

    fn run(at: SystemTime, check: &Check, notes: &[(Field, &str)]) -> RecordedRun {
        let mut transcript = Transcript::default();
        notes.iter().for_each(|(field, value)| transcript.add(*field, value));
        let run = RecordedRun::new(at, Status::Pass, None, Duration::ZERO, 0, transcript);
        RecordedRun { definition: definition(check), ..run }
    }

    /// Whose fault a bad run is now, and why, after a good one and maybe a first bad one.
    fn weighed(
        check: &Check,
        notes: &[(Field, &str)],
        good: RecordedRun,
        bad: Option<RecordedRun>,
    ) -> (Option<Blame>, Option<String>) {
        let status = if bad.is_some() { Status::Fail } else { Status::Pass };
        let last = StateChange { at: clock::wall(), status, unwatched: Duration::ZERO };
        let record = CheckRecord { good: Some(good), first_bad: bad, last: Some(last), ..CheckRecord::default() };
        let transcript = Some(Box::new(run(clock::wall(), check, notes).transcript));
        let mut found = Finding { blame: Some(Blame::Theirs), transcript, ..Finding::fail("no") };
        weigh(check, &mut found, || Some(Arc::new(record)));
        let why = found.transcript.iter().flat_map(|noted| noted.values(Field::OurChange)).next().map(str::to_owned);
        (found.blame, why)
    }

    #[test]
    fn who_has_changed_something_here_since_it_was_good_blames_nobody_else() {
        let file = tempfile::NamedTempFile::new().expect("there is room");
        let (check, other) = (checks(file.path(), 5), checks(file.path(), 6));
        let (now, hour) = (clock::wall() + Duration::from_secs(1), Duration::from_secs(3600));
        let ours = |why: &str| (Some(Blame::Ours), Some(why.to_owned()));
        let theirs = (Some(Blame::Theirs), None);
        assert_eq!(weighed(&check, &[], run(now, &check, &[]), None), theirs);
        assert_eq!(weighed(&other, &[], run(now, &check, &[]), None), ours("what it verifies"));
        let path = file.path().display().to_string();
        assert_eq!(weighed(&check, &[], run(now - hour, &check, &[]), None), ours(&path));
        // Once it was bad, what is changed has not made it so.
        let bad = |check: &Check| Some(run(now - hour, check, &[]));
        assert_eq!(weighed(&check, &[], run(now - hour * 2, &check, &[]), bad(&check)), theirs);
        assert_eq!(weighed(&other, &[], run(now - hour * 2, &check, &[]), bad(&check)), theirs);
        assert_eq!(weighed(&other, &[], run(now - hour * 2, &check, &[]), bad(&other)), ours("what it verifies"));
        assert_eq!(weighed(&check, &[], run(now - hour * 2, &check, &[]), bad(&other)), theirs);
    }

    #[test]
    fn a_server_that_erred_or_was_gone_when_its_check_was_changed_is_to_blame_all_the_same() {
        let file = tempfile::NamedTempFile::new().expect("there is room");
        let now = clock::wall() + Duration::from_secs(1);
        let check = |target: &str, options: &[(&str, &str)]| {
            let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            Check { target: target.to_owned(), options, ..checks(file.path(), 5) }
        };
        let at = |address| (Field::Address, address);
        let well = [at("10.0.0.1:80"), (Field::ConnectMs, "1"), (Field::Status, "200")];
        let erred = [at("10.0.0.1:80"), (Field::ConnectMs, "1"), (Field::Status, "503")];
        let unknown = [at("10.0.0.1:80"), (Field::ConnectMs, "1"), (Field::Status, "404")];
        let refused = [at("10.0.0.1:80"), (Field::Errno, "ECONNREFUSED")];
        let elsewhere = [at("10.0.0.2:80"), (Field::Errno, "ECONNREFUSED")];
        let before = check("//shop/", &[("status", "200")]);
        let (judged, sent) = (check("//shop/", &[("match", "ok")]), check("//shop/", &[("header", "Host: x")]));
        let moved = check("//shop/ping", &[]);
        for (now_told, notes, blame) in [
            (&judged, &erred[..], Blame::Theirs),
            (&judged, &refused, Blame::Theirs),
            (&sent, &refused, Blame::Theirs),
            (&sent, &erred, Blame::Ours),
            (&judged, &unknown, Blame::Ours),
            (&judged, &elsewhere, Blame::Ours),
            (&moved, &erred, Blame::Ours),
            (&moved, &refused, Blame::Ours),
        ] {
            let good = run(now, &before, &well);
            let told = weighed(now_told, notes, good, None);
            let told_of = (Some(blame), Some("what it verifies".to_owned()));
            assert_eq!(told, told_of, "{:?} {notes:?}", now_told.options);
        }
    }

    #[test]
    fn other_name_servers_matter_where_a_name_leads_elsewhere() {
        let file = tempfile::NamedTempFile::new().expect("there is room");
        let (check, now) = (checks(file.path(), 5), clock::wall() + Duration::from_secs(1));
        let good = || run(now, &check, &[(Field::Resolver, "10.0.0.1"), (Field::Resolved, "10.1.0.1")]);
        for (notes, blame) in [
            (&[(Field::Resolver, "10.0.0.2"), (Field::Errno, UNKNOWN_NAME)][..], Blame::Ours),
            (&[(Field::Resolver, "10.0.0.2"), (Field::Resolved, "10.1.0.2")], Blame::Ours),
            (&[(Field::Resolver, "10.0.0.2"), (Field::Resolved, "10.1.0.1")], Blame::Theirs),
            (&[(Field::Resolver, "10.0.0.1"), (Field::Resolved, "10.1.0.2")], Blame::Theirs),
        ] {
            assert_eq!(weighed(&check, notes, good(), None).0, Some(blame), "{notes:?}");
        }
    }
}
