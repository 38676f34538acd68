//! A catalogue that `gpuhunt` wrote: one CSV file per provider, a row per machine
//! type, place and kind of price. <https://github.com/dstackai/gpuhunt>,
//! `src/gpuhunt/_internal/storage.py` has the columns.

use super::{
    ImportContext, Imported,
    offers::{Row, take_all},
    table::{Cells, Table},
};
use crate::error::Result;
use std::io::Read;

/// Reads a catalogue.
///
/// # Errors
/// It has not the columns of such a table, or cannot be read to its end.
pub fn gpuhunt(from: impl Read, context: ImportContext<'_>) -> Result<Imported> {
    let needed = [
        "instance_name",
        "location",
        "price",
        "cpu",
        "memory",
        "gpu_count",
        "gpu_name",
        "gpu_memory",
        "spot",
    ];
    take_all(
        Table::new(from, "gpuhunt catalogue", &needed)?,
        context,
        row,
    )
}

fn row<'r>(cells: &'r Cells<'_>) -> Result<Row<'r>, String> {
    let count = cells.number("gpu_count")?.unwrap_or(0.0);
    let gpu = match cells.text("gpu_name") {
        "" if count > 0.0 => return Err("GPUs without a name".to_owned()),
        name if count > 0.0 => Some((name, count, cells.number("gpu_memory")?)),
        _ => None,
    };
    let price = cells.number("price")?;
    let (on_demand, spot) = match cells.text("spot").to_ascii_lowercase().as_str() {
        "true" => (None, price),
        "false" => (price, None),
        _ => return Err("`spot` is neither True nor False".to_owned()),
    };
    Ok(Row {
        machine: cells.text("instance_name"),
        region: cells.text("location"),
        vcpus: cells.number("cpu")?,
        memory_gib: cells.number("memory")?,
        arch: Some(cells.text("cpu_arch")),
        gpu,
        on_demand,
        spot,
    })
}
