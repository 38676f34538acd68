//! The CSV that Triton's `perf_analyzer -f` (or `perf_client -f`) writes: one row
//! per concurrency, times in microseconds, averages over requests.

use super::{ToolRow, ToolRows, ToolSetup, ToolText, layout};
use crate::{
    caveat::{Caveat, CaveatKind},
    error::Result,
    units::Time,
};

/// What the server does for a request, besides letting it wait; older versions
/// write one column.
const COMPUTE: [&str; 3] = [
    "Server Compute Input",
    "Server Compute Infer",
    "Server Compute Output",
];
const COMPUTE_OLD: &str = "Server Compute";

/// A measurement window is counted in seconds, so that requests per window follow
/// from throughput; 5 s is the tool's default.
const WINDOW_SECONDS: f64 = 5.0;

pub(super) fn read(text: &ToolText<'_>, setup: ToolSetup) -> Result<ToolRows> {
    let mut lines = text.text.lines().enumerate();
    let header: Vec<&str> = lines
        .next()
        .map(|(_, line)| line.split(',').map(str::trim).collect())
        .unwrap_or_default();
    let column = |name: &str| header.iter().position(|column| *column == name);
    let (Some(concurrency), Some(rate)) = (column("Concurrency"), column("Inferences/Second"))
    else {
        return Err(text.refuse(
            1,
            "the columns `Concurrency` and `Inferences/Second` are not there; runs by request rate do not tell service times",
        ));
    };
    let compute: Vec<usize> = if let Some(one) = column(COMPUTE_OLD) {
        vec![one]
    } else {
        COMPUTE.iter().filter_map(|name| column(name)).collect()
    };
    if compute.is_empty() {
        return Err(text.refuse(
            1,
            "the server's times (`Server Compute Infer` …) are not there, and the client's contain network and waiting",
        )
        .hint("run `perf_analyzer` against Triton itself, with `--service-kind triton`"));
    }
    let Some(batch_size) = setup.batch_size else {
        return Err(text
            .refuse(1, "the batch size is not in this format")
            .hint("give what `perf_analyzer -b` was given, as in `--batch-size 1`"));
    };
    let instances = setup.instances.unwrap_or(1).max(1);
    let (mut found, mut waited) = (ToolRows::default(), Vec::new());
    for (at, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let number = |column: usize, name: &str| -> Result<f64> {
            let cell = line.split(',').nth(column).map(str::trim);
            cell.and_then(|cell| cell.parse::<f64>().ok())
                .filter(|value| value.is_finite() && *value >= 0.0)
                .ok_or_else(|| {
                    text.refuse(
                        at + 1,
                        &format!("`{}` under `{name}` is no number", cell.unwrap_or_default()),
                    )
                })
        };
        let busy = number(concurrency, "Concurrency")?;
        let per_second = number(rate, "Inferences/Second")?;
        let mut micros = 0.0;
        for column in &compute {
            micros += number(*column, "Server Compute")?;
        }
        if busy < 1.0 || per_second <= 0.0 || micros <= 0.0 {
            return Err(text.refuse(
                at + 1,
                "a concurrency, throughput and computing time above 0 are needed",
            ));
        }
        if busy > f64::from(instances) {
            waited.push(format!("{busy:.0}"));
            continue;
        }
        // What all instances could do at most; more needs a batching server.
        let mean = Time::saturating(micros * 1e-6);
        let most = f64::from(batch_size) * busy / mean.get();
        if per_second > most * 1.05 {
            return Err(text
                .refuse(
                    at + 1,
                    &format!(
                        "{per_second} inferences/s are more than {busy:.0} requests of {batch_size} items in {mean} allow ({most:.0})"
                    ),
                )
                .hint("a wrong batch size or number of instances, or times in another unit than microseconds"));
        }
        found.rows.push(ToolRow {
            layout: layout(setup, None, busy as u32),
            batch_size,
            mean,
            inferences: (per_second * WINDOW_SECONDS / f64::from(batch_size)).max(1.0) as u32,
            percentiles: Vec::new(),
            peak_memory: None,
        });
    }
    if found.rows.is_empty() {
        return Err(text
            .refuse(
                1,
                &format!("no row has a concurrency of {instances} or less: in all of them requests wait for an instance"),
            )
            .hint("run it with `--concurrency-range 1:N`, N being the instances of the model, and give them by `--instances`"));
    }
    if !waited.is_empty() {
        found.caveats.push(Caveat::new(
            CaveatKind::Incomplete,
            format!(
                "rows at concurrency {} were left out: more requests than the {instances} instances, so they may have been batched",
                waited.join(", ")
            ),
        ));
    }
    Ok(found)
}
