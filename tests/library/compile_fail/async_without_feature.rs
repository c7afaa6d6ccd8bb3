use hospital::healthcheck;

#[healthcheck]
async fn asynchronous() {}

fn main() {}
