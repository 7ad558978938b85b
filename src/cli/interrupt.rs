use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Exit code of a process that Ctrl-C ended, by convention of shells.
const INTERRUPTED: i32 = 130;

/// From now on, Ctrl-C is a request that long work answers at its next look; a second one ends the
/// process at once.
pub(super) fn install() {
    // Without the handler Ctrl-C still ends the process, so a system that refuses it is no reason to stop.
    ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::Relaxed) {
            #[expect(clippy::exit, reason = "the second Ctrl-C asks for exactly this")]
            std::process::exit(INTERRUPTED);
        }
    })
    .ok();
}

/// Whether the user asked to stop.
pub(super) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// For observers: break if the user asked to stop.
pub(super) fn check() -> ControlFlow<()> {
    if asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
