//! The endpoint as its clients see it, polite and rude ones.

mod support;

use support::*;

#[test]
fn a_report_that_passes_is_200_with_the_json_of_the_manual() {
    let server = Server::start(["-w", "2"]);
    assert_eq!(server.workers().len(), 2);
    let answer = get(&server.at, "/");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(
        answer.body,
        r#"{
    "status": "pass",
    "details": [
        {
            "test": "Health checks are collected.",
            "status": "pass"
        }
    ],
    "summary": {
        "skip": 0,
        "pass": 1,
        "expected_failure": 0,
        "error": 0,
        "fail": 0,
        "total": 1,
        "unexpected_success": 0
    }
}
"#
    );
}
