//! What is remembered of a check, as the bytes of a file: a line, and its hash in another. Pure.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::clocks::{self, Clocks};
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
    /// When it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    saved: Option<Clocks>,
    content: T,
}

/// The bytes of a record of the check with this id.
pub fn encode(id: &str, record: &CheckRecord) -> Vec<u8> {
    sealed(id, None, record)
}

/// The same, with when it is written.
pub(crate) fn encode_at(id: &str, now: Clocks, record: &CheckRecord) -> Vec<u8> {
    sealed(id, Some(now), record)
}

/// The record in the bytes of a file, for the check with this id.
///
/// # Errors
///
/// Why it is not believed, to be said after the name of the file.
pub fn decode(bytes: &[u8], id: Option<&str>) -> Result<(String, CheckRecord), &'static str> {
    decode_whole(bytes, id).map(|(its, _, record)| (its, record))
}

/// The same, with its times as they are by the present wall clock, if that was set since: none of them is yet to come.
pub(crate) fn decode_at(bytes: &[u8], id: Option<&str>, now: &Clocks) -> Result<(String, CheckRecord), &'static str> {
    let (its, saved, record) = decode_whole(bytes, id)?;
    let record = record.moved(saved.map_or(0, |saved| now.moved_since(&saved)));
    let to_come = record.end().and_then(|end| end.duration_since(now.at).ok()).unwrap_or_default();
    Ok((its, record.moved(-clocks::told(to_come.as_millis() as i64))))
}

fn decode_whole(bytes: &[u8], id: Option<&str>) -> Result<(String, Option<Clocks>, CheckRecord), &'static str> {
    let (its, saved, record): (_, _, CheckRecord) = opened(bytes)?;
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
        true => Ok((its, saved, record)),
        false => Err(DAMAGED),
    }
}

/// The bytes of what has happened to a service.
pub(crate) fn encode_happenings(all: &[Happening], now: Clocks) -> Vec<u8> {
    sealed("", Some(now), &all)
}

/// What has happened to a service, from the bytes of a file.
///
/// # Errors
///
/// Why it is not believed.
pub(crate) fn decode_happenings(bytes: &[u8], now: &Clocks) -> Result<Vec<Happening>, &'static str> {
    let (_, saved, all): (_, Option<Clocks>, Vec<Happening>) = opened(bytes)?;
    let by = saved.map_or(0, |saved| now.moved_since(&saved));
    if all.len() <= MOST { Ok(all.into_iter().map(|it| it.moved(by)).collect()) } else { Err(DAMAGED) }
}

const DAMAGED: &str = "is damaged";

fn sealed<T: Serialize>(id: &str, saved: Option<Clocks>, content: &T) -> Vec<u8> {
    let content = Versioned { version: VERSION, id: id.to_owned(), saved, content };
    seal(&serde_json::to_string(&content).expect("it is plain"))
}

/// A line and its hash.
pub fn seal(line: &str) -> Vec<u8> {
    format!("{line}\n{}\n", hashed(line)).into_bytes()
}

fn opened<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<(String, Option<Clocks>, T), &'static str> {
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
    let Versioned { id, saved, content, .. } = serde_json::from_str(line).map_err(|_| DAMAGED)?;
    Ok((id, saved, content))
}

fn hashed(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Status;
    use crate::model::episode::{StateChange, Unwatched};
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
            unwatched: Some(Unwatched { from: at(0), to: at(9) }),
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
        let now = Clocks { at: at(5), boot: String::new(), up: Duration::ZERO };
        assert_eq!(decode_happenings(&encode_happenings(&all, now.clone()), &now).as_deref(), Ok(&all[..]));
    }

    #[test]
    fn what_was_written_before_the_clock_was_set_keeps_its_order_and_lies_in_the_past() {
        let clocks =
            |second: u64, boot: &str, up| Clocks { at: at(second), boot: boot.to_owned(), up: Duration::from_secs(up) };
        let bytes = encode_at("db", clocks(20, "a", 100), &record());
        let read = |now: Clocks| decode_at(&bytes, None, &now).expect("it is sound").1;
        let ends = |record: &CheckRecord| record.end();
        assert_eq!(read(clocks(30, "a", 110)), record(), "nobody has set it");
        assert_eq!(ends(&read(clocks(90_030, "a", 110))), Some(at(90_009)), "it was set ahead");
        assert_eq!(
            ends(&read(clocks(5, "b", 1))),
            Some(at(0) - Duration::from_secs(6)),
            "it was set back over a reboot"
        );
        let back = read(Clocks { at: at(0) - Duration::from_secs(86_400), ..clocks(0, "a", 101) });
        assert_eq!(back.end(), Some(at(0) - Duration::from_secs(86_400 + 12)));
        assert_eq!(back.history().iter().map(|change| change.status).collect::<Vec<_>>(), {
            record().history().iter().map(|change| change.status).collect::<Vec<_>>()
        });
        let unstamped = decode_at(&encode("db", &record()), None, &clocks(3, "a", 1)).expect("it is sound").1;
        assert_eq!(unstamped.end(), Some(at(3)), "by another version");
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
