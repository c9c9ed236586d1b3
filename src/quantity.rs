//! Amounts as Kubernetes writes them: `100m` of a processor, `64Mi` of memory.
//!
//! The grammar is that of `resource.Quantity`, without a minus: nothing takes less than nothing.

/// The suffixes for powers of ten and of two, with what one of them stands for.
const UNITS: [(&str, f64); 16] = [
    ("", 1.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
];

/// How much that is, in processors, bytes or whatever is meant; none if it is no amount.
pub(crate) fn amount(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let is_of_number = |c: char| c.is_ascii_digit() || c == '.';
    let end = unsigned.find(|c| !is_of_number(c)).unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at_checked(end)?;
    // `1.`, `.5` and `1` are numbers, `.` and `1.2.3` are not.
    let number: f64 = number.parse().ok()?;
    let unit = UNITS.into_iter().find(|(name, _)| *name == suffix).map(|(_, unit)| unit);
    Some(number * unit.or_else(|| exponent(suffix))?)
}

/// The same in whole bytes, or whatever is meant.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    amount(text).map(whole)
}

/// The same in thousand millionths of it, as which a time of a processor is measured.
pub(crate) fn nanos(text: &str) -> Option<u64> {
    amount(text).map(|amount| whole((amount * 1e9).round()))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "no amount is below 0, and one that is too large becomes the largest"
)]
fn whole(amount: f64) -> u64 {
    amount as u64
}

/// `e3`, `E-3`: a power of ten.
fn exponent(suffix: &str) -> Option<f64> {
    let power = suffix.strip_prefix(['e', 'E'])?;
    let digits = power.strip_prefix(['+', '-']).unwrap_or(power);
    let is_whole = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
    is_whole.then(|| format!("1e{power}").parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_a_number_with_a_unit() {
        for (text, expected) in [
            ("0", 0.0),
            ("+2", 2.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("250m", 0.25),
            ("1234567n", 0.001_234_567),
            ("17u", 0.000_017),
            ("64Mi", 67_108_864.0),
            ("1.5Ki", 1536.0),
            ("12M", 12e6),
            ("1e3", 1000.0),
            ("25E-1", 2.5),
            ("2E", 2e18),
            ("1Ei", 1_152_921_504_606_846_976.0),
        ] {
            let seen = amount(text).unwrap();
            assert!((seen - expected).abs() <= expected * 1e-12, "{text}: {seen}");
        }
    }

    #[test]
    fn what_is_counted_is_whole() {
        assert_eq!(bytes("48Mi"), Some(48 << 20));
        assert_eq!(bytes("1.5"), Some(1));
        assert_eq!(bytes("100000Ei"), Some(u64::MAX));
        assert_eq!(nanos("2500001n"), Some(2_500_001));
        assert_eq!(nanos("0.1"), Some(100_000_000));
        assert_eq!(nanos("9E"), Some(u64::MAX));
    }

    #[test]
    fn what_is_none_is_none() {
        for text in [
            "", "+", "-1", ".", "1.2.3", "1 Mi", "Mi", "64MB", "1K", "0x10", "1e", "1e+", "1e3.5",
            "1m2", "++1", "∞", "inf", "nan", "1_000",
        ] {
            assert_eq!(amount(text), None, "{text}");
        }
    }
}
