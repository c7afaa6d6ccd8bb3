//! The dashboard for Grafana shows metrics that exist, with expressions that Prometheus understands.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::harness::family::deployed;
use crate::harness::once::run;
use crate::harness::{Server, get};
use regex_lite::Regex;
use serde_json::Value;

/// The expressions of all panels.
#[track_caller]
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&deployed("grafana/hospital.json", &[])).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("each shows something"));
    targets.map(|target| target["expr"].as_str().expect("each asks something").to_owned()).collect()
}

/// The labels of each metric that a server exposes.
#[track_caller]
fn exposed() -> BTreeMap<String, BTreeSet<String>> {
    let server = Server::start([""; 0]);
    assert_eq!(get(&server.at, "/").status, 200);
    let series = Regex::new(r"(?m)^(hospital_\w+)(?:\{(.*)\})? ").expect("it is one");
    let label = Regex::new(r#"(\w+)="#).expect("it is one");
    let body = get(&server.at, "/metrics").body;
    let mut metrics = BTreeMap::<_, BTreeSet<_>>::new();
    for found in series.captures_iter(&body) {
        let labels = found.get(2).map_or("", |labels| labels.as_str());
        let names = label.captures_iter(labels).map(|name| name[1].to_owned());
        metrics.entry(found[1].to_owned()).or_default().extend(names);
    }
    assert!(metrics.len() > 5, "{body}");
    metrics
}

#[test]
fn every_figure_of_the_dashboard_is_exposed_with_the_labels_that_it_asks_for() {
    let metrics = exposed();
    let name = Regex::new(r"hospital_\w+").expect("it is one");
    let selected = Regex::new(r#"(\w+)(?:=~|!=|!~|=)""#).expect("it is one");
    let grouped = Regex::new(r"by \(([^)]*)\)").expect("it is one");
    let mut shown = BTreeSet::new();
    for expression in expressions() {
        let Some(metric) = name.find(&expression) else { continue };
        let labels = metrics.get(metric.as_str()).unwrap_or_else(|| panic!("{} is not exposed", metric.as_str()));
        let asked = selected.captures_iter(&expression).map(|found| found[1].to_owned());
        let by = grouped
            .captures_iter(&expression)
            .flat_map(|found| found[1].split(", ").map(str::to_owned).collect::<Vec<_>>());
        // Prometheus itself adds these two.
        for label in asked.chain(by).filter(|label| !["job", "instance"].contains(&label.as_str())) {
            assert!(labels.contains(&label), "{} has no label {label}: {labels:?}", metric.as_str());
        }
        shown.insert(metric.as_str().to_owned());
    }
    assert!(shown.len() >= 9, "{shown:?}");
}

#[test]
#[ignore = "needs promtool"]
fn prometheus_understands_every_question_of_the_dashboard() {
    let rules: Vec<_> = expressions()
        .iter()
        .enumerate()
        .map(|(number, expression)| {
            // What Grafana inserts.
            let expression =
                expression.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*");
            format!("      - record: panel:{number}\n        expr: |\n          {expression}\n")
        })
        .collect();
    assert!(rules.len() >= 12);
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("rules.yml");
    let text = format!("groups:\n  - name: dashboard\n    rules:\n{}", rules.concat());
    std::fs::write(&path, text).expect("the folder is ours");
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "rules"]).arg(&path);
    let told = run(promtool);
    assert_eq!(told.code, Some(0), "{}{}", told.stdout, told.stderr);
    assert!(told.stdout.contains(&format!("{} rules found", rules.len())), "{}", told.stdout);
}
