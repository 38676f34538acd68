//! Progress on stderr while something is measured.

use super::{args::Global, output::progress_wanted};
use crate::measure::calibrate::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress line for one calibration; draws nothing where stderr is no terminal.
pub(super) struct ProgressLine {
    bar: ProgressBar,
    subject: String,
}

impl ProgressLine {
    pub(super) fn new(global: &Global, subject: String) -> Self {
        let target = if progress_wanted(global) {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(1000), target);
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:24}] {percent}%") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(subject.clone());
        Self { bar, subject }
    }

    /// Draws where the calibration is.
    pub(super) fn show(&self, progress: &Progress) {
        match progress {
            Progress::Starting {
                layout,
                number: (number, of),
            } => {
                self.bar.set_message(format!(
                    "{}: loading {number}/{of} ({layout})",
                    self.subject
                ));
            }
            Progress::Measuring {
                spent,
                budget,
                rounds,
            } => {
                let left = *budget - *spent;
                self.bar
                    .set_position((spent.ratio(*budget) * 1000.0).min(1000.0) as u64);
                self.bar.set_message(format!(
                    "{}: round {}, at most {:.0} s left",
                    self.subject,
                    rounds + 1,
                    left.get()
                ));
            }
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
