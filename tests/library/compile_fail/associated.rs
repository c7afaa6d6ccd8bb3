use hospital::healthcheck;

struct Shop;

impl Shop {
    #[healthcheck]
    fn associated() {}

    fn other() {}
}

fn main() {}
