//! JUnit XML, as Jenkins, GitLab and others read it.
//!
//! Source of the format: the schema of Jenkins' xUnit plugin (`junit-10.xsd`). It has no expected failures: these are
//! reported as skipped, with the reason, and unexpected successes as failures. A warning is a passed case with output, unless
//! it makes the report fail.

use std::fmt::{self, Write};

use super::{Format, appended, exit_code, unsigned};
use crate::model::check::Status;
use crate::model::report::{Outcome, Report};

pub(super) const FORMAT: Format = Format {
    name: "junit",
    media_type: "application/xml; charset=utf-8",
    write: |report, out| appended(out, |text| write(report, text)),
    signed: unsigned,
    exit_code,
    is_success: Report::passes,
    warn_status: true,
    timeless: false,
    verbose: None,
    refusal: None,
    is_page: false,
};

fn write(report: &Report, out: &mut String) -> fmt::Result {
    let report = &*report.in_parts();
    let summary = report.summary();
    let seconds: f64 = report.outcomes.iter().map(|outcome| outcome.elapsed.as_secs_f64()).sum();
    let totals = format!(
        "name=\"hospital\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{seconds:.6}\"",
        summary.total,
        report.outcomes.iter().filter(|outcome| element(outcome) == Some("failure")).count(),
        summary.error,
        summary.skip + summary.expected_failure + summary.silenced,
    );
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(out, "<testsuites {totals}>\n  <testsuite {totals}>")?;
    let blocked = report.blocked().count();
    let blocked = (blocked > 0).then(|| ("blocked", blocked.to_string()));
    let maintenance = report.maintenance.as_ref().map(|reason| ("maintenance", reason.clone()));
    let properties = blocked.into_iter().chain(maintenance);
    let property = |(name, value): (&str, String)| format!("<property name=\"{name}\" value=\"{}\"/>", XmlText(&value));
    let properties: String = properties.map(property).collect();
    if !properties.is_empty() {
        writeln!(out, "    <properties>{properties}</properties>")?;
    }
    for outcome in report.causes_first() {
        case(outcome, out)?;
    }
    writeln!(out, "  </testsuite>\n</testsuites>")
}

/// What tells that a case did not pass.
fn element(outcome: &Outcome) -> Option<&'static str> {
    match outcome.finding.status {
        _ if outcome.is_silenced() => Some("skipped"),
        Status::Pass => None,
        Status::Warn => outcome.is_bad().then_some("failure"),
        Status::Fail | Status::UnexpectedSuccess => Some("failure"),
        Status::Error => Some("error"),
        Status::Skip | Status::ExpectedFailure => Some("skipped"),
    }
}

fn case(outcome: &Outcome, out: &mut String) -> fmt::Result {
    let Outcome { check, finding, elapsed, .. } = outcome;
    let (id, title) = (XmlText(&check.id), XmlText(&check.title));
    write!(out, "    <testcase classname=\"{id}\" name=\"{title}\" time=\"{:.6}\"", elapsed.as_secs_f64())?;
    let said = finding.context.as_deref().unwrap_or_default();
    let silenced = outcome.silence().map(|silence| format!("{silence}: {said}"));
    let context = silenced.as_deref().unwrap_or(said);
    let Some(element) = element(outcome) else {
        return match finding.status {
            Status::Warn => writeln!(out, "><system-out>warn: {}</system-out></testcase>", XmlText(context)),
            _ if context.is_empty() => writeln!(out, "/>"),
            _ => writeln!(out, "><system-out>{}</system-out></testcase>", XmlText(context)),
        };
    };
    let message = XmlText(context.lines().next().unwrap_or(finding.status.word()));
    let word = if outcome.blocked_by().is_empty() { finding.status.word() } else { "blocked" };
    let context = XmlText(context);
    writeln!(out, "><{element} type=\"{word}\" message=\"{message}\">{context}</{element}></testcase>")
}

/// Text as the content of an element or an attribute. Characters that XML 1.0 forbids are replaced.
struct XmlText<'a>(&'a str);

impl fmt::Display for XmlText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&apos;")?,
                // Unescaped, these would become spaces in an attribute.
                '\n' | '\r' | '\t' => write!(f, "&#{};", u32::from(c))?,
                c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ALL, HOSTILE, hostile, written};
    use super::*;
    use crate::model::report::tests::{blocking, report as sample};
    use proptest::prelude::*;
    use roxmltree::{Document, Node};

    fn cases<'a>(document: &'a Document<'_>) -> Vec<Node<'a, 'a>> {
        document.descendants().filter(|node| node.has_tag_name("testcase")).collect()
    }

    #[test]
    fn each_check_is_a_case_with_what_became_of_it() {
        let text = written(&FORMAT, &sample(&ALL));
        let document = Document::parse(&text).expect("it is XML");
        let suite = document.root_element().first_element_child().expect("there is one suite");
        for element in [document.root_element(), suite] {
            for (name, count) in [("tests", "7"), ("failures", "2"), ("errors", "1"), ("skipped", "2")] {
                assert_eq!(element.attribute(name), Some(count), "{name}");
            }
        }
        let kinds: Vec<_> = cases(&document)
            .into_iter()
            .map(|case| case.first_element_child().map_or("", |element| element.tag_name().name()))
            .collect();
        assert_eq!(kinds, ["", "system-out", "failure", "error", "skipped", "skipped", "failure"]);
        assert_eq!(cases(&document)[1].first_element_child().and_then(|out| out.text()), Some("warn: it was warn"));
        let failed = cases(&document)[2];
        assert_eq!((failed.attribute("classname"), failed.attribute("name")), (Some("check.2"), Some("Check 2.")));
        assert_eq!(failed.attribute("time"), Some("0.001000"));
        let failure = failed.first_element_child().expect("it failed");
        assert_eq!((failure.attribute("message"), failure.text()), (Some("it was fail"), Some("it was fail")));
    }

    #[test]
    fn what_is_blocked_is_an_error_of_its_own_type() {
        let text = written(&FORMAT, &blocking(&[Status::Error, Status::Fail, Status::Pass], &[(0, &[1])]));
        let document = Document::parse(&text).expect("it is XML");
        let types = cases(&document).into_iter().map(|case| case.first_element_child()?.attribute("type"));
        assert_eq!(types.collect::<Vec<_>>(), [Some("fail"), Some("blocked"), None]);
        let property = document.descendants().find(|node| node.has_tag_name("property")).expect("there is one");
        assert_eq!((property.attribute("name"), property.attribute("value")), (Some("blocked"), Some("1")));
    }

    #[test]
    fn what_a_check_says_stays_in_its_place() {
        let text = written(&FORMAT, &hostile());
        let document = Document::parse(&text).expect("it is XML");
        let case = cases(&document)[0];
        let expected = HOSTILE.replace('\x1b', "\u{fffd}");
        assert_eq!(case.attribute("name"), Some(expected.as_str()));
        assert_eq!(case.first_element_child().and_then(|element| element.text()), Some(expected.as_str()));
    }

    proptest! {
        #[test]
        fn any_text_is_xml(text in any::<String>()) {
            let document = format!("<a b=\"{0}\">{0}</a>", XmlText(&text));
            prop_assert!(Document::parse(&document).is_ok(), "{document}");
        }
    }
}
