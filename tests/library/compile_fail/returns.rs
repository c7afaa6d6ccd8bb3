use hospital::healthcheck;

#[healthcheck]
fn a_number() -> u32 {
    0
}

#[healthcheck]
fn a_result_with_a_value() -> hospital::Result<u32> {
    Ok(0)
}

struct NoError;

#[healthcheck]
fn a_result_with_no_error() -> Result<(), NoError> {
    Ok(())
}

#[healthcheck]
fn anything() -> impl Sized {}

fn main() {}
