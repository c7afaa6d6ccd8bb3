//! When each check was drilled last, and whether it was sound.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// As many are remembered: those that were drilled last.
const MOST: usize = 2000;

/// What the last drill of each check came to, by its id.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(crate) struct Drills(BTreeMap<String, LastDrill>);

#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
struct LastDrill {
    /// In seconds since 1970.
    at: u64,
    sound: bool,
}

impl Drills {
    /// Takes note of a drill of these checks, each with whether it was sound.
    pub(crate) fn note<'a>(&mut self, at: SystemTime, drilled: impl Iterator<Item = (&'a str, bool)>) {
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.0.extend(drilled.map(|(id, sound)| (id.to_owned(), LastDrill { at, sound })));
        while self.0.len() > MOST {
            let oldest = self.0.iter().min_by_key(|(_, drill)| drill.at).map(|(id, _)| id.clone());
            oldest.and_then(|id| self.0.remove(&id));
        }
    }

    /// What is to be said of these checks in one line; nothing if none of them was drilled.
    pub(crate) fn of<'a>(&self, ids: impl Iterator<Item = &'a str>, now: SystemTime) -> Option<String> {
        let all: Vec<_> = ids.map(|id| self.0.get(id)).collect();
        let drilled: Vec<_> = all.iter().flatten().collect();
        let oldest = UNIX_EPOCH + Duration::from_secs(drilled.iter().map(|drill| drill.at).min()?);
        // If the clock was set back, nobody knows.
        let ago = now.duration_since(oldest).map_or("at an unknown time".to_owned(), ago);
        let sound = drilled.iter().filter(|drill| drill.sound).count();
        let rest = match all.len() - drilled.len() {
            0 => String::new(),
            never => format!(", {never} never drilled"),
        };
        Some(format!("drilled {ago}: {sound} of {} sound{rest}", drilled.len()))
    }
}

/// In the largest unit.
fn ago(time: Duration) -> String {
    let seconds = time.as_secs();
    let (number, unit) = match seconds {
        0..60 => return "just now".to_owned(),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{number} {unit}{} ago", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_of_the_checks_that_are_asked_for() {
        let at = |day: u64| UNIX_EPOCH + Duration::from_secs(day * 86_400);
        let mut drills = Drills::default();
        let line = |drills: &Drills, ids: &[&str]| drills.of(ids.iter().copied(), at(10));
        assert_eq!(line(&drills, &["db"]), None);
        drills.note(at(7), [("db", true), ("mail", false)].into_iter());
        assert_eq!(line(&drills, &["db", "mail"]).as_deref(), Some("drilled 3 days ago: 1 of 2 sound"));
        assert_eq!(line(&drills, &["db", "new"]).as_deref(), Some("drilled 3 days ago: 1 of 1 sound, 1 never drilled"));
        drills.note(at(9), [("mail", true)].into_iter());
        assert_eq!(line(&drills, &["mail"]).as_deref(), Some("drilled 1 day ago: 1 of 1 sound"));
        assert_eq!(line(&drills, &["db", "mail"]).as_deref(), Some("drilled 3 days ago: 2 of 2 sound"));
        assert_eq!(drills.of(["mail"].into_iter(), at(1)).as_deref(), Some("drilled at an unknown time: 1 of 1 sound"));
        assert_eq!(line(&drills, &["other"]), None);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut drills = Drills::default();
        drills.note(UNIX_EPOCH, ["old"].iter().map(|id| (*id, true)));
        let many: Vec<_> = (0..MOST).map(|number| number.to_string()).collect();
        drills.note(UNIX_EPOCH + Duration::from_secs(1), many.iter().map(|id| (id.as_str(), true)));
        assert_eq!((drills.0.len(), drills.0.contains_key("old")), (MOST, false));
    }
}
