//! `mlperf_log_summary.txt` of `MLPerf` `LoadGen`: nanoseconds, the unit in each name.

use super::{ToolRow, ToolRows, ToolSetup, ToolText, layout};
use crate::{error::Result, units::Time};

pub(super) fn read(text: &ToolText<'_>, setup: ToolSetup) -> Result<ToolRows> {
    let field = |name: &str| {
        text.text.lines().enumerate().find_map(|(at, line)| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| (at + 1, value.trim()))
        })
    };
    let Some((scenario_line, scenario)) = field("Scenario") else {
        return Err(text.refuse(1, "there is no line `Scenario`"));
    };
    match field("Result is") {
        Some((_, "VALID")) => {}
        Some((at, other)) => {
            return Err(text.refuse(at, &format!("the run is {other}: its figures do not count")));
        }
        None => return Err(text.refuse(1, "there is no line `Result is`")),
    }
    if let Some((at, mode)) = field("Mode")
        && !mode.starts_with("Performance")
    {
        return Err(text.refuse(at, &format!("`{mode}` is no measurement of speed")));
    }
    let per_query = match field("samples_per_query") {
        Some((at, value)) => value
            .parse::<u32>()
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| text.refuse(at, &format!("`{value}` is no number of samples")))?,
        None => return Err(text.refuse(1, "there is no line `samples_per_query`")),
    };
    let instances = setup.instances.unwrap_or(1).max(1);
    // Some builds write `Single Stream`.
    let (mean, batch_size, percentiles) = match scenario.replace(' ', "").as_str() {
        "SingleStream" | "MultiStream" => {
            let percentiles = percentiles(text)?;
            let Some(mean) = nanoseconds(text, "Mean latency (ns)")? else {
                return Err(text.refuse(
                    scenario_line,
                    "there is no line `Mean latency (ns)`: the unit must be nanoseconds",
                ));
            };
            (mean, per_query, percentiles)
        }
        "Offline" => {
            let Some(batch_size) = setup.batch_size else {
                return Err(text
                    .refuse(scenario_line, "`Offline` does not tell the batch size")
                    .hint("give what the system under test was set to, as in `--batch-size 32`"));
            };
            let rate = field("Samples per second").and_then(|(at, value)| {
                Some((at, value.parse::<f64>().ok().filter(|rate| *rate > 0.0)?))
            });
            let Some((_, rate)) = rate else {
                return Err(text.refuse(scenario_line, "there is no line `Samples per second`"));
            };
            let seconds = f64::from(batch_size) * f64::from(instances) / rate;
            (Time::saturating(seconds), batch_size, Vec::new())
        }
        other => {
            return Err(text
                .refuse(
                    scenario_line,
                    &format!(
                        "latencies of `{other}` contain waiting, so they tell no service time"
                    ),
                )
                .hint("SingleStream, MultiStream and Offline can be brought in"));
        }
    };
    if mean.get() <= 0.0 {
        return Err(text.refuse(scenario_line, "a mean latency of 0"));
    }
    Ok(ToolRows {
        rows: vec![ToolRow {
            layout: layout(setup, None, instances),
            batch_size,
            mean,
            inferences: queries(text),
            percentiles,
            peak_memory: None,
        }],
        ..ToolRows::default()
    })
}

/// Lines such as `99.00 percentile latency (ns)   : 206884343`, with the extremes.
fn percentiles(text: &ToolText<'_>) -> Result<Vec<(f64, Time)>> {
    let mut found: Vec<(f64, Time)> = Vec::new();
    for (at, line) in text.text.lines().enumerate() {
        let Some((key, _)) = line.split_once(':') else {
            continue;
        };
        let key = key.trim();
        let share = match key {
            "Min latency (ns)" => Some(0.0),
            "Max latency (ns)" => Some(1.0),
            _ => key
                .split_once(" percentile latency")
                .and_then(|(share, _)| share.parse::<f64>().ok())
                .map(|percent| percent / 100.0),
        };
        let Some(share) = share else { continue };
        if !key.ends_with("(ns)") {
            return Err(text.refuse(at + 1, "the unit `(ns)` is missing"));
        }
        if let Some(time) = nanoseconds(text, key)? {
            found.push((share, time));
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let ascending = found
        .windows(2)
        .all(|pair| matches!(pair, [a, b] if a.1 <= b.1));
    if ascending {
        Ok(found)
    } else {
        Err(text.refuse(1, "the percentiles are not in ascending order"))
    }
}

fn nanoseconds(text: &ToolText<'_>, name: &str) -> Result<Option<Time>> {
    for (at, line) in text.text.lines().enumerate() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        if key.trim() == name {
            let value: f64 = value
                .trim()
                .parse()
                .ok()
                .filter(|v: &f64| v.is_finite() && *v >= 0.0)
                .ok_or_else(|| text.refuse(at + 1, &format!("`{}` is no time", value.trim())))?;
            return Ok(Some(Time::saturating(value * 1e-9)));
        }
    }
    Ok(None)
}

/// `Processed at least 64 queries (7469).`, else the least that were asked for.
fn queries(text: &ToolText<'_>) -> u32 {
    let processed = text.text.lines().find_map(|line| {
        let (_, rest) = line.split_once("Processed at least")?;
        let (_, inside) = rest.split_once('(')?;
        inside.split_once(')')?.0.parse().ok()
    });
    let asked = || {
        text.text.lines().find_map(|line| {
            line.trim()
                .strip_prefix("min_query_count :")?
                .trim()
                .parse()
                .ok()
        })
    };
    processed.or_else(asked).unwrap_or(1).max(1)
}
