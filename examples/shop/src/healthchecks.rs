//! What must be in order for the shop to sell. Variables stand in for what a real shop would look at.

use std::env;
use std::num::ParseIntError;

use hospital::healthcheck;

/// There is something to sell.
///
/// Fails when SHOP_STOCK is 0; it is an error when that is not a number, as the check cannot tell then.
#[healthcheck(tags = ["readiness"], blocking = false)]
fn stock() -> hospital::Result {
    let items = number("SHOP_STOCK", 12)?;
    hospital::ensure!(items > 0, "expected something to sell, got {items} items");
    Ok(())
}

/// Orders are priced.
///
/// Panics in the program's own code when SHOP_DISCOUNT is more than 100.
#[healthcheck(timeout = "1s")]
fn prices() -> Result<(), ParseIntError> {
    assert_eq!(crate::price(&[0], number("SHOP_DISCOUNT", 10)?), 0, "the price of nothing");
    Ok(())
}

/// The payment provider can be reached.
#[healthcheck(timeout = "2s", tags = ["readiness", "payment"])]
fn payment() -> hospital::Result {
    let Ok(provider) = env::var("SHOP_PAYMENT") else {
        hospital::skip!("no provider is configured: set SHOP_PAYMENT=HOST:PORT");
    };
    hospital::checks::tcp::assert_tcp(&provider)
}

// A doc comment would say what holds; this title says what must not.
#[healthcheck(title = "Orders are still taken by fax.", expect = "failure", blocking = false)]
fn fax() {
    assert!(env::var_os("SHOP_FAX").is_some(), "nobody answers the fax");
}

fn number(variable: &str, otherwise: u64) -> Result<u64, ParseIntError> {
    env::var(variable).map_or(Ok(otherwise), |text| text.parse())
}
