//! Hardware that nobody here has measured: service times learnt from published
//! measurements, with intervals learnt from what was held out.
//!
//! [`Benchmarks`] reads published rows, [`evaluate()`] tells how wrong each
//! predictor is on models and devices that it has not seen.

mod bench;
mod cloud;
mod conformal;
mod csv_text;
mod evaluate;
mod evidence;
mod fitted;
mod gaussian;
mod image;
mod linear;
mod neighbours;
mod powers;
mod predict;
mod regret;
mod tables;

pub use bench::{BenchText, Benchmarks, FILES, SourceFile};
pub use cloud::CpuForm;
pub use conformal::Coverage;
pub use evaluate::{Bar, DATASHEET, Errors, Split, evaluate};
pub use evidence::Published;
pub use fitted::{CpuFit, Fitted, GpuFit, GpuHalfWidths, fit};
pub use powers::GpuPowers;
pub use predict::{
    BATCH_SIZES, CpuMeasured, CpuPoint, CpuTarget, Element, Predicted, Prediction, Work, WorkKind,
};
pub use regret::{PROCESSORS, Prices, Regret, regret};
pub use tables::{GpuForm, StackFactor};

#[cfg(test)]
mod tests;
