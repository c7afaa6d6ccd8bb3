//! Killers are found, whatever runs beside them.

use super::*;
use proptest::prelude::*;

const SEGV: DeathCause = DeathCause::Signal(11);

/// A check, and what the only worker in this world remembers of it.
#[derive(Clone, Debug)]
struct Subject {
    /// In milliseconds.
    takes: u64,
    kills: bool,
    record: Option<CrashRecord>,
}

impl Subject {
    fn permission(&self, now: Duration) -> Permission {
        self.record.map_or(Permission::Run, |record| record.permission(now))
    }

    fn is_quarantined(&self, now: Duration) -> bool {
        matches!(self.permission(now), Permission::Quarantined(_))
    }
}

/// One round of a worker, as [`super::super::Runner`] runs it. True if the worker died in it.
fn round(subjects: &mut [Subject], now: Duration) -> bool {
    let mut turn = now;
    let mut runs = Vec::new();
    for (index, subject) in subjects.iter().enumerate() {
        let takes = Duration::from_millis(subject.takes);
        match subject.permission(now) {
            Permission::Quarantined(_) => {}
            Permission::Run => runs.push((index, None, now, now + takes)),
            Permission::RunAlone => {
                runs.push((index, subject.record.and_then(|record| record.when_tried(turn)), turn, turn + takes));
                turn += takes;
            }
        }
    }
    let death = runs.iter().filter(|run| subjects[run.0].kills).map(|run| run.3).min();
    for &(index, seen, began, _) in &runs {
        if death.is_none_or(|death| began < death) {
            subjects[index].record = seen;
        }
    }
    for &(index, .., ends) in &runs {
        if !subjects[index].kills && death.is_none_or(|death| ends < death) {
            subjects[index].record = None;
        }
    }
    let Some(death) = death else { return false };
    let in_flight: Vec<_> = runs.iter().filter(|run| run.2 < death && run.3 >= death).collect();
    let seen: Vec<_> = in_flight.iter().map(|run| (run.1, run.2)).collect();
    for place in to_blame(&seen) {
        let (index, seen, ..) = *in_flight[place];
        subjects[index].record = Some(CrashRecord::after_death(seen, SEGV, death));
    }
    true
}

fn subjects() -> impl Strategy<Value = Vec<Subject>> {
    let subject = (1..100u64, proptest::bool::weighted(0.3));
    proptest::collection::vec(subject.prop_map(|(takes, kills)| Subject { takes, kills, record: None }), 1..12)
}

proptest! {
    #[test]
    fn killers_are_quarantined_after_few_deaths_and_innocents_never(mut subjects in subjects()) {
        let killers = subjects.iter().filter(|subject| subject.kills).count();
        let mut now = Duration::from_secs(1);
        let mut deaths = 0;
        while round(&mut subjects, now) {
            deaths += 1;
            now += Duration::from_millis(1000);
            for subject in &subjects {
                prop_assert!(subject.kills || !subject.is_quarantined(now), "{:?}", subjects);
            }
            // One death shared by all, and for each killer one less than it takes.
            prop_assert!(deaths <= 1 + killers * usize::from(STRIKES - 1), "{} deaths: {:?}", deaths, subjects);
        }
        for subject in &subjects {
            prop_assert_eq!(subject.kills, subject.is_quarantined(now));
            prop_assert!(subject.kills || subject.record.is_none(), "a good round clears the others");
        }
    }

    #[test]
    fn a_killer_that_is_mended_is_free_after_its_next_try(mut subjects in subjects()) {
        let mut now = Duration::from_secs(1);
        while round(&mut subjects, now) {
            now += Duration::from_millis(1000);
        }
        subjects.iter_mut().for_each(|subject| subject.kills = false);
        prop_assert!(!round(&mut subjects, now + LONGEST));
        prop_assert!(subjects.iter().all(|subject| subject.record.is_none()));
    }
}

#[test]
fn tries_come_after_waits_that_double_up_to_five_minutes() {
    let mut now = Duration::from_secs(7);
    let mut record = None;
    let waits: Vec<_> = (0..300)
        .map(|_| {
            let next = CrashRecord::after_death(record, SEGV, now);
            record = Some(next);
            let left = match next.permission(now) {
                Permission::Quarantined(quarantine) => quarantine.left,
                Permission::Run | Permission::RunAlone => Duration::ZERO,
            };
            now += left;
            assert_eq!(next.permission(now), Permission::RunAlone);
            left.as_secs()
        })
        .collect();
    assert_eq!(waits[..8], [0, 0, 30, 60, 120, 240, 300, 300]);
    assert_eq!(waits[299], 300);
}

#[test]
fn while_a_quarantined_check_is_tried_nobody_else_tries_it() {
    let now = Duration::from_secs(60);
    let record = CrashRecord { deaths: STRIKES, cause: SEGV, not_before: now };
    assert_eq!(record.permission(now), Permission::RunAlone);
    let tried = record.when_tried(now).expect("it may be tried");
    let quarantine = Quarantine { deaths: STRIKES, cause: SEGV, left: FIRST };
    assert_eq!(tried.permission(now), Permission::Quarantined(quarantine));
    assert_eq!(tried.when_tried(now), None);
}
