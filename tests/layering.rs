//! The house stays in order: a module uses only those above it, and a foreign
//! crate is used only behind its fence.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Modules in order: each may use those before it (and itself).
const ORDER: [&str; 22] = [
    "units",
    "stats",
    "error",
    "estimate",
    "caveat",
    "workload",
    "model",
    "profile",
    "measure::probe",
    "measure::runtime",
    "measure::replica",
    "measure::calibrate",
    "measure::serve",
    "plan::transfer",
    "plan::latency",
    "plan::queueing",
    "plan::memory",
    "plan::pricing",
    "plan::energy",
    "plan::advise",
    "verify",
    "render",
];

/// Where a foreign crate may be named.
const FENCES: [(&str, &str); 5] = [
    ("ort::", "src/measure/runtime/"),
    ("nvml_wrapper", "src/measure/probe/nvml"),
    ("clap::", "src/cli/"),
    ("microlp", "src/plan/advise/fleet.rs"),
    ("comfy_table", "src/render/"),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("src can be listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// `src/plan/latency/curve.rs` is in module `plan::latency`.
fn module_of(path: &Path) -> Option<usize> {
    let text = path.to_string_lossy().replace('\\', "/");
    let inside = text.strip_prefix("src/")?.trim_end_matches(".rs");
    let parts: Vec<&str> = inside.split('/').collect();
    rank(&parts)
}

fn rank(parts: &[&str]) -> Option<usize> {
    let one = parts.first().copied().unwrap_or_default();
    let two = parts.get(1).map(|second| format!("{one}::{second}"));
    ORDER
        .iter()
        .position(|name| *name == one || two.as_deref() == Some(*name))
}

/// Module paths named after `crate::` in code, `use` groups taken apart.
fn used(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.trim_start().strip_prefix('{') {
            let mut depth = 1;
            let mut item = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 || (depth == 1 && c == ',') {
                    found.push(parts(item.trim()));
                    item.clear();
                    if depth == 0 {
                        break;
                    }
                } else {
                    item.push(c);
                }
            }
        } else {
            found.push(parts(rest));
        }
    }
    found
}

fn parts(path: &str) -> Vec<String> {
    path.split("::")
        .take(2)
        .map(|part| {
            part.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        })
        .collect()
}

#[test]
fn a_module_uses_only_those_above_it() {
    let mut wrong = Vec::new();
    for path in sources(Path::new("src")) {
        let Some(own) = module_of(&path) else {
            continue;
        };
        let text = fs::read_to_string(&path).expect("a source can be read");
        for target in used(&text) {
            let names: Vec<&str> = target.iter().map(String::as_str).collect();
            if names.first() == Some(&"cli") {
                wrong.push(format!("{} uses cli", path.display()));
            }
            let Some(other) = rank(&names) else { continue };
            let wings = (ORDER[own], ORDER[other]);
            let across = (wings.0.starts_with("measure") && wings.1.starts_with("plan"))
                || (wings.0.starts_with("plan") && wings.1.starts_with("measure"));
            if other > own || across {
                wrong.push(format!("{} ({}) uses {}", path.display(), wings.0, wings.1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn foreign_crates_stay_behind_their_fences() {
    let mut wrong = Vec::new();
    for path in sources(Path::new("src")) {
        let name = path.to_string_lossy().replace('\\', "/");
        let text = fs::read_to_string(&path).expect("a source can be read");
        for (krate, fence) in FENCES {
            let named = text.lines().any(|line| {
                let line = line.trim_start();
                !line.starts_with("//")
                    && line.match_indices(krate).any(|(at, _)| {
                        // `sort::` is not `ort::`.
                        !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
                    })
            });
            if named && !name.starts_with(fence) {
                wrong.push(format!("{name} names {krate}, which belongs to {fence}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_checks_see_what_they_should() {
    assert_eq!(
        used(
            "use crate::{units::Time, plan::{latency::End, queueing}};\nlet x = crate::cli::run();"
        )
        .iter()
        .map(|parts| parts[0].clone())
        .collect::<Vec<_>>(),
        ["units", "plan", "cli"]
    );
    assert_eq!(
        module_of(Path::new("src/plan/latency/curve.rs")),
        rank(&["plan", "latency"])
    );
    assert!(rank(&["plan", "advise"]) > rank(&["plan", "queueing"]));
    assert_eq!(module_of(Path::new("src/cli/plan.rs")), None);
}
