//! Progress on stderr while something is measured.

use super::{
    args::Global,
    output::{note, progress_wanted, warn},
};
use crate::{
    measure::calibrate::Progress,
    render::{Style, first_look},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress line for one calibration; draws nothing where stderr is no terminal.
pub(super) struct ProgressLine<'g> {
    bar: ProgressBar,
    subject: String,
    global: &'g Global,
}

impl<'g> ProgressLine<'g> {
    pub(super) fn new(global: &'g Global, subject: String) -> Self {
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
        Self {
            bar,
            subject,
            global,
        }
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
            Progress::FirstLook(calibration) => self.bar.suspend(|| {
                let text = first_look(calibration).to_text(Style { width: 80 });
                note(self.global, text.trim_end());
            }),
            Progress::Remark(text) => self.bar.suspend(|| warn(text)),
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

impl Drop for ProgressLine<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
