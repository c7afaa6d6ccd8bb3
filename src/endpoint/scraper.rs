//! What Prometheus tells about itself: which exposition format it reads, and how long it waits. Pure.

use std::time::Duration;

use super::negotiate;
use super::route::Query;
use crate::model::duration::LONGEST;
use crate::render::exposition::Syntax;

/// The most of a scraper's timeout that is reserved for sending the answer.
const MARGIN: Duration = Duration::from_millis(500);

/// Which exposition format to write: a scraper that accepts none of ours gets the text format rather than an error.
pub(crate) fn syntax(query: &Query, accept: Option<&str>) -> Syntax {
    let named = Syntax::ALL.iter().find(|syntax| query.format.as_deref() == Some(syntax.name()));
    let chosen = named.or_else(|| negotiate::choose(accept, &Syntax::ALL, |syntax| syntax.media_type()));
    chosen.copied().unwrap_or(Syntax::Text)
}

/// How long we have to answer, given the field X-Prometheus-Scrape-Timeout-Seconds: slightly less than it says. A value
/// that cannot be understood, or is too large, is ignored.
pub(crate) fn limit(field: &str) -> Option<Duration> {
    let seconds = field.parse().ok().filter(|seconds: &f64| *seconds > 0.0)?;
    let timeout = Duration::try_from_secs_f64(seconds).ok().filter(|timeout| *timeout <= LONGEST)?;
    Some(timeout - MARGIN.min(timeout / 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prometheus_gets_what_it_likes_best() {
        let old = "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let debian = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                      text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let third = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                     application/openmetrics-text;version=0.0.1;q=0.5,\
                     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            (None, Syntax::Text),
            (Some("*/*"), Syntax::Text),
            (Some("text/plain"), Syntax::Text),
            (Some("image/png"), Syntax::Text),
            (Some("application/openmetrics-text"), Syntax::OpenMetrics),
            (Some("text/plain;q=0.5, application/openmetrics-text; version=1.0.0;q=0.4"), Syntax::Text),
            (Some(old), Syntax::Text),
            (Some(debian), Syntax::OpenMetrics),
            (Some(third), Syntax::OpenMetrics),
        ] {
            assert_eq!(syntax(&Query::default(), accept), expected, "{accept:?}");
        }
        for (name, expected) in
            [("prometheus", Syntax::Text), ("openmetrics", Syntax::OpenMetrics), ("yaml", Syntax::OpenMetrics)]
        {
            let query = Query { format: Some(name.to_owned()), ..Query::default() };
            assert_eq!(syntax(&query, Some(debian)), expected, "{name}");
        }
    }

    #[test]
    fn an_answer_has_to_be_there_before_the_scraper_leaves() {
        for (field, millis) in [("10", 9500), ("1", 900), ("0.1", 90), ("2.500000", 2250), ("60.0", 59_500)] {
            assert_eq!(limit(field), Some(Duration::from_millis(millis)), "{field}");
        }
        for field in ["", "soon", "0", "-1", "NaN", "inf", "1e19", "1e300", "10s"] {
            assert_eq!(limit(field), None, "{field}");
        }
    }
}
