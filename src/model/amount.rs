//! Amounts as people write them: `10%`, `5GiB`, `200MB`, `1000`.

use std::cmp::Ordering;
use std::fmt;

/// How much of something there must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// A share of the whole, from 0 to 100.
    Percent(f64),
    /// A number of bytes.
    Bytes(u64),
    /// A number of things.
    Count(u64),
}

/// Each unit of bytes: powers of 1000 by the SI, powers of 1024 by IEC 80000-13.
const UNITS: [(&str, u64); 11] = [
    ("", 1),
    ("B", 1),
    ("kB", 1000),
    ("MB", 1000 * 1000),
    ("GB", 1000 * 1000 * 1000),
    ("TB", 1000 * 1000 * 1000 * 1000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
];

impl Amount {
    /// Reads a share or a number of bytes. A bare number may be meant as either, and is refused.
    ///
    /// # Errors
    ///
    /// What may be written instead.
    pub fn of_bytes(text: &str) -> Result<Amount, String> {
        match text.ends_with('%') {
            true => percentage(text).map(Amount::Percent),
            false if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
                Err(format!("write {text}% for a share, or {text}B for a size"))
            }
            false => size(text).map(Amount::Bytes),
        }
    }

    /// Reads a share or a number of things. A number that may be meant as a share is refused.
    ///
    /// # Errors
    ///
    /// What may be written instead.
    pub fn of_things(text: &str) -> Result<Amount, String> {
        match text.parse::<u64>() {
            _ if text.ends_with('%') => percentage(text).map(Amount::Percent),
            Ok(count @ (0 | 101..)) => Ok(Amount::Count(count)),
            Ok(1..=100) => Err(format!("write {text}% for a share; a number is more than 100")),
            Err(_) => Err("write a share or a number, as in 5% or 1000".to_owned()),
        }
    }

    /// Whether `part` of `whole` is at least this much.
    pub fn is_reached_by(self, part: u64, whole: u64) -> bool {
        match self {
            Amount::Percent(percent) => share(part, whole) >= percent,
            Amount::Bytes(least) | Amount::Count(least) => part >= least,
        }
    }
}

impl PartialOrd for Amount {
    /// Amounts in different units cannot be compared.
    fn partial_cmp(&self, other: &Amount) -> Option<Ordering> {
        match (self, other) {
            (Amount::Percent(one), Amount::Percent(other)) => one.partial_cmp(other),
            (Amount::Bytes(one), Amount::Bytes(other)) | (Amount::Count(one), Amount::Count(other)) => {
                Some(one.cmp(other))
            }
            (Amount::Percent(_) | Amount::Bytes(_) | Amount::Count(_), _) => None,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Percent(percent) => write!(f, "{percent}%"),
            Amount::Bytes(bytes) => f.write_str(&spoken(*bytes)),
            Amount::Count(count) => write!(f, "{count}"),
        }
    }
}

/// What percentage of `whole` `part` is. All of nothing is 100 %.
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 100.0 } else { part as f64 / whole as f64 * 100.0 }
}

/// What percentage of `whole` is used when `free` is free, to two decimals, for people.
pub(crate) fn used(free: u64, whole: u64) -> f64 {
    ((100.0 - share(free, whole)) * 100.0).round() / 100.0
}

/// Reads a number of bytes: `1000`, `5GiB`, `1.5 MB`. The case of a unit does not matter.
///
/// # Errors
///
/// What may be written instead.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong =
        || "write a size as 5GiB, 200MB or 1000; the units are B, kB, MB, GB, TB, KiB, MiB, GiB, TiB, PiB".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim_start());
    let (_, factor) = UNITS.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(wrong)?;
    // A whole number is not read as a float, which would lose bytes from 2^53 on.
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(|| "it is more than 16 EiB".to_owned());
    }
    match number.parse::<f64>() {
        Ok(number) if number * (factor as f64) < u64::MAX as f64 => Ok((number * factor as f64).round() as u64),
        Ok(_) => Err("it is more than 16 EiB".to_owned()),
        Err(_) => Err(wrong()),
    }
}

/// Reads a share, as in `10%`.
///
/// # Errors
///
/// What may be written instead.
pub(crate) fn percentage(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok());
    let percent = number.filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| "write a percentage from 0% to 100%".to_owned())
}

/// A number of bytes as a person says it.
pub(crate) fn spoken(bytes: u64) -> String {
    const BINARY: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut name = None;
    for unit in BINARY {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        name = Some(unit);
    }
    match name {
        None => format!("{bytes} B"),
        Some(unit) => format!("{} {unit}", (value * 10.0).round() / 10.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_have_si_and_binary_units() {
        for (text, bytes) in [
            ("0", 0),
            ("1000", 1000),
            ("5B", 5),
            ("5kB", 5000),
            ("5KB", 5000),
            ("5KiB", 5120),
            ("5gib", 5 << 30),
            ("1.5 MiB", 3 << 19),
            ("0.5TB", 500_000_000_000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GiB", "-1", "5G", "5 parsecs", "1e3", "1.2.3MB", "5GiBs", "99999PiB", "99999.5PiB", "5MB%"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_go_from_0_to_100() {
        assert_eq!(Amount::of_bytes("10%"), Ok(Amount::Percent(10.0)));
        assert_eq!(Amount::of_bytes("0.5 %"), Ok(Amount::Percent(0.5)));
        assert_eq!(Amount::of_bytes("10B"), Ok(Amount::Bytes(10)));
        assert_eq!(Amount::of_things("1000"), Ok(Amount::Count(1000)));
        for text in ["%", "-1%", "101%", "NaN%", "ten%", "10%%"] {
            assert!(Amount::of_bytes(text).is_err(), "{text}");
        }
        assert!(Amount::of_things("5GiB").is_err());
    }

    #[test]
    fn a_number_that_may_be_a_share_is_refused_with_both_spellings() {
        for (text, expected) in [
            ("20", "write 20% for a share, or 20B for a size"),
            ("0.99", "write 0.99% for a share, or 0.99B for a size"),
            ("1073741824", "write 1073741824% for a share, or 1073741824B for a size"),
        ] {
            assert_eq!(Amount::of_bytes(text), Err(expected.to_owned()));
        }
        for text in ["1", "20", "100"] {
            let expected = format!("write {text}% for a share; a number is more than 100");
            assert_eq!(Amount::of_things(text), Err(expected));
        }
    }

    #[test]
    fn an_amount_is_reached_at_exactly_that_much() {
        assert!(Amount::Percent(10.0).is_reached_by(10, 100));
        assert!(!Amount::Percent(10.0).is_reached_by(9, 100));
        assert!(Amount::Bytes(5).is_reached_by(5, 100));
        assert!(!Amount::Count(5).is_reached_by(4, 100));
        assert!(Amount::Percent(5.0).is_reached_by(0, 0), "there is no whole to run out of");
    }

    #[test]
    fn bytes_are_said_in_a_unit_that_fits() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5 GiB"), (u64::MAX, "16 EiB")]
        {
            assert_eq!(spoken(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".*") {
            let _ = (Amount::of_bytes(&text), Amount::of_things(&text));
        }

        #[test]
        fn a_unit_multiplies(number in 0..1_000_000u64, (unit, factor) in proptest::sample::select(&UNITS[..])) {
            prop_assert_eq!(size(&format!("{number}{unit}")).ok(), number.checked_mul(factor));
            prop_assert_eq!(size(&format!("{number}.0{unit}")).is_ok(), number.checked_mul(factor).is_some());
        }

        #[test]
        fn more_is_never_worse(amount in prop_oneof![(0.0..=100.0).prop_map(Amount::Percent), any::<u64>().prop_map(Amount::Bytes)],
                               whole in 1..u64::MAX, a: u64, b: u64) {
            let (less, more) = (a.min(b) % whole, a.max(b) % whole);
            let (less, more) = (less.min(more), less.max(more));
            prop_assert!(!amount.is_reached_by(less, whole) || amount.is_reached_by(more, whole));
        }

        #[test]
        fn a_percentage_is_read_as_it_is_shown(percent in 0.0..=100.0f64) {
            let amount = Amount::Percent(percent);
            prop_assert_eq!(Amount::of_bytes(&amount.to_string()), Ok(amount));
        }
    }
}
