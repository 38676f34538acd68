//! The `SkyPilot` catalogue: one `vms.csv` per cloud, a row per machine type and zone.
//! The order of the columns differs per cloud and version.

use super::{
    ImportContext, Imported,
    offers::{Row, take_all},
    table::{Cells, Table},
};
use crate::error::Result;
use std::io::Read;

/// Reads a `vms.csv`.
///
/// # Errors
/// It has not the columns of such a table, or cannot be read to its end.
pub fn skypilot(from: impl Read, context: ImportContext<'_>) -> Result<Imported> {
    let needed = ["InstanceType", "vCPUs", "MemoryGiB", "Price", "Region"];
    take_all(
        Table::new(from, "SkyPilot catalogue", &needed)?,
        context,
        row,
    )
}

fn row<'r>(cells: &'r Cells<'_>) -> Result<Row<'r>, String> {
    let gpu = match cells.text("AcceleratorName") {
        "" => None,
        name => Some((
            name,
            cells.number("AcceleratorCount")?.unwrap_or(0.0),
            gpu_memory(cells.text("GpuInfo")),
        )),
    };
    Ok(Row {
        machine: cells.text("InstanceType"),
        region: cells.text("Region"),
        vcpus: cells.number("vCPUs")?,
        memory_gib: cells.number("MemoryGiB")?,
        arch: Some(cells.text("Arch")),
        gpu,
        on_demand: cells.number("Price")?,
        spot: cells.number("SpotPrice")?,
    })
}

/// The memory in `{'Gpus': [{…, 'MemoryInfo': {'SizeInMiB': 16384}}], …}`, in GiB;
/// none where the text is not like that.
fn gpu_memory(text: &str) -> Option<f64> {
    let (_, rest) = text.split_once("SizeInMiB")?;
    let digits: String = rest
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    digits
        .parse::<f64>()
        .ok()
        .filter(|mib| *mib > 0.0)
        .map(|mib| mib / 1024.0)
}
