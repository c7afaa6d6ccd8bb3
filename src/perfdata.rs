//! Figures that a check measured, in the terms of the Nagios plugins' performance data.

/// One figure: `'label'=value[unit];[warn];[crit];[min];[max]`.
///
/// Source of the format: the Monitoring Plugins Development Guidelines, "Performance data".
#[derive(Clone, Debug, PartialEq)]
pub struct Perfdata {
    /// What was measured.
    pub label: String,
    /// How much it was, in `unit`.
    pub value: f64,
    /// `s`, `%`, `B` (also KB, MB, …), `c` for a counter, or nothing.
    pub unit: String,
}
