//! The rules for Prometheus that `deploy/` ships do what they say, according to `promtool test rules`: each alert fires
//! for its reason, after its time, and not before.

use std::process::Command;

use crate::harness::family::deployed;
use crate::harness::once::run;

/// What is scraped, one sample a minute, and what the rules make of it.
const STORY: &str = r#"
rule_files: [hospital.rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'up{job="hospital", instance="a"}', values: '1x30'}
      - {series: 'up{job="hospital", instance="b"}', values: '1x5 0x25'}
      - {series: 'hospital_check_success{job="hospital", instance="a", check="db"}', values: '1x10 0x20'}
      - {series: 'hospital_check_success{job="hospital", instance="a", check="disk"}', values: '1x30'}
      - {series: 'hospital_check_success{job="hospital", instance="b", check="db"}', values: '1x30'}
      # Run every minute; and once, at the start.
      - {series: 'hospital_check_last_run_timestamp_seconds{job="hospital", instance="a", check="db"}', values: '0+60x30'}
      - {series: 'hospital_check_last_run_timestamp_seconds{job="hospital", instance="a", check="disk"}', values: '0x30'}
      # One is a mishap, one a minute is a fault.
      - {series: 'hospital_worker_restarts_total{job="hospital", instance="a", cause="crash"}', values: '0x5 1x25'}
      - {series: 'hospital_worker_restarts_total{job="hospital", instance="b", cause="hang"}', values: '0x5 1+1x25'}
      - {series: 'hospital_worker_restarts_total{job="hospital", instance="b", cause="reload"}', values: '0+4x30'}
      - {series: 'hospital_config_last_reload_successful{job="hospital", instance="a"}', values: '1x20 0x10'}
      - {series: 'hospital_requests_total{job="hospital", instance="a", route="checks"}', values: '0+60x30'}
      - {series: 'hospital_requests_total{job="hospital", instance="a", route="livez"}', values: '0+120x30'}
    alert_rule_test:
      - {alertname: HealthcheckBad, eval_time: 12m, exp_alerts: []}
      - alertname: HealthcheckBad
        eval_time: 13m
        exp_alerts:
          - exp_labels: {job: hospital, instance: a, check: db}
            exp_annotations: {summary: "db is not well at a"}
      - {alertname: HealthcheckNotRun, eval_time: 10m, exp_alerts: []}
      - alertname: HealthcheckNotRun
        eval_time: 11m
        exp_alerts:
          - exp_labels: {job: hospital, instance: a, check: disk}
            exp_annotations: {summary: "nobody has asked for disk at a for ten minutes"}
      - {alertname: HospitalDown, eval_time: 7m, exp_alerts: []}
      - alertname: HospitalDown
        eval_time: 8m
        exp_alerts:
          - exp_labels: {job: hospital, instance: b}
            exp_annotations: {summary: "hospital at b does not answer"}
      - {alertname: HospitalWorkersDie, eval_time: 5m, exp_alerts: []}
      - alertname: HospitalWorkersDie
        eval_time: 15m
        exp_alerts:
          - exp_labels: {job: hospital, instance: b, cause: hang}
            exp_annotations: {summary: "workers of hospital at b had to be replaced: hang"}
      - {alertname: HospitalReloadRefused, eval_time: 20m, exp_alerts: []}
      - alertname: HospitalReloadRefused
        eval_time: 21m
        exp_alerts:
          - exp_labels: {job: hospital, instance: a}
            exp_annotations:
              summary: "the last configuration of hospital at a is not in force: its log says why"
    promql_expr_test:
      - expr: check:hospital_check_success:avg
        eval_time: 11m
        exp_samples:
          - {labels: 'check:hospital_check_success:avg{job="hospital", check="db"}', value: 0.5}
          - {labels: 'check:hospital_check_success:avg{job="hospital", check="disk"}', value: 1}
      - expr: instance:hospital_checks_bad:sum
        eval_time: 11m
        exp_samples:
          - {labels: 'instance:hospital_checks_bad:sum{job="hospital", instance="a"}', value: 1}
          - {labels: 'instance:hospital_checks_bad:sum{job="hospital", instance="b"}', value: 0}
      - expr: instance:hospital_requests:rate5m
        eval_time: 10m
        exp_samples:
          - {labels: 'instance:hospital_requests:rate5m{job="hospital", instance="a"}', value: 3}
"#;

#[test]
#[ignore = "needs promtool"]
fn each_rule_does_what_it_says() {
    let directory = tempfile::tempdir().expect("there is room");
    let rules = deployed("prometheus/hospital.rules.yml", &[]);
    // Every rule must appear in the story.
    let names = rules.lines().filter_map(|line| line.trim().strip_prefix("- ")?.split_once(": "));
    for (_, name) in names.filter(|(kind, _)| ["alert", "record"].contains(kind)) {
        assert!(STORY.contains(name), "{name} is not tested");
    }
    for (name, text) in [("hospital.rules.yml", rules.as_str()), ("story.yml", STORY)] {
        std::fs::write(directory.path().join(name), text).expect("the directory is ours");
    }
    let mut promtool = Command::new("promtool");
    promtool.args(["test", "rules", "story.yml"]).current_dir(directory.path());
    let told = run(promtool);
    assert_eq!(told.code, Some(0), "{}{}", told.stdout, told.stderr);
}

#[test]
#[ignore = "needs promtool"]
fn promtool_takes_the_configuration() {
    let directory = tempfile::tempdir().expect("there is room");
    for name in ["prometheus.yml", "hospital.rules.yml"] {
        let text = deployed(&format!("prometheus/{name}"), &[]);
        std::fs::write(directory.path().join(name), text).expect("the directory is ours");
    }
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "config", "prometheus.yml"]).current_dir(directory.path());
    let told = run(promtool);
    assert_eq!(told.code, Some(0), "{}{}", told.stdout, told.stderr);
    assert!(told.stdout.contains("rules found"), "{}", told.stdout);
}
