//! Waiting for a moment.

use std::time::{Duration, Instant};

/// How long before the moment sleep ends and spinning begins: sleeps on virtual
/// machines were seen to end 50 to 90 µs late.
const SPIN: Duration = Duration::from_micros(120);

/// Seconds since an origin, and waiting until one of them.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    spin: Duration,
}

impl Clock {
    /// A clock that spins before a moment: for a thread with a core of its own.
    #[must_use]
    pub fn with_spin(origin: Instant) -> Self {
        Self { origin, spin: SPIN }
    }

    /// A clock that only sleeps: for threads that share cores.
    #[must_use]
    pub fn without_spin(origin: Instant) -> Self {
        Self {
            origin,
            spin: Duration::ZERO,
        }
    }

    /// Seconds since the origin; 0 before it.
    #[must_use]
    pub fn now(&self) -> f64 {
        self.origin.elapsed().as_secs_f64()
    }

    /// Whether spinning comes before a moment.
    #[must_use]
    pub fn spins(&self) -> bool {
        !self.spin.is_zero()
    }

    /// How long the thread may sleep before it must be awake for `moment`.
    #[must_use]
    pub fn sleep_before(&self, moment: f64) -> Duration {
        // A clock that has not begun yet must not cut the wait short.
        let until = self.origin + Duration::try_from_secs_f64(moment).unwrap_or(Duration::MAX / 4);
        until
            .saturating_duration_since(Instant::now())
            .saturating_sub(self.spin)
    }

    /// Waits until `moment`; ends at once if it is past.
    pub fn wait_until(&self, moment: f64) {
        loop {
            let sleep = self.sleep_before(moment);
            if sleep.is_zero() {
                break;
            }
            std::thread::sleep(sleep);
        }
        while self.now() < moment {
            std::hint::spin_loop();
        }
    }
}

/// Asks the system to end the calling thread's sleeps on time: by default it
/// may delay them by 50 µs to end several at once (prctl(2), `PR_SET_TIMERSLACK`).
pub(crate) fn sleep_precisely() {
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wait_ends_early() {
        for clock in [
            Clock::with_spin(Instant::now()),
            Clock::without_spin(Instant::now()),
        ] {
            for step in 1..20 {
                let moment = clock.now() + f64::from(step) * 50e-6;
                clock.wait_until(moment);
                assert!(clock.now() >= moment);
            }
            let before = clock.now();
            clock.wait_until(0.0);
            assert!(clock.now() - before < 0.05);
        }
    }
}
