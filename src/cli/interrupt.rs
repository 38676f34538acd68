//! Ctrl-C: the first one asks for an early end that keeps what was measured,
//! the second ends the program.

use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

/// The flag that a measurement looks at between visits. The first call also
/// takes over Ctrl-C.
pub(super) fn flag() -> &'static AtomicBool {
    // A second registration fails, which is fine: the first is in place.
    let _ = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    &STOP
}

/// Whether Ctrl-C was pressed.
pub(super) fn requested() -> bool {
    STOP.load(Ordering::Relaxed)
}
