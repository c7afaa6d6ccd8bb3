//! The compiled-in healthchecks, by dotted path.

use std::time::Duration;

use crate::model::check::{Check, DEFAULT_TIMEOUT, Deadline, Expect, Finding, Severity};
use crate::model::id::{dotted, is_at, listed};
use crate::model::schedule::Schedule;

/// One compiled-in healthcheck, as written by [`#[healthcheck]`](crate::healthcheck) and gathered by the linker.
#[derive(Debug)]
pub struct Registered {
    /// The module that it is in, as `module_path!()` gives it.
    pub module: &'static str,
    /// The name of the function.
    pub name: &'static str,
    /// What it verifies, in one line.
    pub title: &'static str,
    /// How long it may take; [`DEFAULT_TIMEOUT`] unless set.
    pub timeout: Option<Duration>,
    /// Words to select it by.
    pub tags: &'static [&'static str],
    /// What a healthy answer is.
    pub expect: Expect,
    /// What a bad finding counts as.
    pub on_fail: Severity,
    /// The checks without which it is not run.
    pub needs: &'static [&'static str],
    /// When it runs on its own.
    pub schedule: Option<Schedule>,
    /// How long what it finds wrong does not count at the start.
    pub grace: Option<Duration>,
    /// Whether it may block.
    pub blocking: bool,
    /// The function to call, with the moment by which it has to return.
    pub run: fn(Deadline) -> Finding,
}

inventory::collect!(Registered);

impl Registered {
    /// Its dotted path: `shop::healthchecks` and `database` make `shop.healthchecks.database`.
    pub fn id(&self) -> String {
        format!("{}.{}", dotted(self.module), self.name)
    }
}

impl From<&'static Registered> for Check {
    fn from(registered: &'static Registered) -> Check {
        let check = Check::new(registered.id(), registered.run)
            .title(registered.title)
            .tags(registered.tags.iter().copied())
            .timeout(registered.timeout.unwrap_or(DEFAULT_TIMEOUT))
            .expect(registered.expect)
            .on_fail(registered.on_fail)
            .needs(registered.needs.iter().copied());
        // A schedule that is shorter than the time that any check may take leaves it no more.
        let longest = registered.schedule.map_or(check.timeout, |schedule| schedule.every.min(check.timeout));
        let check = Check { schedule: registered.schedule, grace: registered.grace, timeout: longest, ..check };
        if registered.blocking { check } else { check.in_place() }
    }
}

/// Every compiled-in healthcheck, in the order of their ids.
///
/// ```
/// let ids: Vec<String> = hospital::registered().map(|check| check.id()).collect();
/// assert!(ids.contains(&"hospital.healthchecks.predictable.collected".to_owned()));
/// ```
pub fn registered() -> impl Iterator<Item = &'static Registered> {
    let mut all: Vec<_> = inventory::iter::<Registered>().collect();
    all.sort_by_key(|registered| registered.id());
    all.into_iter()
}

/// Whether a healthcheck with exactly this name is compiled in. The name may have `.` or `::`.
///
/// ```
/// assert!(hospital::is_healthcheck("hospital.healthchecks.predictable.collected"));
/// assert!(hospital::is_healthcheck("hospital::healthchecks::predictable::collected"));
/// assert!(!hospital::is_healthcheck("hospital.healthchecks.predictable")); // a module of healthchecks
/// ```
pub fn is_healthcheck(path: &str) -> bool {
    let path = dotted(path);
    inventory::iter::<Registered>().any(|registered| registered.id() == path)
}

/// The registered checks at or under a dotted path, in the order of their ids, and those that the program adds.
pub(crate) fn at(path: &str, own: &[Check]) -> impl Iterator<Item = Check> {
    let path = dotted(path);
    registered().map(Check::from).chain(own.iter().cloned()).filter(move |check| is_at(&check.id, &path))
}

/// The ids of the registered checks, and of those that the program adds, for a message.
pub(crate) fn known(own: &[Check]) -> String {
    listed(registered().map(Registered::id).chain(own.iter().map(|check| check.id.clone())))
}
