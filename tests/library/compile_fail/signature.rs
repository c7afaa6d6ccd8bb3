use hospital::healthcheck;

#[healthcheck]
async fn asynchronous() {}

#[healthcheck]
unsafe fn dangerous() {}

#[healthcheck]
extern "C" fn foreign() {}

#[healthcheck]
fn with_arguments(host: &str, port: u16) {}

#[healthcheck]
fn generic<T: Default>() {}

#[healthcheck]
fn conditional()
where
    String: Clone,
{
}

#[healthcheck]
struct Database;

struct Shop;

impl Shop {
    #[healthcheck]
    fn method(&self) {}
}

fn main() {
    with_arguments("callable", 80);
}
