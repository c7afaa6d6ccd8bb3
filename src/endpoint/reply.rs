//! What is replied: a status, header fields and a body.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::counters::RouteLabel;
use super::evidence::Told;
use super::metrics::{self, Figures};
use super::route;
use super::{CheckRequest, Dialect, EndpointSettings, Findings, Observer};
use crate::collect::FileState;
use crate::model::check::Check;
use crate::model::patience::Flips;
use crate::model::report::Report;
use crate::model::startup;
use crate::os::clock;
use crate::render::exposition::Syntax;
use crate::render::html::{self, View};
use crate::render::{json, kubernetes};

const TEXT: &str = "text/plain; charset=utf-8";

/// The largest body whose memory is kept for the next one.
const KEPT_CAPACITY: usize = 64 * 1024;

/// What a server sends, whatever it speaks.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The header fields that belong to the content. A server adds its own, such as Date.
    pub fields: Vec<(&'static str, Cow<'static, str>)>,
    /// The body, which a server may still be sending to others when it is written anew.
    pub body: Arc<Vec<u8>>,
    /// What was asked for.
    pub(super) label: RouteLabel,
    /// Changes with the fields.
    pub(crate) version: u64,
    /// The number or revision of the report, and the request, that this is the reply to, if the next may be the same.
    written_for: Option<(u64, Arc<CheckRequest>)>,
}

impl Default for Reply {
    fn default() -> Reply {
        let (fields, body) = (Vec::new(), Arc::default());
        Reply { status: 200, fields, body, label: RouteLabel::Other, version: 0, written_for: None }
    }
}

impl Reply {
    pub(super) fn text(&mut self, label: RouteLabel, status: u16, text: &str) {
        self.begin(label, status, TEXT, "no-store".into());
        self.fill(|body| body.extend_from_slice(text.as_bytes()));
    }

    pub(super) fn error(&mut self, label: RouteLabel, status: u16, message: &str) {
        self.begin(label, status, json::MEDIA_TYPE, "no-store".into());
        match status {
            // A browser asks its user for the one, and programs understand the other.
            401 => self.fields.extend(
                ["Basic", "Bearer"].map(|scheme| ("WWW-Authenticate", format!("{scheme} realm=\"hospital\"").into())),
            ),
            405 => self.fields.push(("Allow", route::ALLOW.into())),
            _ => {}
        }
        self.fill(|body| json::error(status, message, body));
    }

    pub(super) fn told(&mut self, told: Told, is_personal: bool) {
        self.begin(told.label, 200, told.media_type, "no-store".into());
        self.vary(is_personal);
        if told.is_page {
            self.fields.extend(html::headers().map(|(name, value)| (name, value.into())));
        }
        self.fill(|body| body.extend_from_slice(&told.body));
    }

    pub(super) fn metrics(&mut self, figures: &Figures, syntax: Syntax, is_personal: bool) {
        self.begin(RouteLabel::Metrics, 200, syntax.media_type(), "no-store".into());
        self.vary(is_personal);
        self.fill(|body| metrics::write(figures, syntax, body));
    }

    /// The reply to a request for which this was found. While what it says and what is asked stay the same, it stays as
    /// it is: writing it anew would take a quarter of the instructions of a request.
    pub(super) fn report(
        &mut self,
        request: &Arc<CheckRequest>,
        findings: &Findings<'_>,
        settings: &EndpointSettings,
        files: &FileState,
        observer: &dyn Observer,
    ) {
        let Findings { report, number, revision, age } = findings;
        let maintenance = files.maintenance.as_deref();
        let CheckRequest { presentation, .. } = &**request;
        let number = match presentation.dialect {
            // It is told of, whatever the report is.
            _ if maintenance.is_some() => None,
            Dialect::Format(format) if format.timeless => revision.or(*number),
            // It tells of the next runs, whatever the report is.
            Dialect::Page(_) if request.part.has_schedule() => None,
            Dialect::Format(_) | Dialect::Page(_) | Dialect::Ready | Dialect::Startup => *number,
        };
        let is_same = |(there, its): &(u64, _)| Some(*there) == number && Arc::ptr_eq(its, request);
        if self.written_for.as_ref().is_some_and(is_same) {
            return;
        }
        let starting = || -> Vec<_> {
            let start = |id: &str| observer.start(id);
            report.outcomes.iter().map(|outcome| startup::is_starting(&outcome.check, start)).collect()
        };
        let starting = if matches!(presentation.dialect, Dialect::Startup) { starting() } else { Vec::new() };
        let maintained =
            maintenance.map(|reason| Report { maintenance: Some(reason.to_owned()), ..Report::clone(report) });
        let report = maintained.as_ref().unwrap_or(report);
        let hidden = (!presentation.disclosed).then(|| report.anonymous());
        let report = hidden.as_ref().unwrap_or(report);
        let (label, success, warn_status, media_type) = match &presentation.dialect {
            Dialect::Format(format) => {
                (RouteLabel::Checks, (format.is_success)(report), format.warn_status, format.media_type)
            }
            Dialect::Page(_) => (RouteLabel::Checks, report.passes(), true, html::MEDIA_TYPE),
            // For a kubelet, anything but a success takes the service out of use.
            Dialect::Ready => (RouteLabel::Ready, report.passes(), false, TEXT),
            Dialect::Startup => (RouteLabel::Startup, !starting.contains(&true), false, TEXT),
        };
        let is_degraded = success && report.passes() && report.warns();
        let status = match (success, is_degraded && warn_status) {
            (true, false) => 200,
            (true, true) => settings.warn_status,
            (false, _) if label == RouteLabel::Startup => 503,
            (false, _) => settings.fail_status,
        };
        let is_personal = settings.disclosure.is_personal();
        let caching = age.map_or("no-store".into(), |_| freshness(settings.lifetime, is_personal).into());
        self.begin(label, status, media_type, caching);
        if let Some(age) = age {
            // Rounded so that it never seems fresher than it is.
            let seconds = age.as_secs() + u64::from(age.subsec_nanos() > 0);
            self.fields.push(("Age", seconds.to_string().into()));
        }
        self.vary(is_personal);
        if is_degraded {
            // Envoy's health checks look for it: such an upstream is used while too few others are well.
            self.fields.push(("X-Envoy-Degraded", "1".into()));
        }
        match &presentation.dialect {
            Dialect::Format(format) => self.fill(|body| {
                (format.write)(report, body);
                if presentation.disclosed {
                    (format.signed)(&settings.speaker, body);
                }
            }),
            Dialect::Page(choice) => {
                self.fields.extend(html::headers().map(|(name, value)| (name, value.into())));
                let at = clock::before(clock::wall(), age.unwrap_or_default());
                let disclosed = presentation.disclosed;
                let drilled = files.drills.of(report.outcomes.iter().map(|outcome| &*outcome.check.id), clock::wall());
                let next_run = |check: &Check| observer.next_run(check);
                let is_flapping = |check: &Check| observer.flips(check).is_some_and(Flips::is_flapping);
                let history = |id: &str| observer.history(id);
                let view = choice.view(at, disclosed, is_personal && !disclosed);
                let view = View {
                    next_run: &next_run,
                    is_flapping: &is_flapping,
                    drilled: drilled.as_deref(),
                    history: &history,
                    prefix: &settings.prefix,
                    speaker: Some(&settings.speaker).filter(|_| disclosed),
                    ..view
                };
                self.fill(|body| html::page(report, &view, body));
            }
            Dialect::Ready => {
                self.fill(|body| {
                    body.extend_from_slice(kubernetes::answer("readyz", report, presentation.verbose).as_bytes())
                });
            }
            Dialect::Startup => {
                let text = kubernetes::startup(report, presentation.verbose, &starting);
                self.fill(|body| body.extend_from_slice(text.as_bytes()));
            }
        }
        if presentation.verbose && presentation.disclosed {
            self.fields.push(("X-Generation", settings.generation.to_string().into()));
        }
        self.written_for = number.map(|number| (number, request.clone()));
    }

    /// Frees a large body, unless somebody is still being sent it. True if there was one.
    pub(super) fn release(&mut self) -> bool {
        let is_large = self.body.capacity() > KEPT_CAPACITY && Arc::get_mut(&mut self.body).is_some();
        if is_large {
            (self.body, self.written_for) = (Arc::default(), None);
        }
        is_large
    }

    fn begin(&mut self, label: RouteLabel, status: u16, media_type: &'static str, caching: Cow<'static, str>) {
        (self.label, self.status, self.written_for) = (label, status, None);
        self.version += 1;
        self.fields.clear();
        self.fields.push(("Content-Type", media_type.into()));
        self.fields.push(("X-Content-Type-Options", "nosniff".into()));
        self.fields.push(("Cache-Control", caching));
    }

    /// Names what the reply depends on, apart from the target.
    fn vary(&mut self, is_personal: bool) {
        self.fields.push(("Vary", if is_personal { "Accept, Authorization" } else { "Accept" }.into()));
    }

    /// Writes the body in place of the last one. If some are still being sent that, and this is the same, all share it.
    fn fill(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(body) = Arc::get_mut(&mut self.body) {
            body.clear();
            write(body);
        } else {
            let mut body = Vec::new();
            write(&mut body);
            if body != *self.body {
                self.body = Arc::new(body);
            }
        }
    }
}

/// What caches on the way may do with a report that answers further requests for this long.
fn freshness(lifetime: Duration, is_personal: bool) -> String {
    let whose = if is_personal { "private, " } else { "" };
    format!("{whose}max-age={}", lifetime.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reply: &mut Reply, text: &str) {
        reply.text(RouteLabel::Live, 200, text);
    }

    #[test]
    fn a_body_that_is_being_sent_stays_as_it_is_and_is_shared_by_what_is_the_same() {
        let mut reply = Reply::default();
        text(&mut reply, "first");
        let sent = reply.body.clone();
        text(&mut reply, "first");
        assert!(Arc::ptr_eq(&sent, &reply.body));
        text(&mut reply, "second");
        assert_eq!((sent.as_slice(), reply.body.as_slice()), (&b"first"[..], &b"second"[..]));
        let memory = reply.body.as_ptr();
        text(&mut reply, "third");
        assert_eq!(memory, reply.body.as_ptr(), "nobody had the second");
    }

    #[test]
    fn the_memory_of_a_large_body_is_freed_once_nobody_is_being_sent_it() {
        let mut reply = Reply::default();
        text(&mut reply, "small");
        assert!(!reply.release());
        text(&mut reply, &"x".repeat(2 * KEPT_CAPACITY));
        let sent = reply.body.clone();
        assert!(!reply.release());
        drop(sent);
        assert!(reply.release());
        assert_eq!(reply.body.capacity(), 0);
    }
}
