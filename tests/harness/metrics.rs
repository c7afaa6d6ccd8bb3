//! The samples in `/metrics`, as a scraper reads them.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Server, eventually, get};

/// Each sample by its name and labels.
pub(crate) type Samples = BTreeMap<String, f64>;

#[track_caller]
pub(crate) fn samples(text: &str) -> Samples {
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?} is not a sample"));
        (series.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line:?} has no value")))
    };
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let samples: Samples = lines.iter().map(|line| sample(line)).collect();
    assert_eq!(samples.len(), lines.len(), "a series stands there twice: {text}");
    samples
}

#[track_caller]
pub(crate) fn scrape(server: &Server) -> Samples {
    let answer = get(&server.at, "/metrics");
    assert_eq!(answer.status, 200, "{}", answer.body);
    samples(&answer.body)
}

/// Waits until a series has this value.
#[track_caller]
pub(crate) fn shows(server: &Server, series: &str, value: f64) {
    eventually(&format!("{series} is {value}"), || scrape(server).get(series) == Some(&value));
}

/// A check that runs until this file exists.
pub(crate) fn gated(gate: &Path) -> String {
    let wait = format!("while%20[%20!%20-e%20{}%20];%20do%20sleep%200.01;%20done", gate.display());
    format!("gated=exec:/bin/sh#args=-c&args={wait}&timeout=60s")
}

pub(crate) fn open(gate: &Path) {
    std::fs::write(gate, "").expect("the directory is ours");
}
