//! How the cost of a round with its report grows with the suite, compared with that of the report's text alone.
//!
//!     cargo bench --bench growth
//!
//! For each size, the two are measured alternately. The result is the exponent of the power law that fits the medians:
//! 1 when twice as many checks cost twice as much. Exits with 1 if it exceeds its target.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hospital::model::check::{Check, Finding};
use hospital::model::report::Report;
use hospital::model::suite::Suite;
use hospital::render::json;
use hospital::round::Runner;

const SIZES: [u32; 5] = [1, 10, 100, 1_000, 10_000];
const SAMPLES: usize = 31;
const TARGET: f64 = 1.1;

fn main() -> ExitCode {
    println!("{:>7}  {:>15}  {:>15}", "checks", "rendering alone", "the whole");
    let costs = SIZES.map(|size| {
        let (alone, whole) = costs(size);
        println!("{size:>7}  {alone:>12.0} ns  {whole:>12.0} ns");
        (alone, whole)
    });
    let alone = exponent(costs.map(|(alone, _)| alone));
    let whole = exponent(costs.map(|(_, whole)| whole));
    let ratio = whole / alone;
    println!(
        "1 to 10000 inline checks: n^{whole:.3} beside n^{alone:.3}, ratio {ratio:.3}, target at most {TARGET:.2}"
    );
    ExitCode::from(u8::from(ratio > TARGET))
}

/// The medians, in nanoseconds, for a suite of this size.
fn costs(size: u32) -> (f64, f64) {
    let inline = |n| Arc::new(Check::new(format!("c{n}"), |_| Finding::PASS).in_place());
    let suite: Suite = (0..size).map(inline).collect();
    let mut runner = Runner::new(|| {});
    let mut run = || {
        let now = Instant::now();
        runner.begin(suite.clone(), Duration::from_secs(60), now).into_report(now)
    };
    let report = run();
    let mut out = Vec::new();
    let mut render = |report: &Report| {
        out.clear();
        json::report(report, &mut out);
    };
    // A slice has as many checks whatever the size, so that the clock does not matter.
    let repeated = SIZES[SIZES.len() - 1] / size;
    let time = |action: &mut dyn FnMut()| {
        let began = Instant::now();
        (0..repeated).for_each(|_| action());
        began.elapsed().as_secs_f64() * 1e9 / f64::from(repeated)
    };
    let (mut alone, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        alone.push(time(&mut || render(&report)));
        whole.push(time(&mut || render(&run())));
    }
    (median(alone), median(whole))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The slope, by least squares, of the line through the logarithms.
fn exponent(costs: [f64; SIZES.len()]) -> f64 {
    let points = SIZES.map(f64::from).map(f64::ln).into_iter().zip(costs.map(f64::ln));
    let count = SIZES.len() as f64;
    let (x, y) = points.clone().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let products: f64 = points.clone().map(|point| (point.0 - x) * (point.1 - y)).sum();
    products / points.map(|point| (point.0 - x).powi(2)).sum::<f64>()
}
