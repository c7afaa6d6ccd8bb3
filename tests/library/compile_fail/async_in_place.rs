use hospital::healthcheck;

#[healthcheck(blocking = false)]
async fn in_place() {}

fn main() {}
