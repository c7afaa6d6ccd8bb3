//! The page about one check: why it is as it is, and its history. `evidence.html`, in which all inserted text is escaped.

use std::time::SystemTime;

use askama::Template;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Moment, Page, icon, mark, printable, spoken};
use crate::model::blame::Blame;
use crate::model::check::Status;
use crate::model::episode::{CheckRecord, Piece, RecordedRun, WINDOWS};
use crate::model::why::{Why, WhyState, told};
use crate::render::appended;
use crate::render::why::{PIECES, episode, spoken_episode, uptime, word};

/// What the page shows.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Why the check is as it is.
    pub why: &'a Why,
    /// Its history.
    pub record: &'a CheckRecord,
    /// What stands before each path of the endpoint.
    pub prefix: &'a str,
}

/// Appends the page.
pub fn evidence(evidence: &Evidence<'_>, out: &mut Vec<u8>) {
    appended(out, |text| EvidencePage::of(evidence).render_into(text).map_err(|_| std::fmt::Error));
}

#[derive(Template)]
#[template(path = "evidence.html", config = "src/render/templates/askama.toml")]
struct EvidencePage {
    home: String,
    id: String,
    title: String,
    class: &'static str,
    mark: char,
    icon: &'static str,
    status: String,
    headline: String,
    unwatched: Option<String>,
    last_episode: Option<String>,
    runs: Vec<ShownRun>,
    changed: Vec<[String; 3]>,
    same: Vec<(String, String)>,
    around: Vec<(Moment, String)>,
    strip: Strip,
    uptime: Vec<(&'static str, String)>,
    episodes: Vec<String>,
}

struct ShownRun {
    what: &'static str,
    at: Moment,
    told: String,
    blame: Option<&'static str>,
}

/// The last day of a check, as pieces of the same kind side by side.
pub(super) struct Strip {
    pub(super) pieces: Vec<StripPiece>,
    /// For those who do not see it.
    pub(super) label: String,
}

/// From where to where, and of which kind.
pub(super) struct StripPiece {
    pub(super) class: &'static str,
    pub(super) from: u64,
    pub(super) width: u64,
}

impl Strip {
    /// `None`: nobody has looked in the last day.
    pub(super) fn of(record: &CheckRecord, now: SystemTime) -> Strip {
        let mut pieces: Vec<StripPiece> = Vec::new();
        for (from, piece) in (0..).zip(record.strip(now, PIECES)) {
            match pieces.last_mut().filter(|last| last.class == word(piece)) {
                Some(last) => last.width += 1,
                None => pieces.push(StripPiece { class: word(piece), from, width: 1 }),
            }
        }
        // Where nobody looked, nothing is drawn.
        pieces.retain(|piece| piece.class != word(Piece::Gap));
        Strip { pieces, label: format!("the last day: {}", uptime(record, now, WINDOWS[1].1)) }
    }
}

impl EvidencePage {
    const STYLE: &str = Page::STYLE;

    fn of(evidence: &Evidence<'_>) -> EvidencePage {
        let Evidence { why, record, prefix } = evidence;
        let last = why.last_bad.as_ref().map_or(Status::Fail, |run| run.status);
        let status = match why.state {
            WhyState::Well => Status::Pass,
            WhyState::Failing if why.standing.status == Some(Status::Warn) => Status::Warn,
            WhyState::Failing => last,
            WhyState::WouldFail => Status::Warn,
            WhyState::WouldPass => why.standing.status.unwrap_or(last),
            WhyState::Blocked | WhyState::Stale => Status::Error,
            WhyState::Unknown => Status::Skip,
        };
        let run = |what, run: &Option<RecordedRun>| {
            run.as_ref().map(|run| ShownRun {
                what,
                at: Moment::of(run.at, Some(why.now)),
                told: printable(&told(run)),
                blame: run.blame.map(Blame::word),
            })
        };
        let last_bad =
            why.last_bad.clone().filter(|last| why.first_bad.as_ref().is_none_or(|first| last.at > first.at));
        let runs = [
            run("first bad run", &why.first_bad),
            run("last bad run", &last_bad),
            run("last good run before", &why.good),
        ];
        let or_none = |text: &Option<String>| text.as_deref().map_or("(none)".to_owned(), printable);
        let unwatched = why.episode.map(|episode| episode.unwatched.0).filter(|time| !time.is_zero());
        EvidencePage {
            home: format!("{prefix}/"),
            id: printable(&why.id),
            title: printable(&why.title),
            class: status.word(),
            mark: mark(status),
            icon: icon(status),
            status: spoken_state(why.state, status),
            headline: why.headline(),
            unwatched: unwatched.map(super::age),
            last_episode: (why.was_found_well() && why.first_bad.is_some()).then(|| episode(why)),
            runs: runs.into_iter().flatten().collect(),
            changed: why
                .changed
                .iter()
                .map(|it| [printable(&it.field), or_none(&it.before), or_none(&it.after)])
                .collect(),
            same: why.same.iter().map(|(field, value)| (printable(field), printable(value))).collect(),
            around: why.around.iter().map(|it| (Moment::of(it.at, None), printable(&it.what))).collect(),
            strip: Strip::of(record, why.now),
            uptime: WINDOWS.map(|(name, window)| (name, uptime(record, why.now, window))).to_vec(),
            episodes: record.episodes().iter().rev().map(spoken_episode).collect(),
        }
    }
}

fn spoken_state(state: WhyState, status: Status) -> String {
    match state {
        WhyState::Failing | WhyState::WouldPass => spoken(status),
        WhyState::WouldFail => "would fail".to_owned(),
        WhyState::Well | WhyState::Unknown | WhyState::Blocked | WhyState::Stale => state.word().to_owned(),
    }
}

/// The path of the page about a check.
pub(super) fn path(prefix: &str, id: &str) -> String {
    format!("{prefix}/why/{}", utf8_percent_encode(id, NON_ALPHANUMERIC))
}
