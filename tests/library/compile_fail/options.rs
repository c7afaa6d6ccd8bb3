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

#[healthcheck(every = "0s")]
fn always() {}

#[healthcheck(every = "2s", timeout = "3s")]
fn too_often() {}

#[healthcheck(every = "1m", fall = 0)]
fn no_fall() {}

#[healthcheck(rise = 2)]
fn nothing_to_count() {}

#[healthcheck(grace = "1year")]
fn never_told() {}

#[healthcheck(grace = 60)]
fn no_quotes() {}

#[healthcheck(needs = "shop.db")]
fn no_list_of_needs() {}

#[healthcheck(on_fail = "skip")]
fn bad_severity() {}

fn main() {}
