use super::{UnitError, float_quantity, split_number, write_significant};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, time::Duration};

/// A span of time, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Time(f64);

float_quantity!(Time, "a time", "seconds");

impl Time {
    /// Takes milliseconds; out-of-range values saturate.
    #[must_use]
    pub fn from_millis(value: f64) -> Self {
        Self::saturating(value * 1e-3)
    }

    /// Takes microseconds; out-of-range values saturate.
    #[must_use]
    pub fn from_micros(value: f64) -> Self {
        Self::saturating(value * 1e-6)
    }

    /// The number of milliseconds.
    #[must_use]
    pub fn as_millis(self) -> f64 {
        self.0 * 1e3
    }

    /// The same span in whole nanoseconds: more than a clock knows, and short when
    /// written down.
    #[must_use]
    pub fn to_nanos(self) -> Self {
        // Dividing by an exact power of ten gives the shortest decimal form.
        Self::saturating((self.0 * 1e9).round() / 1e9)
    }

    /// The same span for the standard library's clock functions; spans beyond
    /// what it can hold saturate.
    #[must_use]
    pub fn to_std(self) -> Duration {
        Duration::try_from_secs_f64(self.0).unwrap_or(Duration::MAX)
    }
}

impl From<Duration> for Time {
    fn from(value: Duration) -> Self {
        Self::saturating(value.as_secs_f64())
    }
}

/// More seconds than are typed on purpose: three hundred years.
const MOST_TYPED: f64 = 1e10;

impl FromStr for Time {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (value, unit) = split_number("time", text)?;
        let scale = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            "" if value == 0.0 => 1.0,
            "" => {
                return Err(UnitError::new(format!(
                    "`{text}` has no unit of time: write `{text}ms` or `{text}s`"
                )));
            }
            other => {
                return Err(UnitError::new(format!(
                    "`{text}` has an unknown unit of time `{other}`: use us, ms, s, min, h or d"
                )));
            }
        };
        let seconds = value * scale;
        if seconds > MOST_TYPED {
            return Err(UnitError::new(format!(
                "`{text}` is too long a time: at most 1e10 seconds"
            )));
        }
        Self::new(seconds)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The boundaries stand half a last digit below the next unit, so that
        // 999.96 ms shows as `1.00 s` and never as `1000 ms`.
        let (value, unit) = match self.0 {
            0.0 => (0.0, "s"),
            s if s < 999.5e-9 => (s * 1e9, "ns"),
            s if s < 999.5e-6 => (s * 1e6, "µs"),
            s if s < 0.9995 => (s * 1e3, "ms"),
            s if s < 119.5 => (s, "s"),
            s if s < 119.5 * 60.0 => (s / 60.0, "min"),
            s if s < 47.95 * 3600.0 => (s / 3600.0, "h"),
            s => (s / 86400.0, "d"),
        };
        write_significant(f, value)?;
        write!(f, " {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_as_people_write_them() {
        for (text, seconds) in [
            ("120ms", 0.12),
            ("1.5s", 1.5),
            ("250us", 0.00025),
            ("250µs", 0.00025),
            ("2min", 120.0),
            ("8h", 28800.0),
            ("0", 0.0),
        ] {
            let time: Time = text.parse().unwrap();
            assert!((time.get() - seconds).abs() < 1e-12, "{text} gave {time:?}");
        }
    }

    #[test]
    fn bad_durations_say_what_to_write() {
        let message = |t: &str| t.parse::<Time>().unwrap_err().to_string();
        assert!(message("120").contains("write `120ms` or `120s`"));
        assert!(message("-5ms").contains("must not be negative"));
        assert!(message("5 parsecs").contains("unknown unit of time `parsecs`"));
        assert!(message("").contains("no number"));
    }

    #[test]
    fn display_picks_its_scale_after_rounding() {
        for (seconds, shown) in [
            (0.0, "0 s"),
            (0.000_000_5, "500 ns"),
            (0.000_999_4, "999 µs"),
            (0.000_999_6, "1.00 ms"),
            (0.009_996, "10.0 ms"),
            (0.099_96, "100 ms"),
            (0.12, "120 ms"),
            (0.999_4, "999 ms"),
            (0.999_6, "1.00 s"),
            (12.34, "12.3 s"),
            (119.6, "1.99 min"),
            (7200.0, "2.00 h"),
            (172_800.0, "2.00 d"),
        ] {
            assert_eq!(Time::new(seconds).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn toml_and_json_refuse_what_is_not_a_time() {
        assert!(serde_json::from_str::<Time>("-1.0").is_err());
        assert!(toml::from_str::<std::collections::BTreeMap<String, Time>>("a = nan").is_err());
        assert_eq!(
            serde_json::to_string(&Time::from_millis(120.0)).unwrap(),
            "0.12"
        );
    }
}
