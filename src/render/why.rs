//! Why a check is as it is, and its history, as text for people and as JSON for programs.

use std::fmt::{self, Write};
use std::time::SystemTime;

use serde::Serialize;

use super::appended;
use super::json;
use super::line::one_line;
use crate::model::blame::Blame;
use crate::model::check::Status;
use crate::model::clocks::{self, spoken};
use crate::model::duration;
use crate::model::episode::{CheckRecord, Episode, Happening, Piece, RecordedRun, WINDOWS};
use crate::model::transcript::{Change, Transcript};
use crate::model::why::{Why, ago, told, whole};

/// In how many pieces a day is shown: a quarter of an hour each.
pub(crate) const PIECES: u64 = 96;

/// Appends the text for people.
pub(crate) fn text(why: &Why, out: &mut Vec<u8>) {
    appended(out, |out| write_text(why, out));
}

fn write_text(why: &Why, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "{}: {}", one_line(&why.id), why.headline())?;
    if why.title != why.id && !why.title.is_empty() {
        writeln!(out, "  {}", one_line(&why.title))?;
    }
    let Some(first) = &why.first_bad else { return Ok(()) };
    if why.was_found_well() {
        writeln!(out, "\nits last episode: {}", episode(why))?;
    }
    if let Some(Episode { unwatched, from, .. }) = why.episode.filter(|episode| !episode.unwatched.0.is_zero()) {
        let until = spoken(from);
        writeln!(
            out,
            "\nnobody looked for {} before {until}: it may have begun then",
            duration::spoken(whole(unwatched.0))
        )?;
    }
    writeln!(out, "\nthe first bad run, at {}:\n  {}", spoken(first.at), one_line(&told(first)))?;
    if let Some(blame) = first.blame {
        writeln!(out, "  blame: {}", blame.word())?;
    }
    if let Some(last) = why.last_bad.as_ref().filter(|last| last.at > first.at) {
        writeln!(out, "the last one, at {}{}:\n  {}", spoken(last.at), ago(last.at, why.now), one_line(&told(last)))?;
    }
    match &why.good {
        None => writeln!(out, "\nno good run before it is known")?,
        Some(good) => {
            writeln!(out, "\nchanged since the last good run before it, at {}:", spoken(good.at))?;
            for change in &why.changed {
                let shown = |value: &Option<String>| value.as_deref().map_or("(none)".to_owned(), one_line);
                writeln!(out, "  {}: {} → {}", one_line(&change.field), shown(&change.before), shown(&change.after))?;
            }
            if !why.same.is_empty() {
                writeln!(out, "the same as then:")?;
            }
            for (field, value) in &why.same {
                writeln!(out, "  {}: {}", one_line(field), one_line(value))?;
            }
        }
    }
    if !why.around.is_empty() {
        writeln!(out, "\nwhat else happened around then:")?;
    }
    for Happening { at, what } in &why.around {
        writeln!(out, "  {} {}", spoken(*at), one_line(what))?;
    }
    Ok(())
}

/// From when to when the episode lasted, and how many bad runs it had.
pub(crate) fn episode(why: &Why) -> String {
    let Some(Episode { from, to, .. }) = why.episode else { return "its times are not known".to_owned() };
    let runs = if why.bad_runs == 1 { "1 bad run".to_owned() } else { format!("{} bad runs", why.bad_runs) };
    match to.map(|to| (to, to.duration_since(from).unwrap_or_default())) {
        Some((to, time)) => format!("{} to {}, {}, {runs}", spoken(from), spoken(to), duration::spoken(whole(time))),
        None => format!("since {}, {runs}", spoken(from)),
    }
}

/// A run as JSON has it.
#[derive(Serialize)]
struct JsonRun<'a> {
    #[serde(serialize_with = "clocks::write")]
    at: SystemTime,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a str>,
    seconds: f64,
    generation: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    blame: Option<Blame>,
    #[serde(skip_serializing_if = "Transcript::is_empty")]
    transcript: &'a Transcript,
}

/// A time in which a check was bad.
#[derive(Serialize)]
struct JsonEpisode {
    from: String,
    to: Option<String>,
    seconds: Option<f64>,
    status: &'static str,
    /// For how long nobody had looked before each end.
    #[serde(skip_serializing_if = "Option::is_none")]
    unwatched_before: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unwatched_before_end: Option<f64>,
}

#[derive(Serialize)]
struct JsonPair<'a> {
    field: &'a str,
    value: &'a str,
}

fn json_run(run: &Option<RecordedRun>) -> Option<JsonRun<'_>> {
    run.as_ref().map(|run| JsonRun {
        at: run.at,
        status: run.status.word(),
        context: run.context.as_deref(),
        seconds: run.elapsed.as_secs_f64(),
        generation: run.generation,
        blame: run.blame,
        transcript: &run.transcript,
    })
}

fn json_episode(episode: &Episode) -> JsonEpisode {
    let seconds = |time: std::time::Duration| (!time.is_zero()).then_some(time.as_secs_f64());
    JsonEpisode {
        from: spoken(episode.from),
        to: episode.to.map(spoken),
        seconds: episode.to.map(|to| to.duration_since(episode.from).unwrap_or_default().as_secs_f64()),
        status: episode.status.word(),
        unwatched_before: seconds(episode.unwatched.0),
        unwatched_before_end: seconds(episode.unwatched.1),
    }
}

/// Appends the JSON.
pub(crate) fn json(why: &Why, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Document<'a> {
        id: &'a str,
        test: &'a str,
        state: &'static str,
        headline: String,
        since: Option<String>,
        looked_at: Option<String>,
        status: Option<&'static str>,
        blocked_by: &'a [String],
        silence: Option<&'a str>,
        last_good: Option<String>,
        bad_runs: u64,
        episode: Option<JsonEpisode>,
        good: Option<JsonRun<'a>>,
        first_bad: Option<JsonRun<'a>>,
        last_bad: Option<JsonRun<'a>>,
        changed: &'a [Change],
        same: Vec<JsonPair<'a>>,
        around: &'a [Happening],
    }
    let document = Document {
        id: &why.id,
        test: &why.title,
        state: why.state.word(),
        headline: why.headline(),
        since: why.since.map(|since| spoken(since.at)),
        looked_at: why.looked_at.map(spoken),
        status: why.standing.status.map(Status::word),
        blocked_by: &why.standing.blocked_by,
        silence: why.standing.silence.as_deref(),
        last_good: why.good_at.map(spoken),
        bad_runs: why.bad_runs,
        episode: why.episode.as_ref().map(json_episode),
        good: json_run(&why.good),
        first_bad: json_run(&why.first_bad),
        last_bad: json_run(&why.last_bad),
        changed: &why.changed,
        same: why.same.iter().map(|(field, value)| JsonPair { field, value }).collect(),
        around: &why.around,
    };
    json::write(&document, out);
}

/// The word of a piece of the last day.
pub(crate) fn word(piece: Piece) -> &'static str {
    match piece {
        Piece::Gap => "gap",
        Piece::Good => "good",
        Piece::Undecided => "undecided",
        Piece::Bad => "bad",
    }
}

/// Appends the history of a check as JSON.
pub(crate) fn history_json(id: &str, title: &str, record: &CheckRecord, now: SystemTime, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct JsonUptime {
        window: &'static str,
        good_seconds: f64,
        observed_seconds: f64,
        ratio: Option<f64>,
        observed_ratio: f64,
    }
    #[derive(Serialize)]
    struct JsonChange {
        at: String,
        status: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        unwatched_before: Option<f64>,
    }
    #[derive(Serialize)]
    struct Document<'a> {
        id: &'a str,
        test: &'a str,
        now: String,
        uptime: Vec<JsonUptime>,
        episodes: Vec<JsonEpisode>,
        changes: Vec<JsonChange>,
        /// The last day in quarters of an hour, the present one last.
        day: Vec<&'static str>,
    }
    let uptime = WINDOWS.iter().map(|&(name, window)| {
        let uptime = record.uptime(now, window);
        JsonUptime {
            window: name,
            good_seconds: uptime.good.as_secs_f64(),
            observed_seconds: uptime.observed.as_secs_f64(),
            ratio: uptime.ratio(),
            observed_ratio: uptime.observed_ratio(),
        }
    });
    let changes = record.history().into_iter().map(|change| JsonChange {
        at: spoken(change.at),
        status: change.status.word(),
        unwatched_before: (!change.unwatched.is_zero()).then_some(change.unwatched.as_secs_f64()),
    });
    let document = Document {
        id,
        test: title,
        now: spoken(now),
        uptime: uptime.collect(),
        episodes: record.episodes().iter().map(json_episode).collect(),
        changes: changes.collect(),
        day: record.strip(now, PIECES).into_iter().map(word).collect(),
    };
    json::write(&document, out);
}

/// Appends the history of a check as text.
pub(crate) fn history_text(id: &str, record: &CheckRecord, now: SystemTime, out: &mut Vec<u8>) {
    appended(out, |out| {
        writeln!(out, "{}", one_line(id))?;
        for (name, window) in WINDOWS {
            writeln!(out, "  {name}: {}", uptime(record, now, window))?;
        }
        let strip: String = record
            .strip(now, PIECES)
            .into_iter()
            .map(|piece| match piece {
                Piece::Gap => ' ',
                Piece::Good => '▁',
                Piece::Undecided => '▅',
                Piece::Bad => '█',
            })
            .collect();
        writeln!(out, "  the last day, nothing where nobody looked: [{strip}]")?;
        let episodes = record.episodes();
        if !episodes.is_empty() {
            writeln!(out, "it was bad:")?;
        }
        for episode in episodes.iter().rev() {
            writeln!(out, "  {}", spoken_episode(episode))?;
        }
        Ok(())
    });
}

/// Uptime as people read it, with how much of the time it is of.
pub(crate) fn uptime(record: &CheckRecord, now: SystemTime, window: std::time::Duration) -> String {
    let uptime = record.uptime(now, window);
    // Rounded down: only what was always well is 100 %.
    let percent = |ratio: f64| format!("{} %", (ratio * 10_000.0).floor() / 100.0);
    match uptime.ratio() {
        Some(ratio) => {
            let observed = duration::spoken(whole(uptime.observed.max(std::time::Duration::from_secs(1))));
            format!("well for {} of the time that was seen: {observed}", percent(ratio))
        }
        None => "nobody looked".to_owned(),
    }
}

/// An episode in one line.
pub(crate) fn spoken_episode(episode: &Episode) -> String {
    let Episode { from, to, status, unwatched } = episode;
    let unseen = |what: &str, time: &std::time::Duration| match time.is_zero() {
        true => String::new(),
        false => format!(", nobody looked for {} before {what}", duration::spoken(whole(*time))),
    };
    let lasted = match to {
        Some(to) => {
            let time = whole(to.duration_since(*from).unwrap_or_default());
            format!("{} to {}, {}", spoken(*from), spoken(*to), duration::spoken(time))
        }
        None => format!("since {}", spoken(*from)),
    };
    format!("{lasted}: {}{}{}", status.word(), unseen("it", &unwatched.0), unseen("its end", &unwatched.1))
}
