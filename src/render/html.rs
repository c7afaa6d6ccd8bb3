//! A page for people: `templates/report.html`, where all that is put in is escaped.

use askama::Template;

use super::{Format, appended, exit_code};
use crate::check::Status;
use crate::report::{Outcome, Report, Summary};

pub(super) const FORMAT: Format = Format {
    name: "html",
    media_type: "text/html; charset=utf-8",
    write: |report, out| {
        appended(out, |text| Page::of(report).render_into(text).map_err(|_| std::fmt::Error));
    },
    exit_code,
    is_success: Report::passes,
};

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    status: String,
    tone: &'static str,
    summary: Summary,
    rows: Vec<Row>,
}

struct Row {
    id: String,
    title: String,
    status: String,
    tone: &'static str,
    context: Option<String>,
    seconds: String,
}

impl Page {
    fn of(report: &Report) -> Page {
        let status = report.status();
        Page {
            status: spoken(status),
            tone: tone(status),
            summary: report.summary(),
            rows: report.outcomes.iter().map(Row::of).collect(),
        }
    }
}

impl Row {
    fn of(Outcome { check, finding, elapsed, .. }: &Outcome) -> Row {
        Row {
            id: printable(&check.id),
            title: printable(&check.title),
            status: spoken(finding.status),
            tone: tone(finding.status),
            context: finding.context.as_deref().map(printable),
            seconds: format!("{:.3}", elapsed.as_secs_f64()),
        }
    }
}

/// The text, with its lines as they are, without what a browser would not show anyway.
fn printable(text: &str) -> String {
    text.replace(|c: char| c.is_control() && !"\n\t".contains(c), "\u{fffd}")
}

fn spoken(status: Status) -> String {
    status.word().replace('_', " ")
}

/// The class of what has that status.
fn tone(status: Status) -> &'static str {
    if status.is_bad() { "bad" } else { "good" }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ALL, HOSTILE, hostile, written};
    use super::*;
    use crate::report::tests::report as sample;
    use roxmltree::Document;

    /// The page without what makes it HTML and no XML, for a strict reader.
    fn strict(page: &str) -> String {
        let body = page.split_once("<body>").map(|(_, body)| body).expect("it has a body");
        format!("<body>{}", body.trim_end().strip_suffix("</html>").expect("it is whole"))
    }

    #[test]
    fn each_check_is_a_row() {
        let page = written(&FORMAT, &sample(&ALL));
        assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
        assert!(page.contains("<title>fail: 1 of 6 healthchecks pass</title>"), "{page}");
        let body = strict(&page);
        let document = Document::parse(&body).expect("it is well formed");
        let rows: Vec<_> = document
            .descendants()
            .filter(|node| node.attribute("class").is_some() && node.has_tag_name("tr"))
            .collect();
        let tones: Vec<_> = rows.iter().filter_map(|row| row.attribute("class")).collect();
        assert_eq!(tones, ["good", "bad", "bad", "good", "good", "bad"]);
        assert_eq!(
            rows[1].descendants().find(|node| node.has_tag_name("pre")).and_then(|pre| pre.text()),
            Some("it was fail")
        );
    }

    #[test]
    fn what_a_check_says_is_text() {
        let page = written(&FORMAT, &hostile());
        assert!(!page.contains("<b>"), "{page}");
        let body = strict(&page);
        let document = Document::parse(&body).expect("it is well formed");
        let said = document.descendants().find(|node| node.has_tag_name("pre")).and_then(|pre| pre.text());
        let expected = HOSTILE.replace(['\x1b', '\r'], "\u{fffd}");
        assert_eq!(said, Some(expected.as_str()));
    }
}
