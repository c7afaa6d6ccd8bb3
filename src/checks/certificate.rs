//! `certificate:/etc/ssl/x.pem#days=14`: the certificates in files are valid, now and for some days to come.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;

use super::cert::{DAY, spoken};
use super::support::options::whole;
use super::support::pem;
use super::support::thresholds::{self, Good};
use super::support::tls_noted::note_end;
use super::support::tls_roots::Life;
use super::support::wildcard::Wildcard;
use super::{Action, Kind, Opt, Options, Runs, Value};
use crate::model::check::{Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::perfdata::Perfdata;
use crate::os::{clock, filesystem};

pub(super) const KIND: Kind = Kind {
    scheme: "certificate",
    port: None,
    options: &[
        Opt::new("days", Value::Number, "For so many days each has to last").or("14"),
        Opt::new("warn_days", Value::Number, "If one does not last for so many days, it warns"),
    ],
    // A network file system whose server is down only answers when that comes back.
    runs: Runs::OnThread,
    controls: Control::FILES,
    title: "The certificates in {target} are valid",
    passes: "the certificates in files do not expire soon",
    notices: &["gone", "starved"],
    examples: &["certificate:/etc/nginx/tls/*.pem#days=30"],
    build,
};

/// How certificates are called in a folder.
const EXTENSIONS: [&str; 4] = ["pem", "crt", "cer", "cert"];

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    if !target.starts_with('/') {
        return Err("the target is not an absolute path, as in certificate:/etc/ssl/x.pem".to_owned());
    }
    let target = target.to_owned();
    let days: u32 = options.parse_or("days", "14", whole)?;
    let warn_days = options.whole("warn_days")?;
    thresholds::verify(Good::Above, "days", Some((&days, days.to_string())), warn_days.as_ref())?;
    Ok(Box::new(move |_| match collect(&target) {
        Ok(found) => {
            let now = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
            found.iter().map(|found| found.life.end).min().into_iter().for_each(note_end);
            let finding =
                Finding { perfdata: perfdata(&found, now), ..Finding::from(verdict(&target, &found, days, now)) };
            thresholds::judged(finding, || warn_days.map_or(Ok(()), |days| verdict(&target, &found, days, now)))
        }
        Err(reason) => Finding::from(Err(reason)),
    }))
}

/// A certificate, and the file that it is in.
struct Found {
    path: PathBuf,
    life: Life,
}

/// Every certificate at the target: a file, a folder of files, or a pattern of either.
fn collect(target: &str) -> Result<Vec<Found>> {
    let mut files = Vec::new();
    match Wildcard::of(target) {
        Some(wildcard) => {
            let paths = wildcard.paths().map_err(|error| cannot(target, &error))?;
            for path in paths {
                files.extend(files_at(&path)?);
            }
        }
        None => files = files_at(Path::new(target))?,
    }
    // Who names one file means that it is a certificate. Among others, there are keys.
    let is_named = files.len() == 1 && files[0] == Path::new(target);
    let mut found = Vec::new();
    for path in files {
        let lives = read(&path, is_named)?;
        found.extend(lives.into_iter().map(|life| Found { path: path.clone(), life }));
    }
    match found.is_empty() {
        true => Err(Reason::Fail(format!("expected certificates in {target}, and there are none"))),
        false => Ok(found),
    }
}

fn cannot(path: impl std::fmt::Display, error: &io::Error) -> Reason {
    Reason::Error(format!("cannot look at {path}: {error}"))
}

/// The file, or those in the folder that are called like certificates.
fn files_at(path: &Path) -> Result<Vec<PathBuf>> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            let entries = fs::read_dir(path).map_err(|error| cannot(path.display(), &error))?;
            let mut files = Vec::new();
            for entry in entries {
                let path = entry.map_err(|error| cannot(path.display(), &error))?.path();
                let extension = path.extension().and_then(|extension| extension.to_str());
                if extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
                    files.push(path);
                }
            }
            files.sort();
            Ok(files)
        }
        Ok(_) => Ok(vec![path.to_owned()]),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(Reason::Fail(format!("expected certificates in {shown}: {error}")))
        }
        Err(error) => Err(cannot(path.display(), &error)),
    }
}

fn read(path: &Path, is_named: bool) -> Result<Vec<Life>> {
    let shown = path.display();
    let fail = |why: String| Reason::Fail(format!("expected a certificate in {shown}, {why}"));
    let bytes = match filesystem::read_bytes(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(fail(format!("got {error}"))),
        bytes => bytes.map_err(|error| cannot(path.display(), &error))?,
    };
    const PEM: &[u8] = b"-----BEGIN ";
    if memchr::memmem::find(&bytes, PEM).is_none() {
        // The same in binary.
        let life = Life::of(&CertificateDer::from(bytes));
        return life.map(|life| vec![life]).ok_or_else(|| fail("and it cannot be read as one".to_owned()));
    }
    let mut lives = Vec::new();
    let certificates = pem::certificates(&bytes).map_err(|error| fail(format!("and it is not PEM: {error}")))?;
    for (number, certificate) in certificates.into_iter().enumerate() {
        let life = Life::of(&certificate);
        lives.push(life.ok_or_else(|| fail(format!("and number {} in it cannot be read as one", number + 1)))?);
    }
    if lives.is_empty() && is_named {
        return Err(fail("and there is none".to_owned()));
    }
    Ok(lives)
}

fn left(found: &Found, now: Duration) -> Duration {
    found.life.end.saturating_sub(now)
}

fn perfdata(found: &[Found], now: Duration) -> Vec<Perfdata> {
    let least = found.iter().map(|found| left(found, now)).min().unwrap_or_default();
    vec![
        Perfdata::new("days_left", (least.as_secs_f64() / DAY.as_secs_f64()).floor(), ""),
        Perfdata::new("certificates", found.len() as f64, ""),
    ]
}

fn verdict(target: &str, found: &[Found], days: u32, now: Duration) -> Result {
    const SHOWN: usize = 5;
    let at = |time: Duration| humantime::format_rfc3339_seconds(UNIX_EPOCH + time);
    let wrong = |Found { path, life }: &Found| {
        let Life { begin, end, subject } = life;
        let why = match () {
            () if *begin > now => format!("begins at {}", at(*begin)),
            () if *end < now => format!("ended at {}", at(*end)),
            () if *end - now < DAY * days => format!("ends in {}, at {}", spoken(*end - now), at(*end)),
            () => return None,
        };
        Some(format!("{subject} in {} {why}", path.display()))
    };
    let mut all: Vec<&Found> = found.iter().collect();
    all.sort_by_key(|found| found.life.end);
    let all: Vec<_> = all.into_iter().filter_map(wrong).collect();
    if all.is_empty() {
        return Ok(());
    }
    let more = all.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let shown = all.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    Err(Reason::Fail(format!("expected the certificates in {target} to last for {days} more days: {shown}{more}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::support::testing::tls::Authority;
    use crate::model::check::{Deadline, Status};
    use std::time::Instant;

    fn found(target: &Path, pairs: &[(&str, &str)]) -> Finding {
        let action = build(&target.display().to_string(), &mut Options::of(pairs)).expect("it is well formed");
        action(Deadline::at(Instant::now()))
    }

    fn says(finding: &Finding, status: Status, text: &str) {
        let context = finding.context.as_deref().unwrap_or_default();
        assert!(finding.status == status && context.contains(text), "{text:?} should be in {finding:?}");
    }

    #[test]
    fn each_certificate_of_a_file_a_folder_and_a_pattern_counts() {
        let folder = tempfile::tempdir().expect("there is room");
        let put = |name: &str, from, until| {
            fs::copy(Authority::valid(from, until).path(), folder.path().join(name)).expect("both are ours");
        };
        put("good.pem", -1, 100);
        put("soon.crt", -1, 10);
        let file = |name: &str| folder.path().join(name);
        let good = found(&file("good.pem"), &[]);
        assert_eq!((good.status, good.perfdata[0].value), (Status::Pass, 100.0));
        says(&found(&file("soon.crt"), &[]), Status::Fail, "to last for 14 more days: CN=Test authority in /");
        says(&found(&file("soon.crt"), &[]), Status::Fail, "/soon.crt ends in 10 days, at 20");
        let warned = found(folder.path(), &[("days", "9"), ("warn_days", "20")]);
        says(&warned, Status::Warn, "to last for 20 more days: CN=Test authority in /");
        let all = found(folder.path(), &[("days", "9"), ("warn_days", "10")]);
        assert_eq!((all.status, all.perfdata[0].value, all.perfdata[1].value), (Status::Pass, 10.0, 2.0));
        assert_eq!(found(&file("g*"), &[]).status, Status::Pass);
        says(&found(&file("*"), &[]), Status::Fail, "/soon.crt ends in 10 days");
        put("old.pem", -9, -1);
        put("new.pem", 1, 100);
        says(&found(folder.path(), &[("days", "0")]), Status::Fail, "/old.pem ended at 20");
        says(&found(folder.path(), &[("days", "0")]), Status::Fail, "/new.pem begins at 20");
    }

    #[test]
    fn where_there_is_no_certificate_nothing_passes() {
        let folder = tempfile::tempdir().expect("there is room");
        says(&found(folder.path(), &[]), Status::Fail, "and there are none");
        says(&found(&folder.path().join("*.pem"), &[]), Status::Fail, "and there are none");
        let path = folder.path().join("x.pem");
        says(&found(&path, &[]), Status::Fail, "No such file");
        for (text, why) in [
            ("", "and it cannot be read as one"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "and there is none"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "and number 1 in it cannot be read as one",
            ),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", "and it is not PEM"),
        ] {
            fs::write(&path, text).expect("it is ours");
            says(&found(&path, &[]), Status::Fail, why);
        }
        fs::remove_file(&path).and_then(|()| std::os::unix::fs::symlink("/no/where", &path)).expect("it is ours");
        says(&found(folder.path(), &[]), Status::Fail, "No such file");
    }

    #[test]
    fn a_key_beside_its_certificate_is_passed_over_and_a_certificate_may_be_binary() {
        let folder = tempfile::tempdir().expect("there is room");
        let authority = Authority::new();
        fs::copy(authority.path(), folder.path().join("fullchain.pem")).expect("both are ours");
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        fs::write(folder.path().join("privkey.pem"), key).expect("it is ours");
        fs::write(folder.path().join("binary.cer"), authority.own()).expect("it is ours");
        let all = found(folder.path(), &[]);
        assert_eq!((all.status, all.perfdata[1].value), (Status::Pass, 2.0));
    }

    #[test]
    fn wrong_options_are_refused() {
        assert!(build("x.pem", &mut Options::of(&[])).is_err());
        let error = build("/x.pem", &mut Options::of(&[("days", "-1")])).err();
        assert_eq!(error.as_deref(), Some("option days: write a whole number"));
        let error = build("/x.pem", &mut Options::of(&[("warn_days", "14")])).err().unwrap_or_default();
        assert!(error.starts_with("option warn_days: it has to be more than days=14"), "{error}");
    }
}
