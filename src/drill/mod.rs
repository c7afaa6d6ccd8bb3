//! Drills checks: runs each once as it is, and again and again under sabotage, to see whether it can fail.
//!
//! | file | |
//! |---|---|
//! | `run` | one run in a process of its own, followed by another |
//! | `learner`, `seen` | what a good run looks at |
//! | `tasks` | which tasks of it belong to the check |
//! | `plan` | which sabotages apply to that, and the verdict |
//! | `model::sabotage` | what each of them does, and its cure |
//! | `saboteur`, `impostor` | break the files and the network of one run |
//! | `substitute` | what stands in place of files and folders |
//! | `writing` | what would change something elsewhere |
//! | `report` | the verdicts as text |

mod impostor;
mod learner;
pub(crate) mod plan;
pub(crate) mod report;
mod run;
mod saboteur;
mod seen;
mod substitute;
mod tasks;
mod writing;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::checks::BUILTINS;
use crate::model::check::{Check, Status};
use crate::model::sabotage::{Sabotage, Stranger};
use crate::os::descriptors;
use plan::{Promise, RunEnd, Trial, Verdict};
pub(crate) use run::Prepare;
use run::{Came, Order, Running};
use seen::Trace;

/// How often one check is run once more, because this host was too busy for that.
const MOST_BUSY: usize = 5;

/// What a drill found out about one check.
#[derive(Clone, Debug)]
pub(crate) struct Drilled {
    pub(crate) check: Arc<Check>,
    pub(crate) verdict: Verdict,
    /// The words of the sabotages that it noticed, and of those that it should have noticed and did not.
    pub(crate) noticed: Vec<&'static str>,
    pub(crate) fooled_by: Vec<Sabotage>,
    /// The words of those that it passed, and need not have noticed.
    pub(crate) unclaimed: Vec<&'static str>,
    /// What fooled it and its configuration accepts.
    pub(crate) allowed: Vec<&'static str>,
    pub(crate) trials: Vec<Trial>,
    /// How long all its runs took together.
    pub(crate) elapsed: Duration,
}

/// How checks are drilled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DrillOptions {
    /// How many runs there are at once.
    pub(crate) jobs: usize,
    /// Whether checks are drilled that change something elsewhere.
    pub(crate) even_writing: bool,
}

/// A run that is under way, for who watches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched<'a> {
    pub(crate) check: &'a Check,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) since: Instant,
}

/// Who watches a drill.
pub(crate) trait Watcher {
    /// A check is done.
    fn drilled(&mut self, drilled: &Drilled);
    /// These runs are under way.
    fn still(&mut self, runs: &mut dyn Iterator<Item = Watched<'_>>, now: Instant);
    /// How soon there is something new to show.
    fn refresh(&self) -> Duration;
}

/// How far the drill is with one check.
struct Course {
    check: Arc<Check>,
    stage: Stage,
    /// How often this host was too busy to run it.
    busy: usize,
    elapsed: Duration,
}

enum Stage {
    /// Its good run is to come, or under way; `again`: the first was not good.
    Good {
        again: bool,
    },
    /// These sabotages are under way or done.
    Sabotaged {
        good: Status,
        seen: Arc<Trace>,
        expected: usize,
        trials: Vec<Trial>,
    },
    Over(Drilled),
}

/// Drills checks. There must be no other thread in this process.
///
/// # Errors
///
/// When not even a process can be started.
pub(crate) fn drill(
    checks: &[Arc<Check>],
    options: DrillOptions,
    prepare: Prepare<'_>,
    watcher: &mut dyn Watcher,
) -> io::Result<Vec<Drilled>> {
    let unconfined = run::probe()?;
    let course = |check: &Arc<Check>| Course {
        check: check.clone(),
        stage: Stage::Good { again: false },
        busy: 0,
        elapsed: Duration::ZERO,
    };
    let mut drill = Drill { courses: checks.iter().map(course).collect(), todo: VecDeque::new(), options };
    for index in 0..checks.len() {
        match &unconfined {
            Some(why) => drill.end(index, Verdict::NotDrilled(why.clone()), watcher),
            None => drill.todo.push_back((index, None)),
        }
    }
    let mut running: Vec<(usize, Option<Sabotage>, Running)> = Vec::new();
    loop {
        while running.len() < options.jobs
            && let Some((index, sabotage)) = drill.todo.pop_front()
        {
            let run = Running::start(&drill.order(index, sabotage), prepare)?;
            running.push((index, sabotage, run));
        }
        if running.is_empty() {
            break;
        }
        let now = Instant::now();
        let watched = |(index, sabotage, run): &(usize, Option<Sabotage>, Running)| (*index, *sabotage, run.since);
        let shown: Vec<_> = running.iter().map(watched).collect();
        let show = |&(index, sabotage, since): &(usize, Option<Sabotage>, Instant)| Watched {
            check: &checks[index],
            sabotage,
            since,
        };
        watcher.still(&mut shown.iter().map(show), now);
        let fds: Vec<_> = running.iter().map(|(_, _, run)| run.fd()).collect();
        let until = running.iter().map(|(_, _, run)| run.deadline()).min();
        let until = until.map(|until| until.min(now + watcher.refresh().min(Duration::from_secs(3600))));
        descriptors::wait_readable(&fds, until)?;
        let now = Instant::now();
        let mut place = 0;
        while place < running.len() {
            match running[place].2.take(now) {
                None => place += 1,
                Some(came) => {
                    let (index, sabotage, run) = running.swap_remove(place);
                    drill.courses[index].elapsed += now.duration_since(run.since);
                    drill.ended(index, sabotage, came, watcher);
                }
            }
        }
    }
    let drilled = |course: Course| match course.stage {
        Stage::Over(drilled) => Some(drilled),
        Stage::Good { .. } | Stage::Sabotaged { .. } => None,
    };
    Ok(drill.courses.into_iter().filter_map(drilled).collect())
}

struct Drill {
    courses: Vec<Course>,
    /// The runs to come: the good run of a check, or one under sabotage.
    todo: VecDeque<(usize, Option<Sabotage>)>,
    options: DrillOptions,
}

impl Drill {
    fn order(&self, index: usize, sabotage: Option<Sabotage>) -> Order {
        let Course { check, stage, .. } = &self.courses[index];
        let sabotage = match stage {
            Stage::Sabotaged { seen, .. } => sabotage.map(|sabotage| (sabotage, seen.clone())),
            Stage::Good { .. } | Stage::Over(_) => None,
        };
        Order { check: check.clone(), sabotage }
    }

    fn ended(&mut self, index: usize, sabotage: Option<Sabotage>, came: Came, watcher: &mut dyn Watcher) {
        let check = self.courses[index].check.clone();
        if let (Some(why), Stage::Sabotaged { .. }) = (&came.busy, &self.courses[index].stage) {
            self.courses[index].busy += 1;
            return match self.courses[index].busy > MOST_BUSY {
                true => self.end(index, Verdict::NotDrilled(why.clone()), watcher),
                false => self.todo.push_back((index, sabotage)),
            };
        }
        match (&mut self.courses[index].stage, sabotage) {
            (Stage::Good { again }, None) => {
                let again = *again;
                self.judge_good(index, &check, again, came, watcher);
            }
            (Stage::Sabotaged { good, seen, expected, trials }, Some(sabotage)) => {
                if let Some(problem) = came.problem {
                    return self.end(index, Verdict::NotDrilled(problem), watcher);
                }
                if came.asked_again && !seen.talks() {
                    // So it looks at a peer after all, when it has forgotten the answer.
                    *expected += 1;
                    self.todo.push_back((index, Some(Sabotage::Refused)));
                }
                match came.is_untried {
                    true => *expected -= 1,
                    false => trials.push(Trial::new(sabotage, came.end(), *good, came.failures > seen.failures)),
                }
                if trials.len() == *expected {
                    trials.sort_by_key(|trial| trial.sabotage);
                    let promise = Promise::of(&check, *good);
                    let fooled = plan::fooled_by(trials, seen, promise);
                    let allowed: Vec<_> = check.drill_allow.iter().map(|(word, _)| *word).collect();
                    let verdict = plan::verdict(trials, &fooled, seen, &allowed);
                    self.end(index, verdict, watcher);
                }
            }
            // The check was given up meanwhile.
            (Stage::Over(_) | Stage::Good { .. } | Stage::Sabotaged { .. }, _) => {}
        }
    }

    fn judge_good(&mut self, index: usize, check: &Arc<Check>, again: bool, came: Came, watcher: &mut dyn Watcher) {
        if let Some(problem) = came.problem {
            return self.end(index, Verdict::NotDrilled(problem), watcher);
        }
        let end = came.end();
        let seen = came.seen.unwrap_or_default();
        let good = match &end {
            RunEnd::Found { status, .. } => *status,
            RunEnd::Lost(_) | RunEnd::Trusted => Status::Pass,
        };
        let verdict = match end {
            RunEnd::Found { .. } if seen.follows.is_some() => Some(Verdict::NotDrilled(format!(
                "it runs {}, which follows processes, and cannot while it is followed itself",
                seen.follows.clone().unwrap_or_default().display()
            ))),
            RunEnd::Found { status: Status::Warn, context } if again => {
                Some(Verdict::Unwell(format!("warn: {context}")))
            }
            RunEnd::Found { status: Status::Warn, .. } => return self.try_again(index),
            RunEnd::Found { status: Status::Pass, .. } => match &seen.changes {
                Some(changes) if !self.options.even_writing => Some(Verdict::NotDrilled(format!(
                    "{changes}, which may change something there: --even-writing drills it nevertheless"
                ))),
                Some(_) | None => None,
            },
            RunEnd::Found { status: Status::Skip, context } => {
                Some(Verdict::NotDrilled(format!("it does not apply here: {context}")))
            }
            RunEnd::Found { status, context } if status.is_bad() => match (&seen.changes_rights, again) {
                (Some(program), _) => Some(Verdict::NotDrilled(format!(
                    "it runs {}, which has rights of its own, and not while it is followed: drill it as root",
                    program.display()
                ))),
                (None, true) => Some(Verdict::Unwell(format!("{}: {context}", status.word()))),
                (None, false) => return self.try_again(index),
            },
            RunEnd::Found { .. } => None,
            RunEnd::Lost(_) if !again => return self.try_again(index),
            RunEnd::Lost(why) => Some(Verdict::Unwell(why)),
            RunEnd::Trusted => None,
        };
        if let Some(verdict) = verdict {
            return self.end(index, verdict, watcher);
        }
        let promise = Promise::of(check, good);
        let plan = plan::plan(&seen, promise);
        tracing::debug!("{}: {seen:?} {plan:?}", check.id);
        let is_of_the_clock = plan.iter().all(|sabotage| plan::is_of_the_clock(*sabotage));
        if promise.failure && plan.is_empty() && seen.looks() {
            let why = "it expects a failure, and a drill has nothing that would make it succeed";
            return self.end(index, Verdict::NotDrilled(why.to_owned()), watcher);
        }
        if is_of_the_clock && !promise.notices.is_empty() && !promise.is_about_the_clock() {
            let why = "nothing was seen that it looks at, so that nothing could be broken";
            return self.end(index, Verdict::NotDrilled(why.to_owned()), watcher);
        }
        if plan.is_empty() {
            return self.end(index, Verdict::CannotFail, watcher);
        }
        self.courses[index].stage =
            Stage::Sabotaged { good, seen: Arc::new(seen), expected: plan.len(), trials: Vec::new() };
        self.todo.extend(plan.into_iter().map(|sabotage| (index, Some(sabotage))));
    }

    /// A check that was unlucky, as on a busy machine, has a second try.
    fn try_again(&mut self, index: usize) {
        self.courses[index].stage = Stage::Good { again: true };
        self.todo.push_back((index, None));
    }

    fn end(&mut self, index: usize, verdict: Verdict, watcher: &mut dyn Watcher) {
        let Course { check, stage, elapsed, .. } = &mut self.courses[index];
        let (trials, fooled) = match stage {
            Stage::Sabotaged { trials, seen, good, .. } => {
                let trials = std::mem::take(trials);
                let fooled = plan::fooled_by(&trials, seen, Promise::of(check, *good));
                (trials, fooled)
            }
            Stage::Good { .. } | Stage::Over(_) => (Vec::new(), Vec::new()),
        };
        let noticed = plan::noticed(&trials, &fooled);
        let unclaimed = plan::unclaimed(&trials, &noticed, &fooled);
        let is_allowed = |word: &&str| check.drill_allow.iter().any(|(allowed, _)| allowed == word);
        let mut allowed: Vec<_> = fooled.iter().map(|sabotage| sabotage.word()).filter(is_allowed).collect();
        allowed.dedup();
        let fooled_by = fooled.into_iter().filter(|sabotage| !allowed.contains(&sabotage.word())).collect();
        let drilled = Drilled {
            check: check.clone(),
            verdict,
            noticed,
            fooled_by,
            unclaimed,
            allowed,
            trials,
            elapsed: *elapsed,
        };
        watcher.drilled(&drilled);
        *stage = Stage::Over(drilled);
        self.todo.retain(|(other, _)| *other != index);
    }
}

impl Drilled {
    /// Whether nothing has to be done about it.
    pub(crate) fn is_well(&self) -> bool {
        self.verdict == Verdict::Sound
    }

    /// Whether it is known whether it can fail.
    pub(crate) fn was_drilled(&self) -> bool {
        match self.verdict {
            Verdict::Sound | Verdict::Fooled | Verdict::CannotFail => true,
            Verdict::Unwell(_) | Verdict::NotDrilled(_) => false,
        }
    }

    fn takes_any_certificate(&self) -> bool {
        let stranger = Sabotage::Stranger(Stranger::Certificate);
        self.trials.iter().any(|trial| trial.sabotage == stranger && !trial.is_noticed)
    }

    /// Why it has this verdict, and what would cure it.
    pub(crate) fn why(&self) -> String {
        match &self.verdict {
            Verdict::Sound if self.allowed.is_empty() && self.takes_any_certificate() => {
                "it takes any certificate, so anybody may answer in place of its peer: let it verify that if it can"
                    .to_owned()
            }
            Verdict::Sound if self.allowed.is_empty() => String::new(),
            Verdict::Sound => {
                let reason = |word: &&&str| {
                    let reason = self.check.drill_allow.iter().find(|(allowed, _)| allowed == *word);
                    match reason {
                        Some((_, reason)) if !reason.is_empty() => format!("{word}: {reason}"),
                        Some(_) | None => (**word).to_owned(),
                    }
                };
                format!("accepted: {}", self.allowed.iter().map(|word| reason(&word)).collect::<Vec<_>>().join("; "))
            }
            Verdict::CannotFail if self.fooled_by.is_empty() => {
                "it looks at nothing outside of itself, so that nothing could make it fail".to_owned()
            }
            Verdict::Fooled | Verdict::CannotFail => {
                let passes: Vec<_> = self.fooled_by.iter().map(|sabotage| sabotage.does()).collect();
                let kind = BUILTINS.iter().find(|kind| kind.scheme == self.check.kind);
                let has = |option: &str| kind.is_some_and(|kind| kind.option(option).is_some());
                let mut cures: Vec<&str> = Vec::new();
                for cure in self.fooled_by.iter().map(|sabotage| sabotage.cure(&has)) {
                    if !cures.contains(&cure) {
                        cures.push(cure);
                    }
                }
                // Of what fooled it, it may have noticed a part.
                let noticed: Vec<_> = match self.noticed.is_empty() {
                    true => self.trials.iter().filter(|trial| trial.is_noticed).collect(),
                    false => Vec::new(),
                };
                let noticed: Vec<_> = noticed.into_iter().map(|trial| trial.sabotage.does()).collect();
                let noticed = if noticed.is_empty() {
                    String::new()
                } else {
                    format!(", and notices only {}", noticed.join(", "))
                };
                format!("it passes when {}{noticed}; {}", passes.join(", "), cures.join("; "))
            }
            Verdict::Unwell(why) | Verdict::NotDrilled(why) => why.clone(),
        }
    }
}
