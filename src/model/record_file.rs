//! What is remembered of a check, as the bytes of a file: a line, and its hash in another. Pure.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::episode::{COARSE, CheckRecord, FINE, Grain, Happening, MOST_CHANGES, RecordedRun, Seen};
use super::transcript::LIMIT;

/// Changes with the meaning of what is written.
const VERSION: u32 = 1;

/// How many happenings there can be: what has more is not ours.
const MOST: usize = 4096;

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    /// Of which check it is.
    id: String,
    content: T,
}

/// The bytes of a record of the check with this id.
pub fn encode(id: &str, record: &CheckRecord) -> Vec<u8> {
    sealed(id, record)
}

/// The record in the bytes of a file, for the check with this id.
///
/// # Errors
///
/// Why it is not believed, to be said after the name of the file.
pub fn decode(bytes: &[u8], id: Option<&str>) -> Result<(String, CheckRecord), &'static str> {
    let (its, record): (_, CheckRecord) = opened(bytes)?;
    if id.is_some_and(|id| id != its) {
        return Err("is of another check");
    }
    let is_sane = |seen: &[Seen], grain: Grain| {
        let fits = |seen: &Seen| [seen.good, seen.bad, seen.undecided].iter().all(|parts| *parts <= grain.parts());
        seen.len() <= grain.most && seen.iter().all(fits)
    };
    let runs = [&record.good, &record.good_before, &record.first_bad, &record.last_bad];
    let is_short = |run: &RecordedRun| run.transcript.encode().len() <= LIMIT;
    let are_few = record.changes.len() <= MOST_CHANGES && runs.into_iter().flatten().all(is_short);
    match are_few && is_sane(&record.fine, FINE) && is_sane(&record.coarse, COARSE) {
        true => Ok((its, record)),
        false => Err(DAMAGED),
    }
}

/// The bytes of what has happened to a service.
pub(crate) fn encode_happenings(all: &[Happening]) -> Vec<u8> {
    sealed("", &all)
}

/// What has happened to a service, from the bytes of a file.
///
/// # Errors
///
/// Why it is not believed.
pub(crate) fn decode_happenings(bytes: &[u8]) -> Result<Vec<Happening>, &'static str> {
    let (_, all): (_, Vec<Happening>) = opened(bytes)?;
    if all.len() <= MOST { Ok(all) } else { Err(DAMAGED) }
}

const DAMAGED: &str = "is damaged";

fn sealed<T: Serialize>(id: &str, content: &T) -> Vec<u8> {
    let content = Versioned { version: VERSION, id: id.to_owned(), content };
    seal(&serde_json::to_string(&content).expect("it is plain"))
}

/// A line and its hash.
pub fn seal(line: &str) -> Vec<u8> {
    format!("{line}\n{}\n", hashed(line)).into_bytes()
}

fn opened<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<(String, T), &'static str> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let text = str::from_utf8(bytes).map_err(|_| DAMAGED)?;
    let (line, hash) = text.strip_suffix('\n').and_then(|text| text.split_once('\n')).ok_or(DAMAGED)?;
    if hash != hashed(line) {
        return Err(DAMAGED);
    }
    match serde_json::from_str(line) {
        Ok(Version { version: ..=VERSION }) => {}
        Ok(_) => return Err("is from a newer version of hospital"),
        Err(_) => return Err(DAMAGED),
    }
    let Versioned { id, content, .. } = serde_json::from_str(line).map_err(|_| DAMAGED)?;
    Ok((id, content))
}

fn hashed(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Status;
    use crate::model::episode::StateChange;
    use crate::model::transcript::{Field, Transcript};
    use proptest::prelude::*;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_790_000_000_123 + second * 1000)
    }

    pub(crate) fn record() -> CheckRecord {
        let run = |second, status| {
            let mut transcript = Transcript::default();
            transcript.add(Field::Address, "::1");
            RecordedRun::new(at(second), status, Some("refused\n\"x\""), Duration::from_millis(3), 2, transcript)
        };
        let change = |second, status| StateChange { at: at(second), status, unwatched: Duration::from_secs(second) };
        CheckRecord {
            good: Some(run(0, Status::Pass)),
            good_before: None,
            first_bad: Some(run(1, Status::Fail)),
            last_bad: Some(run(9, Status::Error)),
            bad_runs: 7,
            good_at: Some(at(0)),
            last: Some(change(9, Status::Error)),
            changes: vec![change(0, Status::Pass), change(1, Status::Fail)],
            fine: FINE.divided(at(0), at(900), Status::Fail).collect(),
            coarse: COARSE.divided(at(0), at(9000), Status::Pass).collect(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for record in [record(), CheckRecord::default()] {
            let bytes = encode("db:/é", &record);
            assert_eq!(decode(&bytes, Some("db:/é")), Ok(("db:/é".to_owned(), record)));
            assert_eq!(decode(&bytes, Some("other")), Err("is of another check"));
        }
        let all = [Happening { at: at(0), what: "reloaded".to_owned() }];
        assert_eq!(decode_happenings(&encode_happenings(&all)).as_deref(), Ok(&all[..]));
    }

    #[test]
    fn what_is_cut_off_anywhere_is_no_record() {
        let bytes = encode("db", &record());
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length], None), Err(DAMAGED), "{length}");
        }
    }

    #[test]
    fn what_a_newer_version_has_written_is_told_apart() {
        let line = r#"{"version":2,"runs":[]}"#;
        let bytes = format!("{line}\n{}\n", hashed(line));
        assert_eq!(decode(bytes.as_bytes(), None), Err("is from a newer version of hospital"));
    }

    proptest! {
        #[test]
        fn one_wrong_byte_is_noticed(byte: u8, place: proptest::sample::Index) {
            let mut bytes = encode("db", &record());
            let there = &mut bytes[place.index(encode("db", &record()).len())];
            prop_assume!(*there != byte);
            *there = byte;
            prop_assert_eq!(decode(&bytes, None), Err(DAMAGED));
        }

        #[test]
        fn whatever_has_the_right_hash_harms_nobody(line in "[ -~]{0,200}") {
            let _ = decode(format!("{line}\n{}\n", hashed(&line)).as_bytes(), None);
        }
    }
}
