//! Seeded random numbers that stay the same from version to version: files and
//! inputs made from them are compared byte for byte.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

/// A stream of random numbers for one purpose.
#[derive(Debug, Clone)]
pub(super) struct Stream(Xoshiro256PlusPlus);

impl Stream {
    /// The stream of `seed` for `purpose`: drawing more for one purpose never
    /// shifts another.
    pub(super) fn new(seed: u64, purpose: &str) -> Self {
        // FNV-1a, 64 bits (Fowler, Noll, Vo): spreads names over seeds.
        let hash = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self(Xoshiro256PlusPlus::seed_from_u64(seed ^ hash))
    }

    /// 64 random bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform from 0 up to, not including, 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * 2.0_f64.powi(-53)
    }

    /// A whole number below `limit`, evenly; 0 when there is none.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        // Lemire's multiplication without rejection: the bias is below 2^-32
        // for any limit that a tensor has.
        ((u128::from(self.bits()) * u128::from(limit)) >> 64) as u64
    }

    /// A standard normal number (Box and Muller 1958).
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// The bits of `value` as a 16-bit float, rounded to nearest even. Values too
/// small for a normal number become zero, those too large the largest number.
pub(super) fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let exponent = ((bits >> 23) & 0xff).cast_signed() - 127 + 15;
    if exponent <= 0 {
        return sign;
    }
    let rest = bits & 0x7f_ffff;
    // Adding half of what is cut off, less one where the kept bit is even.
    let rounded = (rest + 0x0fff + ((rest >> 13) & 1)) >> 13;
    let joined = ((exponent as u32) << 10) + rounded;
    sign | joined.min(0x7bff) as u16
}

/// The bits of `value` as a bfloat16, rounded to nearest even.
pub(super) fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_purpose_and_repeat_by_seed() {
        let draw = |seed, purpose| Stream::new(seed, purpose).bits();
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_variance_one() {
        let mut stream = Stream::new(7, "test");
        let n = 100_000;
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..n {
            let v = stream.normal();
            assert!(v.is_finite());
            sum += v;
            squares += v * v;
        }
        // Five standard errors: 5/sqrt(n) and 5*sqrt(2/n).
        assert!((sum / f64::from(n)).abs() < 0.016);
        assert!((squares / f64::from(n) - 1.0).abs() < 0.023);
    }

    #[test]
    fn whole_numbers_stay_below_their_limit_and_reach_all() {
        let mut stream = Stream::new(7, "test");
        let mut seen = [false; 7];
        for _ in 0..1000 {
            seen[stream.below(7) as usize] = true;
        }
        assert_eq!(seen, [true; 7]);
        assert_eq!(stream.below(0), 0);
    }

    #[test]
    fn half_precision_rounds_as_ieee_754_says() {
        for (value, bits) in [
            (0.0, 0x0000),
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (0.1, 0x2e66),
            (65504.0, 0x7bff),
            (1e6, 0x7bff),
            (6.1e-5, 0x0000),
            (6.104e-5, 0x0400),
            (0.333_333_34, 0x3555),
            (1.999_9, 0x4000),
        ] {
            assert_eq!(f16_bits(value), bits, "{value}");
        }
        assert_eq!(bf16_bits(1.0), 0x3f80);
        assert_eq!(bf16_bits(-0.1), 0xbdcd);
    }
}
