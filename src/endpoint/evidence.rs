//! The answers of `/why` and `/history`: what is remembered of a check, which is never run for that.

use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;

use super::counters::RouteLabel;
use super::route::Query;
use super::{AtOnce, Endpoint, negotiate};
use crate::model::check::Check;
use crate::model::episode::{self, CheckRecord};
use crate::model::needs::Known;
use crate::model::schedule::Schedule;
use crate::model::why::{Standing, Why};
use crate::os::clock;
use crate::render::html::{self, Evidence};
use crate::render::{json, why};
use crate::state::now;

/// What is told of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    Why,
    History,
}

/// A way to tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Text,
    Page,
}

/// In the order in which one is chosen if all are as welcome, by their names.
const FORMS: [(Form, &str); 3] = [(Form::Json, "json"), (Form::Text, "text"), (Form::Page, "html")];

/// What is told, ready to be sent.
pub(super) struct Told {
    pub(super) label: RouteLabel,
    pub(super) media_type: &'static str,
    pub(super) is_page: bool,
    pub(super) body: Vec<u8>,
}

impl Topic {
    fn label(self) -> RouteLabel {
        match self {
            Topic::Why => RouteLabel::Why,
            Topic::History => RouteLabel::History,
        }
    }
}

impl Form {
    fn media_type(self) -> &'static str {
        match self {
            Form::Json => json::MEDIA_TYPE,
            Form::Text => "text/plain; charset=utf-8",
            Form::Page => html::MEDIA_TYPE,
        }
    }
}

impl Endpoint {
    /// What is told of the check at a path.
    pub(super) fn tell(
        &self,
        topic: Topic,
        path: &str,
        query: &Query,
        accept: Option<&str>,
        disclosed: bool,
    ) -> ControlFlow<AtOnce, Told> {
        if !disclosed {
            // All of it is detail. Who can show that he may see it is asked to.
            let status = if self.settings.disclosure.is_personal() { 401 } else { 403 };
            return Break(AtOnce::Error(status, "what is remembered of checks is not told to strangers".to_owned()));
        }
        let form = form(query, accept)?;
        let check = self.remembered(path)?;
        let record = self.observer.record(&check.id).unwrap_or_default();
        let (now, mut body) = (clock::wall(), Vec::new());
        match (topic, form) {
            (Topic::Why, Form::Json) => why::json(&self.why(&check, record), &mut body),
            (Topic::Why, Form::Text) => why::text(&self.why(&check, record), &mut body),
            (Topic::History, Form::Json) => why::history_json(&check.id, &check.title, &record, now, &mut body),
            (Topic::History, Form::Text) => why::history_text(&check.id, &record, now, &mut body),
            (_, Form::Page) => {
                let why = self.why(&check, record.clone());
                html::evidence(&Evidence { why: &why, record: &record, prefix: &self.settings.prefix }, &mut body);
            }
        }
        let is_page = form == Form::Page;
        Continue(Told { label: topic.label(), media_type: form.media_type(), is_page, body })
    }

    fn why(&self, check: &Check, record: CheckRecord) -> Why {
        let others = self.files.suite.checks().iter().filter_map(|other| {
            let history = self.observer.history(&other.id)?;
            Some((other.id.clone(), history))
        });
        let others: Vec<_> = others.collect();
        let why = Why::of((&check.id, &check.title), record, &others, self.observer.happenings(), clock::wall());
        why.standing(self.standing(check))
    }

    /// What the last report that had it said of a check.
    fn standing(&self, check: &Check) -> Standing {
        let last = self.observer.last_run(&check.id);
        let of = |schedule: Schedule| match last.as_ref().is_some_and(|last| last.status.is_bad()) {
            true => schedule.rise,
            false => schedule.fall,
        };
        let against = check.schedule.map(|schedule| (self.observer.against(check), of(schedule)));
        let now = now();
        Standing {
            status: last.as_ref().map(|last| last.status),
            blocked_by: if last.is_some_and(|last| last.is_blocked) { self.causes(check) } else { Vec::new() },
            is_stale: check.schedule.is_some() && self.observer.is_stale(check),
            against: against.filter(|(runs, _)| *runs > 0),
            silence: check.silence.as_ref().filter(|silence| silence.is_in_force(&now)).map(|it| it.to_string()),
            stands: Some(episode::stands(check)),
            ..Standing::default()
        }
    }

    /// The checks because of which this one is not run, as far as reports have said.
    fn causes(&self, check: &Check) -> Vec<String> {
        let suite = &self.files.suite;
        let place = suite.checks().iter().position(|other| other.id == check.id);
        let known = |place: usize| match self.observer.last_run(&suite.checks()[place].id) {
            Some(last) if last.is_blocked => Known::Blocked,
            Some(last) if last.status.is_bad() => Known::Bad,
            Some(_) | None => Known::Fine,
        };
        let causes = suite.needs().zip(place).map(|(needs, place)| needs.causes(place, known)).unwrap_or_default();
        match causes.is_empty() {
            // What it needs has recovered since, and it has not run yet.
            true => check.needs.clone(),
            false => causes.into_iter().map(|cause| suite.checks()[cause].id.clone()).collect(),
        }
    }

    /// The check with that id, or the only one under that name.
    fn remembered(&self, path: &str) -> ControlFlow<AtOnce, Arc<Check>> {
        let suite = &self.files.suite;
        let by_id = |id: &str| suite.checks().iter().find(|check| check.id == id).cloned();
        if let Some(check) = by_id(path).or_else(|| by_id(path.strip_suffix('/')?)) {
            return Continue(check);
        }
        let part = self.at(path);
        let its = part.checks().iter().enumerate().filter(|(place, _)| !part.is_as_needed(*place));
        let its: Vec<_> = its.map(|(_, check)| check.clone()).collect();
        match &its[..] {
            [check] => Continue(check.clone()),
            [] => {
                let known = suite.known();
                Break(AtOnce::Error(404, format!("no check is collected at {path:?} (known: {known})")))
            }
            several => {
                if path.trim_matches('/').is_empty() {
                    return Break(AtOnce::Error(404, format!("name one check behind it (known: {})", suite.known())));
                }
                let names = crate::model::id::listed(several.iter().map(|check| check.id.clone()));
                Break(AtOnce::Error(404, format!("name one check: {path:?} is several of them ({names})")))
            }
        }
    }
}

/// The form that the query names, else the one that Accept asks for.
fn form(query: &Query, accept: Option<&str>) -> ControlFlow<AtOnce, Form> {
    let known = || FORMS.map(|(_, name)| name).join(", ");
    let chosen = match &query.format {
        Some(name) => FORMS.iter().find(|(_, its)| its == name).ok_or_else(|| {
            AtOnce::Error(400, format!("format={name}: it is not told in that format (known: {})", known()))
        }),
        None => negotiate::choose(accept, &FORMS, |(form, _)| form.media_type()).ok_or_else(|| {
            AtOnce::Error(406, format!("none of what Accept asks for is spoken here (known: {})", known()))
        }),
    };
    match chosen {
        Ok((form, _)) => Continue(*form),
        Err(answer) => Break(answer),
    }
}
