//! Killers are found, whatever runs beside them.

use super::*;
use proptest::prelude::*;

const SEGV: Cause = Cause::Signal(11);

/// A check, and what the only worker in this world remembers of it.
#[derive(Clone, Debug)]
struct Subject {
    /// In milliseconds.
    takes: u64,
    kills: bool,
    case: Option<Case>,
}

impl Subject {
    fn is_quarantined(&self, now: Duration) -> bool {
        matches!(self.case.map(|case| Standing::of(case, now)), Some(Standing::Quarantined { .. }))
    }
}

/// One round of a worker, as [`super::super::Runner`] runs it. True if the worker died in it.
fn round(subjects: &mut [Subject], now: Duration) -> bool {
    let mut turn = now;
    let mut runs = Vec::new();
    for (index, subject) in subjects.iter().enumerate() {
        let takes = Duration::from_millis(subject.takes);
        match subject.case.map(|case| Standing::of(case, now)) {
            Some(Standing::Quarantined { .. }) => {}
            None => runs.push((index, None, now, now + takes)),
            Some(Standing::Suspect) => {
                runs.push((index, subject.case.map(|case| case.tried(turn)), turn, turn + takes));
                turn += takes;
            }
        }
    }
    let death = runs.iter().filter(|run| subjects[run.0].kills).map(|run| run.3).min();
    for &(index, seen, began, _) in &runs {
        if death.is_none_or(|death| began < death) {
            subjects[index].case = seen;
        }
    }
    for &(index, .., ends) in &runs {
        if !subjects[index].kills && death.is_none_or(|death| ends < death) {
            subjects[index].case = None;
        }
    }
    let Some(death) = death else { return false };
    let in_progress: Vec<_> = runs.iter().filter(|run| run.2 < death && run.3 >= death).collect();
    let seen: Vec<_> = in_progress.iter().map(|run| (run.1, run.2)).collect();
    for place in to_blame(&seen) {
        let (index, seen, ..) = *in_progress[place];
        subjects[index].case = Some(Case::after_death(seen, SEGV, death));
    }
    true
}

fn subjects() -> impl Strategy<Value = Vec<Subject>> {
    let subject = (1..100u64, proptest::bool::weighted(0.3));
    proptest::collection::vec(subject.prop_map(|(takes, kills)| Subject { takes, kills, case: None }), 1..12)
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
            prop_assert!(subject.kills || subject.case.is_none(), "a good round clears the others");
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
        prop_assert!(subjects.iter().all(|subject| subject.case.is_none()));
    }

    #[test]
    fn a_case_is_the_same_in_shared_memory(deaths in 1..=u8::MAX, detail: u8, kind in 0..4, millis in 0..1u64 << 40) {
        let cause = [Cause::Signal(detail), Cause::OutOfMemory, Cause::Hang, Cause::Exit(detail)][kind as usize];
        let case = Case { deaths, cause, not_before: Duration::from_millis(millis) };
        prop_assert_eq!(Case::from_bits(case.to_bits()), Some(case));
    }
}

#[test]
fn no_case_is_zero_in_shared_memory() {
    assert_eq!(Case::from_bits(0), None);
}

#[test]
fn tries_come_after_waits_that_double_up_to_five_minutes() {
    let mut now = Duration::from_secs(7);
    let mut case = None;
    let waits: Vec<_> = (0..300)
        .map(|_| {
            let next = Case::after_death(case, SEGV, now);
            case = Some(next);
            let left = match Standing::of(next, now) {
                Standing::Quarantined { left, .. } => left,
                Standing::Suspect => Duration::ZERO,
            };
            now += left;
            assert_eq!(Standing::of(next, now), Standing::Suspect);
            left.as_secs()
        })
        .collect();
    assert_eq!(waits[..8], [0, 0, 30, 60, 120, 240, 300, 300]);
    assert_eq!(waits[299], 300);
}

#[test]
fn while_a_quarantined_check_is_tried_nobody_else_tries_it() {
    let now = Duration::from_secs(60);
    let case = Case { deaths: STRIKES, cause: SEGV, not_before: now };
    assert_eq!(Standing::of(case, now), Standing::Suspect);
    let left = FIRST;
    assert_eq!(Standing::of(case.tried(now), now), Standing::Quarantined { deaths: STRIKES, cause: SEGV, left });
}
