//! Figures that a check measured, in the format of the Nagios plugins' performance data.

use std::fmt;

/// One figure: `'label'=value[unit];[warn];[crit];[min];[max]`. The thresholds are dropped: whoever reads the figures
/// elsewhere sets their own.
///
/// Source of the format: the Monitoring Plugins Development Guidelines, "Performance data".
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Perfdata {
    /// What was measured.
    pub label: String,
    /// How much it was, in `unit`.
    pub value: f64,
    /// `s`, `%`, `B` (also KB, MB, …), `c` for a counter, nothing, or whatever a plugin writes, such as `°C`.
    pub unit: String,
}

impl Perfdata {
    /// A figure that we measured ourselves.
    pub fn new(label: &str, value: f64, unit: &str) -> Perfdata {
        Perfdata { label: label.to_owned(), value, unit: unit.to_owned() }
    }
}

impl fmt::Display for Perfdata {
    /// As a plugin prints it. Characters that the guidelines forbid in a label are replaced.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = |c: char| if c == '=' || c == '|' || c.is_control() { '_' } else { c };
        let label: String = self.label.chars().map(allowed).collect();
        write!(f, "'{}'={}{}", label.replace('\'', "''"), self.value, self.unit)
    }
}

/// Splits the output of a plugin into its text, which may have several lines, and its figures.
///
/// Figures follow a `|` in the first line; after a `|` in a later line, all the rest is figures. Malformed ones are
/// ignored, since any program may print a `|`; so is the value `U` (unknown).
pub fn split(output: &str) -> (String, Vec<Perfdata>) {
    let output = output.trim_start();
    let (first, rest) = output.split_once('\n').unwrap_or((output, ""));
    let (line, figures) = first.split_once('|').unwrap_or((first, ""));
    let (more, more_figures) = rest.split_once('|').unwrap_or((rest, ""));
    let text = format!("{}\n{}", line.trim(), more.trim_end());
    (text.trim().to_owned(), [parse(figures), parse(more_figures)].concat())
}

/// Reads figures separated by white space.
fn parse(text: &str) -> Vec<Perfdata> {
    let mut figures = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (figure, after) = match label(rest) {
            Some((label, after)) => {
                let (value, after) = word(after);
                (figure(label, value), after)
            }
            None => (None, word(rest).1),
        };
        figures.extend(figure);
        rest = after.trim_start();
    }
    figures
}

/// The label at the beginning of the text, and what follows its `=`.
fn label(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('\'') else {
        let (label, rest) = text.split_once('=')?;
        return (!label.is_empty() && !label.contains(char::is_whitespace)).then(|| (label.to_owned(), rest));
    };
    // Inside quotes, a quote is doubled.
    let mut label = String::new();
    loop {
        let (part, after) = rest.split_once('\'')?;
        label.push_str(part);
        match after.strip_prefix('\'') {
            Some(after) => {
                label.push('\'');
                rest = after;
            }
            None => return after.strip_prefix('=').filter(|_| !label.is_empty()).map(|after| (label, after)),
        }
    }
}

fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

/// Reads `value[unit]`; thresholds may follow and are ignored.
fn figure(label: String, text: &str) -> Option<Perfdata> {
    let text = text.split(';').next().unwrap_or_default();
    let (value, unit) = text.split_at(number_length(text));
    let value = value.parse().ok().filter(|value: &f64| value.is_finite())?;
    // Neither `U`, nor a time of day, nor a decimal comma is a number with a unit; `°C` and `MB/s` are.
    let is_unit = |c: char| c.is_alphabetic() || !c.is_ascii() || "%/^*".contains(c);
    unit.chars().all(is_unit).then(|| Perfdata { label, value, unit: unit.to_owned() })
}

/// The length of the number at the beginning of the text: `-12`, `1.5`, `2e-05`.
fn number_length(text: &str) -> usize {
    let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let sign = |text: &str| usize::from(text.starts_with(['-', '+']));
    let start = sign(text);
    let mantissa = start + digits(&text[start..]);
    if let Some(exponent) = text[mantissa..].strip_prefix(['e', 'E']) {
        let signed = sign(exponent);
        let length = digits(&exponent[signed..]);
        if length > 0 {
            return mantissa + 1 + signed + length;
        }
    }
    mantissa
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn figures(output: &str) -> Vec<(String, f64, String)> {
        split(output).1.into_iter().map(|figure| (figure.label, figure.value, figure.unit)).collect()
    }

    fn triple(label: &str, value: f64, unit: &str) -> (String, f64, String) {
        (label.to_owned(), value, unit.to_owned())
    }

    #[test]
    fn the_output_of_real_plugins_is_read() {
        let load =
            "LOAD OK - total load average: 0.31, 0.42, 0.37|load1=0.310;15.000;30.000;0; load5=0.420;10.000;25.000;0;";
        assert_eq!(split(load).0, "LOAD OK - total load average: 0.31, 0.42, 0.37");
        assert_eq!(figures(load), [triple("load1", 0.31, ""), triple("load5", 0.42, "")]);
        let http = "HTTP OK: HTTP/1.1 200 OK - 144 bytes in 0.001 second response time |time=0.000735s;;;0.000000;10.000000 size=144B;;;0";
        assert_eq!(figures(http), [triple("time", 0.000735, "s"), triple("size", 144.0, "B")]);
        let disk = "DISK OK - free space: / 1234 MiB (95% inode=99%);| /=70MiB;1000;1200;0;1304";
        assert_eq!(figures(disk), [triple("/", 70.0, "MiB")]);
    }

    #[test]
    fn figures_in_degrees_and_in_megabytes_a_second_are_kept() {
        let output = "OK|core=41.5°C;70;80 read=12MB/s;;;0 area=2m²;5 power=3µW";
        let expected = [
            triple("core", 41.5, "°C"),
            triple("read", 12.0, "MB/s"),
            triple("area", 2.0, "m²"),
            triple("power", 3.0, "µW"),
        ];
        assert_eq!(figures(output), expected);
    }

    #[test]
    fn later_lines_have_figures_too() {
        let output = "DISK OK - / | /=2643MB;5948;5958;0;5968\n/ 15272 MB (77%);\n/boot 68 MB (69%); | /boot=68MB;88\n/home=69357MB;253404\n";
        let labels: Vec<_> = figures(output).into_iter().map(|(label, ..)| label).collect();
        assert_eq!(labels, ["/", "/boot", "/home"]);
        assert_eq!(split(output).0, "DISK OK - /\n/ 15272 MB (77%);\n/boot 68 MB (69%);");
    }

    #[test]
    fn labels_may_stand_in_quotes() {
        let output = "OK|'C:\\ free space'=5% 'it''s'=1 plain=2c";
        assert_eq!(
            figures(output),
            [triple("C:\\ free space", 5.0, "%"), triple("it's", 1.0, ""), triple("plain", 2.0, "c")]
        );
    }

    #[test]
    fn what_is_no_figure_is_left_out() {
        for output in [
            "OK",
            "OK|",
            "a | b",
            "|x=U",
            "|x=",
            "|=5",
            "|'x=5",
            "|''=5",
            "|x=1,5",
            "|x=nan",
            "|x=1e999",
            "|x y",
            "|x=12:30",
            "|x=2026-11-29",
        ] {
            assert_eq!(figures(output), [], "{output}");
        }
        assert_eq!(figures("|a=U b=-1.5e-3s c=7 eggs"), [triple("b", -0.0015, "s"), triple("c", 7.0, "")]);
    }

    proptest! {
        #[test]
        fn nothing_panics(output in ".*") {
            split(&output);
        }

        #[test]
        fn what_is_written_is_read_again(label in "[^=|\\p{Cc}]*[^=|\\p{Cc}\\s]", value in -1e12..1e12, unit in "(s|%|B|KB|c|)") {
            let figure = Perfdata { label, value, unit };
            prop_assert_eq!(split(&format!("OK | {figure} {figure}")).1, [figure.clone(), figure]);
        }
    }
}
