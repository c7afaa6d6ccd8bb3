//! Tries the fuzzer's seeds and its findings each time.

#[path = "../../fuzz/src/connection.rs"]
#[allow(unreachable_pub)]
mod connection;
#[path = "../../fuzz/src/names.rs"]
#[allow(unreachable_pub)]
mod names;
#[path = "../../fuzz/src/record.rs"]
#[allow(unreachable_pub)]
mod record;
#[path = "../../fuzz/src/route.rs"]
#[allow(unreachable_pub)]
mod route;

use std::fs;
use std::path::Path;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let seeds = fs::read_dir(folder).expect("each target has seeds");
    seeds.map(|seed| fs::read(seed.expect("it is listed").path()).expect("it can be read")).collect()
}

#[test]
fn the_seeds_of_the_connection_hold() {
    let seeds = corpus("connection");
    assert!(seeds.len() >= 10);
    for seed in seeds {
        for cut in 0..32 {
            connection::talk(&[&[cut], &seed[1..]].concat());
        }
    }
}

#[test]
fn the_seeds_of_names_and_files_tell_no_secret() {
    let seeds = corpus("names");
    assert!(seeds.len() >= 10);
    for seed in seeds {
        // Each as it is, and cut off at each place.
        for end in 1..=seed.len() {
            names::tell(&seed[..end]);
        }
    }
}

#[test]
fn the_seeds_of_records_harm_nobody() {
    let seeds = corpus("record");
    assert!(seeds.len() >= 10);
    for seed in seeds {
        for end in 1..=seed.len() {
            record::read(&seed[..end]);
        }
    }
}

#[test]
fn the_seeds_of_the_router_hold() {
    let seeds = corpus("route");
    assert!(seeds.len() >= 10);
    for seed in seeds {
        for choice in 0..12 {
            route::find(&[&[choice], &seed[1..]].concat());
        }
    }
}
