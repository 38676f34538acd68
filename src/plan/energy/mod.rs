//! What a machine draws and what the grid behind it emits.

mod book;
mod consumption;

pub use book::{EnergyBook, Grid, ProcessorPower};
pub use consumption::{Consumption, Parts, Use, consumption};
