//! A shop. Its own command line is omitted: this is what `hospital` makes of its healthchecks.
//!
//! ```console
//! $ HEALTHCHECKS=shop.healthchecks shop serve -w 4
//! ```
#![forbid(unsafe_code)]

mod healthchecks;

fn main() -> std::process::ExitCode {
    hospital::main()
}

/// The price of an order in cents, with a discount in percent.
fn price(cents: &[u64], discount: u64) -> u64 {
    assert!(discount <= 100, "a discount of {discount} %");
    cents.iter().sum::<u64>() * (100 - discount) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_costs_the_sum_of_its_items() {
        assert_eq!(price(&[250, 1750], 0), 2000);
    }

    #[test]
    #[ignore = "slow: tries every discount"]
    fn a_discount_is_taken_off() {
        assert!((0..=100).all(|discount| price(&[10_000], discount) == 10_000 - 100 * discount));
    }
}
