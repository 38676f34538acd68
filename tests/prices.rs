//! Prices and jobs through the built program.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use assert_cmd::Command;
use serde_json::Value;
use std::{fs, path::Path};
use tempfile::TempDir;

const SAMPLES: &str = "tests/data/prices/import";
const MINILM: &str = "tests/data/calibrations/minilm-l6.json";
const RESNET_512: &str = "tests/data/calibrations/resnet50-512.json";

/// A user with folders of their own.
struct User(TempDir);

impl User {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    fn own_price_file(&self, name: &str, text: &str) {
        let folder = self.folder().join("config/advisor/pricing");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(name), text).expect("a file");
    }

    fn run(&self, args: &[&str]) -> Ran {
        let output = Command::cargo_bin("advisor")
            .expect("the program is built")
            .args(args)
            .env_clear()
            .env("HOME", self.folder())
            .env("XDG_CONFIG_HOME", self.folder().join("config"))
            .env("XDG_DATA_HOME", self.folder().join("data"))
            .output()
            .expect("the program runs");
        Ran {
            shown: format!(
                "advisor {}\nstdout:\n{}\nstderr:\n{}",
                args.join(" "),
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn json(&self, args: &[&str]) -> Value {
        let mut all = args.to_vec();
        all.extend(["--format", "json"]);
        let ran = self.run(&all);
        assert_eq!(ran.code, Some(0), "{}", ran.shown);
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}\n{}", ran.shown))
    }
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
    shown: String,
}

impl Ran {
    #[track_caller]
    fn says(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.shown);
        for word in words {
            let flat = format!("{}\n{}", self.out, self.err);
            let flat: Vec<&str> = flat.split_whitespace().collect();
            assert!(
                flat.join(" ").contains(word),
                "no `{word}` in\n{}",
                self.shown
            );
        }
    }
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn the_shipped_book_passes_the_check() {
    User::new().run(&["prices", "check"]).says(
        0,
        &[
            "offers of 17 providers can be read",
            "price book",
            "Doubtful",
        ],
    );
}

#[test]
fn a_machine_is_listed_and_shown_with_where_its_price_comes_from() {
    let user = User::new();
    user.run(&[
        "prices",
        "list",
        "--provider",
        "aws",
        "--region",
        "us-east-1",
        "--only",
        "gpu",
    ])
    .says(
        0,
        &["on-demand price", "aws g4dn.xlarge", "1 × T4", "$0.526/h"],
    );
    user.run(&["prices", "show", "c7i.2xlarge"]).says(
        0,
        &[
            "aws c7i.2xlarge",
            "on-demand",
            "karpenter",
            "by 1.00 s, at least 60.0 s",
        ],
    );
    user.run(&["prices", "show", "c7i.2xlrge"]).says(
        2,
        &["no machine type is called `c7i.2xlrge`", "c7i.2xlarge"],
    );
}

#[test]
fn every_sample_is_imported_and_then_planned_with() {
    for (file, provider) in [
        ("skypilot/lambda/vms.csv", "lambda"),
        ("skypilot/vast/vms.csv", "vast"),
        ("gpuhunt/verda.csv", "verda"),
        ("aws/index.json", "aws"),
    ] {
        let user = User::new();
        let path = format!("{SAMPLES}/{file}");
        let report = user.json(&["prices", "import", &path, "--as-of", "2026-11-01"]);
        assert_eq!(report["provider"], provider, "{report}");
        assert!(number(&report["prices"]) >= 1.0, "{report}");
        let written = user
            .folder()
            .join(format!("config/advisor/pricing/imported-{provider}.toml"));
        assert!(written.is_file(), "{}", written.display());
        user.run(&["prices", "check"])
            .says(0, &["providers can be read"]);
        let list = user.json(&["prices", "list", "--provider", provider]);
        let offers = list["offers"].as_array().expect("offers");
        let imported = offers.iter().filter(|offer| {
            offer["file"]
                .as_str()
                .is_some_and(|f| f.contains("imported-"))
        });
        assert!(imported.count() >= 1, "{list}");
    }
}

#[test]
fn a_failed_import_overwrites_nothing() {
    let user = User::new();
    let good = format!("{SAMPLES}/skypilot/lambda/vms.csv");
    user.run(&["prices", "import", &good])
        .says(0, &["lambda", "written to"]);
    let written = user
        .folder()
        .join("config/advisor/pricing/imported-lambda.toml");
    let before = fs::read_to_string(&written).expect("the import");
    let broken = user.folder().join("broken.csv");
    fs::write(
        &broken,
        "InstanceType,vCPUs,MemoryGiB,Price,Region\nx,1,1,0,r\n,,,,\n\"",
    )
    .expect("a file");
    let broken = broken.to_string_lossy();
    user.run(&["prices", "import", &broken, "--provider", "lambda"])
        .says(
            1,
            &["nothing was written", "no price (or 0, which is none)"],
        );
    user.run(&["prices", "import", MINILM, "--provider", "lambda"])
        .says(2, &["looks like no price list that is known", "--from"]);
    // The same offer in a file of the user's own: which holds cannot be known.
    user.own_price_file("mine.toml", &before);
    user.run(&["prices", "import", &good])
        .says(2, &["nothing was written"]);
    assert_eq!(fs::read_to_string(&written).expect("the import"), before);
}

#[test]
fn a_hundred_thousand_rows_take_less_than_two_seconds() {
    let user = User::new();
    let sample = fs::read_to_string(format!("{SAMPLES}/skypilot/aws/vms.csv")).expect("the sample");
    let mut text = sample.lines().next().expect("a heading").to_owned();
    let types = [
        "c7i.2xlarge",
        "c7g.2xlarge",
        "m7i.4xlarge",
        "c6a.large",
        "r7i.xlarge",
    ];
    for row in 0..100_000 {
        let (machine, region) = (types[row % 5], row / 5 % 400);
        text.push_str(&format!(
            "\n{machine},,,8.0,16.0,,0.3{},0.1{},region-{region},zone-{row},x86_64",
            row % 7,
            row % 9
        ));
    }
    let file = user.folder().join("vms.csv");
    fs::write(&file, text).expect("a file");
    let start = std::time::Instant::now();
    let report = user.json(&[
        "prices",
        "import",
        &file.to_string_lossy(),
        "--provider",
        "aws",
    ]);
    let took = start.elapsed();
    assert_eq!(number(&report["rows_read"]) as u64, 100_000);
    assert_eq!(number(&report["prices"]) as u64, 4000);
    assert!(took.as_secs_f64() < 2.0, "{took:?}");
}

#[test]
fn a_book_can_be_kept_compared_and_planned_with() {
    let user = User::new();
    user.run(&["prices", "save"]).says(0, &["is kept in"]);
    let today = jiff::Zoned::now().date().to_string();
    let diff = user.json(&["prices", "diff", &today, "current"]);
    assert_eq!(diff["changes"].as_array().map(Vec::len), Some(0), "{diff}");
    user.own_price_file(
        "aws.toml",
        "schema = 1\nprovider = \"aws\"\ncurrency = \"USD\"\nas_of = 2026-11-01\nsource = \"mine\"\n\
         [price.us-east-1]\n\"c7i.2xlarge\" = { on_demand = 0.06 }\n",
    );
    let ran = user.run(&[
        "prices",
        "diff",
        "shipped",
        "current",
        "--calibration",
        MINILM,
        "--qps",
        "50",
        "--p95",
        "100ms",
    ]);
    ran.says(
        0,
        &[
            "aws c7i.2xlarge",
            "%",
            "The plan turns: before",
            "aws c7i.2xlarge",
        ],
    );
    let plan = |more: &[&str]| {
        let mut args = vec![
            "plan",
            "--calibration",
            MINILM,
            "--qps",
            "50",
            "--p95",
            "100ms",
        ];
        args.extend(more);
        user.json(&args)
    };
    let (now, then) = (plan(&[]), plan(&["--prices-as-of", &today]));
    assert_ne!(now["price_book"], then["price_book"]);
    user.run(&[
        "plan",
        "--calibration",
        MINILM,
        "--qps",
        "5",
        "--p95",
        "100ms",
        "--prices-as-of",
        "2020-01-01",
    ])
    .says(
        2,
        &[
            "no price book was kept on or before 2020-01-01",
            "the oldest one kept is of",
        ],
    );
}

#[test]
fn a_discount_and_owned_hardware_count_in_a_plan() {
    let user = User::new();
    let cost = |more: &[&str]| {
        let mut args = vec![
            "plan",
            "--calibration",
            MINILM,
            "--qps",
            "50",
            "--p95",
            "100ms",
            "--provider",
            "aws",
        ];
        args.extend(more);
        let plan = user.json(&args);
        let best = plan["recommended"].as_u64().expect("a recommendation") as usize;
        number(&plan["options"][best]["cost_usd_per_hour"])
    };
    let (list, less) = (cost(&[]), cost(&["--discount", "aws=18%"]));
    assert!((less / list - 0.82).abs() < 1e-9, "{less} {list}");
    user.run(&[
        "plan",
        "--calibration",
        MINILM,
        "--qps",
        "50",
        "--p95",
        "100ms",
        "--discount",
        "asw=18%",
    ])
    .says(2, &["no provider in the price book is called `asw`"]);
    user.own_price_file(
        "rack.toml",
        "schema = 1\nprovider = \"our-rack\"\ncurrency = \"EUR\"\nas_of = 2026-11-01\nsource = \"invoice\"\n\
         [exchange]\nusd = 1.08\nas_of = 2026-11-01\n\
         [machines]\nnode = { vcpus = 32, memory_gib = 128, cpu = \"amd-epyc-genoa\" }\n\
         [owned.node]\npurchase = 24000\nyears = 4\npower_watts = 900\nper_kwh = 0.21\n",
    );
    user.run(&[
        "plan",
        "--calibration",
        MINILM,
        "--qps",
        "50",
        "--p95",
        "100ms",
        "--term",
        "owned",
    ])
    .says(0, &["our-rack node"]);
}

#[test]
fn five_million_sentences_overnight_are_priced_on_cpu_and_gpu() {
    let user = User::new();
    let args = [
        "batch",
        "--calibration",
        MINILM,
        "--items",
        "5M",
        "--deadline",
        "8h",
    ];
    let plan = user.json(&args);
    let options = plan["options"].as_array().expect("options");
    for kind in ["cpu", "gpu"] {
        let option = options
            .iter()
            .find(|option| option["machine"]["kind"] == kind)
            .unwrap_or_else(|| panic!("no {kind} option: {plan}"));
        assert_eq!(option["verdict"], "MEETS", "{option}");
        let time = &option["time_s"];
        assert!(
            number(&time["high"]) <= 8.0 * 3600.0 && number(&time["low"]) > 0.0,
            "{time}"
        );
        // Time is start and work; cost is machines × hours × price, to the second.
        let rate = number(&option["items_per_s"]["value"]) * number(&option["machines"]);
        let expected = number(&option["start_s"]) + 5e6 / rate;
        assert!(
            (number(&time["value"]) / expected - 1.0).abs() < 1e-9,
            "{option}"
        );
        assert!(number(&option["cost_usd"]["value"]) > 0.0);
    }
    let best = plan["recommended"].as_u64().expect("a recommendation") as usize;
    let cost = |option: &Value| number(&option["cost_usd"]["value"]);
    assert!(
        options
            .iter()
            .all(|option| option["verdict"] != "MEETS" || cost(option) >= cost(&options[best]))
    );
    // The measured machine itself: a positive rate, and how long the job takes on it.
    assert!(number(&plan["measured"][0]["items_per_s"]) > 10.0, "{plan}");
    user.run(&args).says(
        0,
        &[
            "Run 5.00M items of minilm-l6 on",
            "the best",
            "CPU",
            "GPU",
            "items/s",
        ],
    );
}

#[test]
fn two_hundred_thousand_large_images_a_day_are_priced() {
    let user = User::new();
    let plan = user.json(&[
        "batch",
        "--calibration",
        RESNET_512,
        "--items",
        "200k",
        "--deadline",
        "24h",
    ]);
    let best = plan["recommended"].as_u64().expect("a recommendation") as usize;
    let option = &plan["options"][best];
    assert_eq!(option["verdict"], "MEETS", "{option}");
    assert!(number(&option["time_s"]["high"]) <= 24.0 * 3600.0);
    // 512 × 512 is 5.2 times the arithmetic of 224 × 224: 8.2 GFLOP become 43.
    assert!(
        (number(&plan["model"]["flops_per_item"]) / 8.2e9 - 5.2).abs() < 0.2,
        "{}",
        plan["model"]
    );
}

#[test]
fn a_job_that_cannot_be_done_is_refused_or_answered_with_the_nearest() {
    let user = User::new();
    let batch = |args: &[&str]| {
        let mut all = vec!["batch", "--calibration", MINILM];
        all.extend(args);
        user.run(&all)
    };
    batch(&["--items", "0", "--deadline", "8h"]).says(2, &["a job of 0 items needs no machine"]);
    batch(&["--items", "5M", "--deadline", "1min"])
        .says(2, &["nothing can be done within", "--start-up"]);
    batch(&["--items", "5M", "--deadline", "8h", "--budget", "0"])
        .says(2, &["nothing can be had for $0"]);
    batch(&["--items", "900B", "--deadline", "8h"]).says(1, &["Nothing was found", "the nearest"]);
    batch(&[
        "--items",
        "5M",
        "--deadline",
        "8h",
        "--term",
        "spot",
        "--provider",
        "aws",
    ])
    .says(
        0,
        &["spot", "a checkpoint each 10.0 min bounds what is lost"],
    );
}

#[test]
fn every_shipped_price_file_holds_to_the_schema() {
    let schema = fs::read_to_string("schema/pricing.schema.json").expect("the schema");
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let json = |text: &str| {
        let value: toml::Value = toml::from_str(text).expect("TOML");
        to_json(&value)
    };
    let mut files = 0;
    for entry in fs::read_dir("pricing").expect("pricing") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a file");
        if let Err(error) = validator.validate(&json(&text)) {
            panic!("{}: {error} at {}", path.display(), error.instance_path());
        }
        files += 1;
    }
    assert!(files >= 10, "{files}");
    // And what must not stand in such a file does not pass.
    let head =
        "schema = 1\nprovider = \"p\"\ncurrency = \"USD\"\nas_of = 2026-11-01\nsource = \"s\"\n";
    assert!(validator.is_valid(&json(head)));
    for bad in [
        "[price.r]\nm = { on_demand = 0 }",
        "[price.r]\nm = { on_demand = -1.0 }",
        "[price.r]\nm = { note = \"none\" }",
        "[price.r]\nm = { on_demnd = 1.0 }",
        "[price.r]\nm = { on_demand = 1.0, interruption = \"5-10%\" }",
        "[machines]\nm = { vcpus = 1, memory_gib = 1, gpu = \"L4\" }",
        "[exchange]\nusd = 1.1\nas_of = 2026-11-01",
    ] {
        assert!(!validator.is_valid(&json(&format!("{head}{bad}"))), "{bad}");
    }
}

/// TOML as JSON, dates as strings.
fn to_json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(truth) => Value::from(*truth),
        toml::Value::Datetime(date) => Value::from(date.to_string()),
        toml::Value::Array(items) => Value::Array(items.iter().map(to_json).collect()),
        toml::Value::Table(table) => Value::Object(
            table
                .iter()
                .map(|(key, value)| (key.clone(), to_json(value)))
                .collect(),
        ),
    }
}

const TRACE: &str = "tests/data/traces/nab_elb_request_count_5min.csv";

#[test]
fn a_real_load_balancers_demand_is_followed_for_less_than_the_static_peak() {
    let user = User::new();
    let args = [
        "plan",
        "--calibration",
        MINILM,
        "--qps",
        "500",
        "--p95",
        "100ms",
        "--provider",
        "aws",
        "--only",
        "cpu",
        "--demand",
        TRACE,
    ];
    let plan = user.json(&args);
    let ways = plan["demand"]["ways"].as_array().expect("ways");
    let of = |name: &str| {
        ways.iter()
            .find(|way| way["name"].as_str().is_some_and(|n| n.contains(name)))
            .unwrap_or_else(|| panic!("no {name}: {plan}"))
    };
    let peak = of("static peak");
    assert!(number(&peak["attainment"]) > 0.999, "{peak}");
    assert!(
        (number(&peak["cost_usd_per_year"]) / number(&peak["cost_usd_per_hour"]) - 8760.0).abs()
            < 1e-6
    );
    // The figure that the plan has to show: certain for less than three quarters of the cost.
    let good = ways
        .iter()
        .filter(|way| number(&way["attainment"]) >= 0.99)
        .map(|way| number(&way["of_static"]))
        .fold(f64::INFINITY, f64::min);
    assert!(good <= 0.75, "{good}: {ways:#?}");
    assert_eq!(
        plan["demand"]["replicas_by_hour"].as_array().map(Vec::len),
        Some(24)
    );
    user.run(&args).says(
        0,
        &[
            "Over time",
            "static peak",
            "autoscaled",
            "a year",
            "machines by hour of day",
        ],
    );
    user.run(&[
        "plan",
        "--calibration",
        MINILM,
        "--qps",
        "5",
        "--p95",
        "100ms",
        "--demand",
        MINILM,
    ])
    .says(2, &["there is no demand in the file"]);
}

#[test]
fn what_would_turn_a_plan_is_said() {
    let user = User::new();
    let args = [
        "plan",
        "--calibration",
        MINILM,
        "--qps",
        "50",
        "--p95",
        "100ms",
        "--provider",
        "aws",
        "--what-if",
    ];
    let plan = user.json(&args);
    let what_if = plan["what_if"].as_array().expect("variations");
    assert_eq!(what_if.len(), 8, "{plan}");
    let base = plan["recommended"].as_u64().expect("a recommendation") as usize;
    let base = number(&plan["options"][base]["cost_usd_per_hour"]);
    let cost = |varied: &str, factor: f64| {
        let found = what_if
            .iter()
            .find(|w| w["varied"] == varied && (number(&w["factor"]) - factor).abs() < 1e-9);
        number(&found.expect("a variation")["cost_usd_per_hour"])
    };
    // Cheaper machines, less load and faster answers never make the plan dearer.
    for varied in ["own-price", "rate", "latency"] {
        assert!(
            cost(varied, 0.8) <= base + 1e-9 && cost(varied, 1.2) >= base - 1e-9,
            "{varied}: {plan}"
        );
    }
    let savings = plan["savings"].as_array().expect("savings");
    assert_eq!(savings.len(), 3);
    assert!(
        (number(&savings[0]["share"])).abs() < 1e-12,
        "no saving against itself: {savings:?}"
    );
    user.run(&args).says(
        0,
        &[
            "no saving against the best single machine type",
            "against always a",
            "stays",
        ],
    );
}

#[test]
fn more_budget_never_gives_a_worse_plan() {
    let user = User::new();
    let rank = |budget: &str| {
        let mut args = vec![
            "plan",
            "--calibration",
            MINILM,
            "--qps",
            "300",
            "--p95",
            "60ms",
            "--format",
            "json",
        ];
        if !budget.is_empty() {
            args.extend(["--budget", budget]);
        }
        let ran = user.run(&args);
        let plan: Value =
            serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}\n{}", ran.shown));
        match plan["recommended"].as_u64() {
            None => 3,
            Some(i) => match plan["options"][i as usize]["verdict"].as_str() {
                Some("MEETS") => 1,
                _ => 2,
            },
        }
    };
    let ranks = ["0.01", "0.1", "0.3", "1", "3", "10", "100", ""].map(rank);
    assert!(ranks.is_sorted_by(|a, b| a >= b), "{ranks:?}");
    assert_eq!(ranks[7], 1, "{ranks:?}");
}

#[test]
fn a_mixed_fleet_is_never_dearer_than_the_best_single_type() {
    let user = User::new();
    let args = [
        "plan",
        "--calibration",
        MINILM,
        "--qps",
        "730",
        "--p95",
        "100ms",
        "--provider",
        "aws",
        "--mixed",
    ];
    let plan = user.json(&args);
    let fleet = &plan["mixed_fleet"];
    let (mix, single) = (
        number(&fleet["cost_usd_per_hour"]),
        number(&fleet["single_usd_per_hour"]),
    );
    assert!(mix <= single + 1e-9, "{fleet}");
    let parts = fleet["parts"].as_array().expect("parts");
    let load: f64 = parts
        .iter()
        .map(|part| number(&part["replicas"]) * number(&part["offered_load_per_s"]))
        .sum();
    assert!((load - 730.0).abs() < 1e-6, "{fleet}");
    for part in parts {
        assert!(number(&part["offered_load_per_s"]) <= number(&part["capacity_per_s"]) + 1e-9);
    }
    user.run(&args).says(0, &["Mixed fleet"]);
}

#[test]
fn a_plan_says_what_it_draws_and_emits() {
    let user = User::new();
    let question = [
        "plan",
        "--calibration",
        MINILM,
        "--qps",
        "300",
        "--p95",
        "60ms",
        "--provider",
        "aws",
    ];
    user.run(&[&question[..], &["--energy"]].concat()).says(
        0,
        &["energy (estimated)", "CO2e/h", "Energy from", "PUE 1.135"],
    );
    let plan = user.json(&question);
    let (options, energy) = (
        plan["options"].as_array().expect("a list"),
        plan["energy"].as_array().expect("a list"),
    );
    assert_eq!(options.len(), energy.len());
    for (option, used) in options.iter().zip(energy) {
        let power = &used["power_w"];
        let (low, value, high) = (
            number(&power["low"]),
            number(&power["value"]),
            number(&power["high"]),
        );
        assert!(0.0 < low && low <= value && value <= high, "{used}");
        // Watts by rate and grid, by hand.
        let kwh = value / 1000.0 * 1e6 / 300.0 / 3600.0;
        assert!((number(&used["energy_kwh_per_million"]) / kwh - 1.0).abs() < 1e-9);
        let grams = kwh * number(&used["grid_gco2e_per_kwh"]);
        assert!((number(&used["carbon_g_per_million"]) / grams - 1.0).abs() < 1e-9);
        assert!(option["machine"]["provider"] == "aws");
    }
    // A grid of one's own takes the place of the region's.
    let green = user.json(&[&question[..], &["--grid-intensity", "0"]].concat());
    assert!(number(&green["energy"][0]["carbon_g_per_hour"]).abs() < 1e-12);
    user.run(&[&question[..], &["--grid-intensity", "-5"]].concat())
        .says(2, &["negative"]);
}
