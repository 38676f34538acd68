//! Processor time of this process: what tells inference from everything else.

use crate::units::Time;

/// Time that all threads of this process, ended ones included, have spent on
/// processors (`CLOCK_PROCESS_CPUTIME_ID`); zero where the system does not tell.
#[must_use]
pub(super) fn processor_time() -> Time {
    #[cfg(unix)]
    {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Time::saturating(now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9)
    }
    #[cfg(not(unix))]
    {
        Time::ZERO
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn work_counts_and_sleep_does_not() {
        let before = processor_time();
        let begin = Instant::now();
        let mut x = 1_u64;
        while begin.elapsed() < Duration::from_millis(50) {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        assert!((processor_time() - before).get() > 0.0);
    }
}
