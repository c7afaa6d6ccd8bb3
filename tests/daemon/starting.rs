//! `grace` and `/startupz`: what is wrong with a check does not count until it has passed once.

use std::fs;

use crate::harness::site::{Site, Way};
use crate::harness::*;

#[test]
fn a_start_is_over_once_any_worker_has_seen_it_pass_and_stays_so() {
    let site = Site::open(Way::Tcp, &[]);
    let marker = site.family.path("marker");
    site.write_env(&format!("HEALTHCHECKS=db=file:{}#grace=1h\n", marker.display()));
    // A worker of the old generation may take a last connection.
    let former = site.family.workers_of(site.master());
    site.reload();
    site.family.expect_new_workers(site.master(), &former);

    let answer = get(&site.at, "/");
    let detail = &answer.json()["details"][0];
    assert_eq!((answer.status, detail["status"].as_str()), (200, Some("skip")), "{}", answer.body);
    assert!(detail["context"].as_str().is_some_and(|context| context.starts_with("starting, for 1h at most: ")));
    let answer = get(&site.at, "/startupz");
    let failed = "[-]db failed: reason withheld\nstartupz check failed\n";
    assert_eq!((answer.status, answer.body.as_str()), (503, failed));
    assert_eq!(get(&site.at, "/readyz").status, 200, "what is starting does not count");

    // A probe of the start may be the only one: it runs what has to pass.
    fs::write(&marker, "").expect("the directory is ours");
    let has_started = || {
        let answer = get(&site.at, "/startupz");
        assert_eq!((answer.status, answer.body.as_str()), (200, "startupz check passed\n"));
    };
    has_started();
    fs::remove_file(&marker).expect("it was there");
    let counts = || {
        let answer = get(&site.at, "/");
        assert_eq!((answer.status, answer.json()["details"][0]["status"].as_str()), (500, Some("fail")));
        has_started();
    };
    counts();
    let master = site.master();
    let before = site.family.workers_of(master);
    before.iter().for_each(|&pid| send(pid, Signal::SIGKILL));
    site.family.expect_new_workers(master, &before);
    counts();
    site.reload();
    counts();
    site.upgrade();
    counts();
}

#[test]
fn without_a_grace_everything_has_started() {
    let server = Launch::serve(["-w", "1"]).env("HEALTHCHECKS", "db=file:/no/such").start();
    assert_eq!((get(&server.at, "/").status, get(&server.at, "/startupz").status), (500, 200));
    assert_eq!(get(&server.at, "/startupz?tag=nothing").status, 404);
}

#[test]
fn a_grace_that_is_over_excuses_nothing() {
    let server = Launch::serve(["-w", "2"]).env("HEALTHCHECKS", "db=file:/no/such#grace=1s").start();
    eventually("its time is over", || get(&server.at, "/startupz").status == 200);
    assert_eq!(get(&server.at, "/").status, 500);
}

#[test]
fn a_grace_that_hides_too_much_is_refused() {
    for (grace, why) in
        [("1y", "write 1day at most"), ("0", "write more than 0, or leave it out"), ("soon", "write a time")]
    {
        let (code, error) = refused(&[], &[("HEALTHCHECKS", &format!("db=file:/no/such#grace={grace}"))]);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains("option grace: ") && error.contains(why), "{error}");
    }
}
