use super::super::tests::{ALL, HOSTILE, hostile, written};
use super::*;
use crate::model::episode::StateChange;
use crate::model::judgement::Judgement;
use crate::model::report::tests::{blocking, report as sample};
use crate::model::schedule::Schedule;
use roxmltree::{Document, Node};

const NOW: u64 = 1_800_000_000;

fn second(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

/// The page as XML, for a strict parser.
fn strict(page: &str) -> String {
    let body = page.split_once("<body>").map(|(_, body)| body).expect("it has a body");
    format!("<body>{}", body.trim_end().strip_suffix("</html>").expect("it is whole"))
}

fn seen(report: &Report, view: &View<'_>) -> String {
    let mut out = Vec::new();
    page(report, view, &mut out);
    strict(&String::from_utf8(out).expect("it is UTF-8"))
}

fn classed<'a>(document: &'a Document<'_>, class: &str) -> Vec<Node<'a, 'a>> {
    let has =
        |node: &Node<'_, '_>| node.attribute("class").is_some_and(|classes| classes.split(' ').any(|c| c == class));
    document.root().descendants().filter(has).collect()
}

fn text(node: Node<'_, '_>) -> String {
    let text: String = node.descendants().filter(Node::is_text).filter_map(|node| node.text()).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_wrong_comes_first() {
    let page = written(&FORMAT, &sample(&ALL));
    assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
    assert!(page.contains("<title>fail: 1 of 7 healthchecks pass</title>"), "{page}");
    let body = strict(&page);
    let document = Document::parse(&body).expect("it is well formed");
    let checks = classed(&document, "check");
    let ids: Vec<_> = checks.iter().filter_map(|check| check.attribute("data-id")).collect();
    assert_eq!(ids, ["check.2", "check.3", "check.6", "check.1", "check.0", "check.4", "check.5"]);
    let headings: Vec<_> = document.descendants().filter(|node| node.has_tag_name("h2")).map(text).collect();
    assert_eq!(headings, ["Needs attention", "The rest"]);
    assert_eq!(text(checks[0]), "✗ fail Check 2. it was fail check.2 took 1.0 ms");
    assert_eq!(text(classed(&document, "choice")[0]), "all 7");
}

#[test]
fn what_is_blocked_is_folded_under_its_cause() {
    let report = blocking(&[Status::Error, Status::Fail, Status::Error, Status::Pass], &[(0, &[1]), (2, &[1, 3])]);
    let body = strict(&written(&FORMAT, &report));
    let document = Document::parse(&body).expect("it is well formed");
    let ids = |class| classed(&document, class).iter().filter_map(|row| row.attribute("data-id")).collect::<Vec<_>>();
    assert_eq!((ids("check"), ids("consequence")), (vec!["check.1", "check.3"], vec!["check.0", "check.2"]));
    let details = document.descendants().find(|node| node.has_tag_name("details")).expect("there is one");
    assert_eq!(details.parent().and_then(|cause| cause.attribute("data-id")), Some("check.1"));
    let said = "blocks 2 others ⊘ blocked Check 0. check.0 ⊘ blocked Check 2. and by check.3 check.2";
    assert_eq!(text(details), said, "the cause has told why");
    let counts: Vec<_> = classed(&document, "choice").into_iter().map(text).collect();
    assert_eq!(counts, ["all 4", "✗ fail 1", "⊘ blocked 2", "✓ pass 1"]);

    let lonely = blocking(&[Status::Error], &[(0, &[7])]);
    let body = strict(&written(&FORMAT, &lonely));
    let document = Document::parse(&body).expect("it is well formed");
    assert_eq!(classed(&document, "check").len(), 1, "nothing is left out");
}

#[test]
fn each_status_is_told_by_a_word_and_a_mark_of_its_own() {
    let marks: BTreeSet<_> = ALL.into_iter().map(mark).collect();
    assert_eq!(marks.len(), ALL.len());
    let body = strict(&written(&FORMAT, &sample(&ALL)));
    let document = Document::parse(&body).expect("it is well formed");
    for (status, check) in ALL.into_iter().zip([4, 3, 0, 1, 5, 6, 2]) {
        let said = text(classed(&document, "check")[check]);
        assert!(said.starts_with(&format!("{} {}", mark(status), spoken(status))), "{said}");
    }
}

/// What is remembered of a check that has failed for two hours, and was not looked at before.
fn failing() -> CheckRecord {
    let began = StateChange { at: second(NOW - 7325), status: Status::Fail, unwatched: Duration::from_secs(1675) };
    let mut record = CheckRecord::default();
    (record.changes, record.last) = (vec![began], Some(began));
    record.unwatched = Some(Unwatched { from: second(NOW - 9000), to: second(NOW - 7325) });
    record
}

#[test]
fn it_says_since_when_and_with_which_tags() {
    let mut report = sample(&[Status::Fail, Status::Pass]);
    let check = std::sync::Arc::get_mut(&mut report.outcomes[0].check).expect("not shared");
    check.tags = vec!["a b".into(), "readiness".into()];
    let history = |id: &str| (id == "check.0").then(failing);
    let body = seen(&report, &View { at: Some(second(NOW)), history: &history, ..View::default() });
    let document = Document::parse(&body).expect("it is well formed");
    let checks = classed(&document, "check");
    let said = "✗ fail Check 0. it was fail check.0 took 1.0 ms failing since 2027-01-15 05:57:55 UTC, 2h 2m ago \
                nobody looked from 2027-01-15 05:30:00 UTC to 2027-01-15 05:57:55 UTC a b readiness why";
    assert_eq!(text(checks[0]), said);
    assert_eq!(text(checks[1]), "✓ pass Check 1. check.1 took 1.0 ms");
    let time = checks[0].descendants().find(|node| node.has_tag_name("time")).expect("there is one");
    assert_eq!(time.attribute("datetime"), Some("2027-01-15T05:57:55Z"));
}

#[test]
fn an_age_is_as_precise_as_a_person_wants_it() {
    for (seconds, said) in [(0, "0s"), (59, "59s"), (61, "1m"), (3661, "1h 1m"), (90_061, "1day 1h")] {
        assert_eq!(age(Duration::from_secs(seconds)), said);
    }
    let future = Moment::of(second(NOW + 1), Some(second(NOW)));
    assert_eq!(future.age, None, "the clock was set back");
}

#[test]
fn a_link_adds_a_tag_or_takes_it_away_and_keeps_the_rest() {
    let tags = ["a&b", "slow", "web"].map(str::to_owned).into();
    let links = |chosen: &[&str], others: &[(&'static str, String)]| -> Vec<(String, bool)> {
        let chosen: Vec<_> = chosen.iter().map(|tag| (*tag).to_owned()).collect();
        let view = View { tags: &tags, chosen: &chosen, others, ..View::default() };
        let body = seen(&sample(&[Status::Pass]), &view);
        let document = Document::parse(&body).expect("it is well formed");
        let links = document.descendants().filter(|node| node.has_tag_name("a") && node.attribute("id").is_none());
        links
            .map(|link| (link.attribute("href").unwrap_or_default().to_owned(), link.has_attribute("aria-current")))
            .collect()
    };
    let expected = [("?tag=a%26b", false), ("?tag=slow", false), ("?tag=web", false)];
    assert_eq!(links(&[], &[]), expected.map(|(href, chosen)| (href.to_owned(), chosen)));
    let expected = [("?tag=web&tag=a%26b", false), ("?tag=web&tag=slow", false), ("?", true)];
    assert_eq!(links(&["web"], &[]), expected.map(|(href, chosen)| (href.to_owned(), chosen)));
    let others = [("exclude", "db".to_owned()), ("format", "html".to_owned())];
    assert_eq!(links(&["web"], &others)[2], ("?exclude=db&format=html".to_owned(), true));
}

#[test]
fn a_stranger_sees_counts_and_nothing_else() {
    let tags = ["secret".to_owned()].into();
    let history = |_: &str| Some(failing());
    let view = View { at: Some(second(NOW)), tags: &tags, history: &history, disclosed: false, ..View::default() };
    // It was not made anonymous before: the page has to do it.
    let body = seen(&sample(&ALL), &view);
    let document = Document::parse(&body).expect("it is well formed");
    for hidden in ["check.0", "Check 0", "it was", "secret", "took", "since"] {
        assert!(!body.contains(hidden), "{hidden} stands in {body}");
    }
    let main = document.descendants().find(|node| node.has_tag_name("main")).expect("there is one");
    let expected = "✗ fail 1 ! error 1 ? unexpected success 1 △ warn 1 ✓ pass 1 – skip 1 ≈ expected failure 1";
    assert_eq!(text(main), expected);
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
    let check = classed(&document, "check")[0];
    assert!(check.attribute("data-id").is_some_and(|id| id.starts_with("a \"q\" 'q' <b>")), "{body}");
}

/// What a browser hashes is exactly the text between the tags.
#[test]
fn the_policy_lets_through_what_the_page_holds_and_nothing_else() {
    let page = written(&FORMAT, &sample(&ALL));
    let between = |start: &str, end: &str| {
        let (_, rest) = page.split_once(start).expect("it begins");
        rest.split_once(end).expect("it ends").0
    };
    let hash = |text: &str| base64::prelude::BASE64_STANDARD.encode(Sha256::digest(text));
    let style = format!("; style-src 'sha256-{}'; ", hash(between("<style>", "</style>")));
    let script = format!("; script-src 'sha256-{}'; ", hash(between("<script type=\"module\">", "</script>")));
    let policy = headers()[0].1;
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(policy.contains(&style) && policy.contains(&script), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    assert_eq!((page.matches("<style").count(), page.matches("<script").count()), (1, 1));
    assert!(!page.contains(" style=") && !page.contains(" onclick="), "{page}");
}

/// WCAG 2.2, 1.4.3: 4.5 to 1 for all text, on each background, in light and in dark mode.
#[test]
fn every_colour_of_text_has_enough_contrast() {
    let (day, night) = Page::STYLE.split_once("@media (prefers-color-scheme: dark)").expect("there is a night");
    let night = night.split_once("\n}").expect("it ends").0;
    for (scheme, style) in [("day", day), ("night", night)] {
        let colours: Vec<_> = style.split("--").skip(1).filter_map(|rest| rest.split_once(": #")).collect();
        let colour = |name: &str| {
            let found = colours.iter().find(|(other, _)| *other == name).unwrap_or_else(|| panic!("no --{name}"));
            luminance(&found.1[..6])
        };
        for name in ["text", "muted", "link"].into_iter().chain(ALL.map(Status::word)) {
            for ground in ["ground", "sheet"] {
                let (text, ground_colour) = (colour(name), colour(ground));
                let contrast = (text.max(ground_colour) + 0.05) / (text.min(ground_colour) + 0.05);
                assert!(contrast >= 4.5, "--{name} on --{ground} by {scheme}: {contrast:.2}");
            }
        }
    }
}

/// The relative luminance of `rrggbb` according to WCAG 2.2.
fn luminance(colour: &str) -> f64 {
    let channel = |at: usize| {
        let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).expect("two digits")) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
}

#[test]
fn the_luminance_is_that_of_the_standard() {
    assert_eq!((luminance("000000"), luminance("ffffff")), (0.0, 1.0));
    assert!((luminance("777777") - 0.1845).abs() < 0.0005);
}

/// `prefers-reduced-motion` has nothing to reduce, and nothing is fetched from elsewhere.
#[test]
fn nothing_moves_and_nothing_is_fetched() {
    for word in ["transition", "animation", "@import", "url("] {
        assert!(!Page::STYLE.contains(word), "{word}");
    }
    let page = written(&FORMAT, &sample(&ALL)).replace("xmlns='http://www.w3.org/2000/svg'", "");
    for word in ["http:", "https:", "src=\"", "//cdn"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn it_says_when_a_check_runs_next_and_marks_what_is_flapping_or_speaks_against_its_status() {
    let mut report = sample(&[Status::Pass, Status::Fail]);
    let every = Duration::from_secs(90);
    for outcome in &mut report.outcomes {
        let check = std::sync::Arc::get_mut(&mut outcome.check).expect("not shared");
        check.schedule = Some(Schedule { every, fall: 1, rise: 1 });
        outcome.age = Duration::from_millis(8300);
    }
    let facts = |next: Option<Duration>| {
        let (next_run, is_flapping) = (move |_: &Check| next, |check: &Check| check.id == "check.1");
        let body = seen(&report, &View { next_run: &next_run, is_flapping: &is_flapping, ..View::default() });
        let document = Document::parse(&body).expect("it is well formed");
        classed(&document, "check").into_iter().map(text).collect::<Vec<_>>()
    };
    for (next, said) in [(4000, "8s ago, next in 4s"), (250, "8s ago, next in 250ms"), (0, "8s ago, due now")] {
        let facts = facts(Some(Duration::from_millis(next)));
        assert_eq!(facts[1], format!("✓ pass Check 0. check.0 took 1.0 ms {said}, every 1m 30s"));
        assert!(facts[0].starts_with("✗ fail ⇅, flapping Check 1."), "{facts:?}");
    }
    assert_eq!(facts(None)[1], "✓ pass Check 0. check.0 took 1.0 ms", "nobody keeps a schedule there");
    let streak = Some(Streak { runs: 2, of: 3, is_bad: true });
    report.outcomes[0].judgement = Some(Box::new(Judgement { streak, ..Judgement::default() }));
    let body = seen(&report, &View::default());
    let document = Document::parse(&body).expect("it is well formed");
    let facts: Vec<_> = classed(&document, "check").into_iter().map(text).collect();
    assert!(facts[1].starts_with("✓ pass 2/3, 2 of 3 failures Check 0."), "{facts:?}");
}
