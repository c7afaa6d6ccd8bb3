use hospital::healthcheck;

#[healthcheck(retries = 3)]
fn unknown() {}

#[healthcheck("readiness")]
fn nameless() {}

#[healthcheck(timeout = "1s", blocking = false, timeout = "2s")]
fn doubled() {}

#[healthcheck(title)]
fn without_a_value() {}

#[healthcheck(timeout = "1s" blocking = false)]
fn without_a_comma() {}

#[healthcheck(timeout = "soon")]
fn no_duration() {}

#[healthcheck(timeout = "2")]
fn no_unit() {}

#[healthcheck(timeout = "0s")]
fn no_time() {}

#[healthcheck(timeout = "101years")]
fn no_end() {}

#[healthcheck(timeout = 2)]
fn no_text() {}

#[healthcheck(tags = "readiness")]
fn no_list() {}

#[healthcheck(tags = [readiness])]
fn no_words() {}

#[healthcheck(tags = ["two words"])]
fn two_words() {}

#[healthcheck(title = " ")]
fn no_title() {}

#[healthcheck(expect = "fail")]
fn bad_expectation() {}

#[healthcheck(blocking = "no")]
fn no_truth() {}

fn main() {}
