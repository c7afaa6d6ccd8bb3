//! Whatever a worker writes into shared memory, nobody who reads it is harmed.

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use proptest::prelude::*;

use super::evidence::{EvidenceTable, Look};
use super::in_flight::InFlightTable;
use super::kept::{self, Kept, KeptFile};
use super::scoreboard::{SLOTS, Scoreboard};
use super::snapshot::{CAPACITY, Snapshot};
use super::table::key;
use crate::endpoint::counters::WorkerState;
use crate::endpoint::metrics::{self, Figures};
use crate::model::check::{Check, Finding, Status};
use crate::model::episode::RecordedRun;
use crate::model::perfdata::Perfdata;
use crate::model::report::{Outcome, Report};
use crate::model::suite::Suite;
use crate::model::transcript::Transcript;
use crate::model::why::Why;
use crate::os::{clock, shared};
use crate::render::exposition::Syntax;
use crate::render::html::{self, Evidence};
use crate::round::isolation::DeathCause;
use crate::round::run_observer::RunObserver;

const IDS: [&str; 3] = ["db", "mail", "disk:/"];
const SECOND: Duration = Duration::from_secs(1);

/// Words that are likely to be taken for something, or none, and any others.
fn scribbler(seed: u64, kept: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed | 1;
    move |before| {
        // xorshift64: millions of words are needed.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let random = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
        match random >> 60 {
            dice if dice < kept => before,
            0..8 => random,
            8..10 => random % 16,
            10 => random % CAPACITY as u64,
            11 => u64::MAX - random % 2,
            12 => key(IDS[random as usize % IDS.len()]),
            13 => u64::from_ne_bytes(*b"\n\x1b[2J\xff\xff\0"),
            _ => 0,
        }
    }
}

fn report() -> Report {
    let outcome = |(id, status): (&str, Status)| {
        let finding = Finding { status, perfdata: vec![Perfdata::new("load1", 0.31, "")], ..Finding::PASS };
        Outcome::of(Arc::new(Check::new(id, |_| Finding::PASS)), finding, SECOND, SECOND)
    };
    Report::of_outcomes(IDS.into_iter().zip([Status::Pass, Status::Fail, Status::Error]).map(outcome).collect())
}

fn read_scoreboard(board: Scoreboard, now: Instant) {
    for slot in 0..SLOTS {
        let _ = (board.is_ready(slot, 7), board.is_another_free(slot), board.awake_for(slot, now));
    }
    let _ = (board.is_leaving(), board.note_maintenance(true), board.note_maintenance(false));
    let counters = board.counters();
    assert!(counters.workers.iter().sum::<u64>() <= SLOTS as u64);
    let (report, year_9999) = (report(), UNIX_EPOCH + Duration::from_secs(253_402_300_799));
    for outcome in &report.outcomes {
        let last = board.last(&outcome.check.id);
        assert!(last.is_none_or(|last| last.figures.len() < 1000 && last.at >= UNIX_EPOCH && last.at <= year_9999));
    }
    let suite: Suite = report.outcomes.iter().map(|outcome| outcome.check.clone()).collect();
    let _ = board.note(&report, &suite, clock::wall());
    let ran = vec![clock::wall(); report.outcomes.len()];
    let figures = Figures {
        outcomes: report.outcomes,
        ran,
        flips: Vec::new(),
        since: Vec::new(),
        uptime: Vec::new(),
        is_maintained: false,
        counters,
    };
    metrics::write(&figures, Syntax::Text, &mut Vec::new());
}

fn read_in_flight(table: InFlightTable, now: Instant) {
    let report = report();
    for slot in 0..SLOTS {
        let in_flight = table.in_flight(slot);
        let text = in_flight.to_string();
        assert!(text.len() < 1000 && !text.contains(char::is_control), "{text:?}");
        assert!(table.blame(&in_flight, DeathCause::Hang, now).len() < 1000);
        let observer = table.observer(slot);
        for Outcome { check, .. } in &report.outcomes {
            let _ = observer.permission(check, now);
            observer.begins(check, now);
            observer.ends(check);
        }
    }
    table.pardon_all();
}

fn read_snapshot(snapshot: &Snapshot, now: Instant) {
    assert!(snapshot.read().is_none_or(|bytes| bytes.len() <= CAPACITY));
    let _ = (snapshot.seal(), snapshot.leased_until());
    snapshot.bury(7);
    if let Some(lease) = snapshot.take_lease(7, now, now + SECOND) {
        assert!(snapshot.write(lease, b"contents").is_some());
        assert_eq!(snapshot.read().as_deref(), Some(&b"contents"[..]));
    }
}

fn read_kept(kept: Kept) {
    for id in IDS {
        let check = Check::new(id, |_| Finding::PASS);
        let (table, key) = (kept.schedules(), Kept::key(&check));
        let _ = (kept.start(id), table.has_record(key));
        if let Some(lease) = table.plan(key, || SECOND).and_then(|_| table.take(key, 7, SECOND, SECOND * 2)) {
            assert!(table.leave(&lease, SECOND, &mut Noted { what: 1 }, |_| false));
            assert_eq!(table.record::<Noted>(key).map(|noted| noted.what), Some(1));
            table.give_back(lease);
        }
        kept.end_start(id);
    }
    let at = UNIX_EPOCH + SECOND * 1_790_000_000;
    for id in IDS {
        let (table, key) = (kept.evidence(), EvidenceTable::key(id));
        let record = table.record(key).unwrap_or_default();
        let why = Why::of((id, id), record.clone(), &[], kept.events().all(), at);
        crate::render::why::text(&why, &mut Vec::new());
        crate::render::why::history_json(id, id, &record, at, &mut Vec::new());
        html::evidence(&Evidence { why: &why, record: &record, prefix: "" }, &mut Vec::new());
        let run = || RecordedRun::new(at, Status::Fail, None, SECOND, 1, Transcript::default());
        let look = Look { at, status: Status::Fail, now: at, stands: SECOND * 300 };
        let _ = (table.note(key, look, run), table.claim_saving(key, at, SECOND));
    }
    kept.events().note(at, "something");
    kept.schedules().bury(7);
    kept.schedules().retain(|key| key % 2 == 0);
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Noted {
    what: u64,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_a_compromised_worker_writes_harms_no_reader(seed: u64, kept in 0..16_u64) {
        let now = Instant::now();
        let board = Scoreboard::new(now).expect("memory can be mapped");
        let table = InFlightTable::new(now).expect("memory can be mapped");
        let snapshot = Snapshot::new(now).expect("memory can be mapped");
        let memory = KeptFile::new(None).expect("memory can be mapped").kept;
        board.set_worker_state(0, Some(WorkerState::Idle));
        read_scoreboard(board, now);
        read_in_flight(table, now);
        read_kept(memory);
        let mut scribble = scribbler(seed, kept);
        shared::scribble(board.board, &mut scribble);
        shared::scribble(table.memory, &mut scribble);
        shared::scribble(snapshot.memory, &mut scribble);
        kept::scribble(memory, &mut scribble);
        read_scoreboard(board, now + SECOND);
        read_in_flight(table, now + SECOND);
        read_snapshot(&snapshot, now + SECOND);
        read_kept(memory);
    }
}
