//! What `onnxruntime_perf_test -s` prints: each figure with its unit.

use super::{ToolRow, ToolRows, ToolSetup, ToolText, layout};
use crate::{
    error::Result,
    profile::calibration::Start,
    units::{Bytes, Time},
};

const PERCENTILES: [(&str, f64); 7] = [
    ("Min Latency:", 0.0),
    ("P50 Latency:", 0.5),
    ("P90 Latency:", 0.9),
    ("P95 Latency:", 0.95),
    ("P99 Latency:", 0.99),
    ("P999 Latency:", 0.999),
    ("Max Latency:", 1.0),
];

/// The names that the mean has had.
const MEANS: [&str; 2] = [
    "Average inference time cost total:",
    "Average inference time cost:",
];

pub(super) fn read(text: &ToolText<'_>, setup: ToolSetup) -> Result<ToolRows> {
    let Some(mean) = first(text, &MEANS)? else {
        return Err(text
            .refuse(1, "there is no line `Average inference time cost`")
            .hint("give what `onnxruntime_perf_test` printed"));
    };
    let mut percentiles = Vec::new();
    for (name, share) in PERCENTILES {
        if let Some(time) = first(text, &[name])? {
            percentiles.push((share, time));
        }
    }
    let ascending = percentiles
        .windows(2)
        .all(|pair| matches!(pair, [a, b] if a.1 <= b.1));
    if !ascending {
        return Err(text.refuse(
            line_of(text, "P50 Latency:"),
            "the percentiles are not in ascending order",
        ));
    }
    let (low, high) = (percentiles.first(), percentiles.last());
    let outside = low.is_some_and(|low| mean < low.1.scaled(0.99))
        || high.is_some_and(|high| mean > high.1.scaled(1.01));
    if outside {
        return Err(text.refuse(
            line_of(text, "Average inference time cost"),
            &format!("a mean of {mean} lies outside the smallest and largest latency"),
        ));
    }
    let threads = whole(text, "Setting intra_op_num_threads to");
    let layout = layout(setup, threads, setup.instances.unwrap_or(1));
    let starts = match (
        first(text, &["Session creation time cost:"])?,
        first(text, &["First inference time cost:"])?,
    ) {
        (Some(load), Some(first_inference)) => vec![Start {
            layout,
            load,
            first_inference,
            loaded_memory_bytes: None,
            nodes: Vec::new(),
        }],
        _ => Vec::new(),
    };
    Ok(ToolRows {
        rows: vec![ToolRow {
            layout,
            // Without `-f NAME:N` it runs the model's own shape, of one item.
            batch_size: setup.batch_size.unwrap_or(1),
            mean,
            inferences: whole(text, "Total inference requests:").unwrap_or(1),
            percentiles,
            peak_memory: bytes(text),
        }],
        starts,
        caveats: Vec::new(),
    })
}

/// The first line that begins with one of the names, as a time; a unit must stand there.
fn first(text: &ToolText<'_>, names: &[&str]) -> Result<Option<Time>> {
    for name in names {
        for (at, line) in text.text.lines().enumerate() {
            let Some(rest) = line.trim().strip_prefix(name) else {
                continue;
            };
            let refuse = |why: &str| text.refuse(at + 1, &format!("`{}`: {why}", line.trim()));
            let mut words = rest.split_whitespace();
            let value = words.next().and_then(|word| word.parse::<f64>().ok());
            let Some(value) = value.filter(|v| v.is_finite() && *v >= 0.0) else {
                return Err(refuse("no number follows the name"));
            };
            let seconds = match words.next() {
                Some("s" | "sec") => value,
                Some("ms") => value * 1e-3,
                Some("us") => value * 1e-6,
                Some(other) => return Err(refuse(&format!("`{other}` is no unit of time"))),
                None => return Err(refuse("the unit is missing: `s` or `ms` must follow")),
            };
            return Ok(Some(Time::saturating(seconds)));
        }
    }
    Ok(None)
}

fn whole(text: &ToolText<'_>, name: &str) -> Option<u32> {
    text.text
        .lines()
        .find_map(|line| line.trim().strip_prefix(name)?.trim().parse().ok())
        .filter(|value| *value > 0)
}

fn bytes(text: &ToolText<'_>) -> Option<Bytes> {
    text.text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("Peak working set size:")?;
        let value = rest.trim().strip_suffix("bytes")?.trim().parse().ok()?;
        Some(Bytes::new(value))
    })
}

fn line_of(text: &ToolText<'_>, name: &str) -> usize {
    text.text
        .lines()
        .position(|line| line.contains(name))
        .map_or(1, |at| at + 1)
}
