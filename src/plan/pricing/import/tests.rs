//! The readers on samples of real lists, and on broken ones.

use super::*;
use crate::plan::pricing::{PriceBook, Term};
use crate::profile::toml_text::TomlText;

const SKYPILOT_AWS: &str =
    include_str!("../../../../tests/data/prices/import/skypilot/aws/vms.csv");
const SKYPILOT_GCP: &str =
    include_str!("../../../../tests/data/prices/import/skypilot/gcp/vms.csv");
const SKYPILOT_LAMBDA: &str =
    include_str!("../../../../tests/data/prices/import/skypilot/lambda/vms.csv");
const SKYPILOT_VAST: &str =
    include_str!("../../../../tests/data/prices/import/skypilot/vast/vms.csv");
const GPUHUNT_VERDA: &str = include_str!("../../../../tests/data/prices/import/gpuhunt/verda.csv");
const AWS: &str = include_str!("../../../../tests/data/prices/import/aws/index.json");

fn read(format: ImportFormat, text: &str, provider: &str) -> Imported {
    let hardware = HardwareBook::shipped().unwrap();
    let known = PriceBook::shipped(&hardware).unwrap();
    let context = ImportContext {
        provider,
        regions: &[],
        hardware: &hardware,
        known: &known,
    };
    let imported = format.read(text.as_bytes(), context).unwrap();
    let accounted = imported.rows.taken + imported.rows.left_count();
    assert!(accounted >= imported.rows.read, "{:?}", imported.rows);
    imported
}

fn left(imported: &Imported, why: &str) -> u64 {
    imported
        .rows
        .left
        .iter()
        .filter(|(reason, _)| reason.contains(why))
        .map(|(_, left)| left.count)
        .sum()
}

fn book_of(imported: &Imported, provider: &str) -> PriceBook {
    let text = imported.to_toml(&FileHead {
        provider,
        as_of: "2026-11-01".parse().unwrap(),
        as_of_note: None,
        source: "a \"list\"",
        billing: None,
        shipped: Shipped::PutAside,
    });
    let hardware = HardwareBook::shipped().unwrap();
    PriceBook::from_texts(&[TomlText::new("imported.toml", &text)], &[], &hardware).unwrap()
}

fn price(book: &PriceBook, machine: &str, region: &str, term: Term) -> Option<f64> {
    let offer = book
        .all()
        .iter()
        .find(|o| o.instance_type == machine && o.region == region)?;
    Some(offer.price(term)?.per_hour.get())
}

#[test]
fn skypilot_zones_become_one_region_with_the_dearest_spot_price() {
    let imported = read(ImportFormat::SkyPilot, SKYPILOT_AWS, "aws");
    assert_eq!(left(&imported, "CPU family"), 4, "{:?}", imported.rows);
    // The same rows of a type whose processors are known.
    let known = SKYPILOT_AWS.replace("a1.2xlarge", "c7g.2xlarge");
    let imported = read(ImportFormat::SkyPilot, &known, "aws");
    let book = book_of(&imported, "aws");
    assert_eq!(
        price(&book, "c7g.2xlarge", "us-east-2", Term::OnDemand),
        Some(0.204)
    );
    assert_eq!(
        price(&book, "c7g.2xlarge", "us-east-2", Term::Spot),
        Some(0.2029)
    );
    // A spot price that is the list price says nothing.
    assert_eq!(
        price(&book, "c7g.2xlarge", "ap-northeast-1", Term::Spot),
        None
    );
    assert_eq!(imported.rows.taken, 3);
}

#[test]
fn a_host_without_its_gpus_is_not_taken_for_a_machine() {
    let imported = read(ImportFormat::SkyPilot, SKYPILOT_GCP, "gcp");
    assert_eq!(
        (imported.rows.taken, left(&imported, "leaves out the GPUs")),
        (0, 2)
    );
}

#[test]
fn columns_are_found_by_name_and_gpus_by_name_and_memory() {
    let imported = read(ImportFormat::SkyPilot, SKYPILOT_LAMBDA, "lambda");
    let gpu =
        |imported: &Imported, name: &str| imported.machines.get(name).and_then(|m| m.gpu.clone());
    assert_eq!(
        gpu(&imported, "gpu_8x_v100_n"),
        Some(("V100".to_owned(), 8))
    );
    assert_eq!(
        gpu(&imported, "gpu_1x_a6000"),
        Some(("RTX-A6000".to_owned(), 1))
    );
    let imported = read(ImportFormat::SkyPilot, SKYPILOT_VAST, "vast");
    assert_eq!(
        gpu(&imported, "1x-H100_NVL-32-65536"),
        Some(("H100-NVL".to_owned(), 1))
    );
    assert_eq!(
        gpu(&imported, "4x-RTX_4090-32-65536"),
        Some(("RTX-4090".to_owned(), 4))
    );
    assert_eq!(left(&imported, "no GPU `RTX3070`"), 1);
    let book = book_of(&imported, "vast");
    // 0.00 stands for "no spot price" there, and places become one word.
    assert!(book.all().iter().all(|o| o.price(Term::Spot).is_none()));
    assert!(
        price(
            &book,
            "1x-RTX_5090-32-65536",
            "Bács-Kiskun-HU-EU",
            Term::OnDemand
        )
        .is_some()
    );
}

#[test]
fn gpuhunt_rows_of_both_kinds_make_one_offer() {
    let imported = read(ImportFormat::Gpuhunt, GPUHUNT_VERDA, "verda");
    let book = book_of(&imported, "verda");
    assert_eq!(
        price(&book, "1H100.80S.30V", "FIN-01", Term::OnDemand),
        Some(3.95)
    );
    assert_eq!(
        price(&book, "1H100.80S.30V", "FIN-01", Term::Spot),
        Some(1.7)
    );
    assert_eq!(
        price(&book, "2A6000.20V", "ICE-01", Term::OnDemand),
        Some(1.98)
    );
}

#[test]
fn the_aws_list_gives_bare_linux_by_the_hour_and_nothing_else() {
    let imported = read(ImportFormat::AwsPriceList, AWS, "aws");
    assert_eq!(imported.dated, Some("2020-06-18".parse().unwrap()));
    let book = book_of(&imported, "aws");
    assert_eq!(book.all().len(), 1);
    let of = |term| price(&book, "c5.xlarge", "us-east-1", term);
    assert_eq!(of(Term::OnDemand), Some(0.17));
    assert_eq!(of(Term::Reserved1y), Some(0.107));
    assert_eq!(of(Term::Reserved3y), Some(0.071));
    for why in [
        "capacity reservation",
        "another operating system",
        "not a machine",
    ] {
        assert_eq!(left(&imported, why), 1, "{why}: {:?}", imported.rows);
    }
}

#[test]
fn broken_rows_are_reported_with_their_line_and_skipped() {
    let head = SKYPILOT_LAMBDA.lines().next().unwrap();
    let good = "gpu_1x_a10,A10,1.0,30.0,200.0,0.75,us-east-1,,";
    let rows = [
        "gpu_1x_a10,A10,1.0,30.0,200.0,0.75",
        "gpu_1x_a10,A10,1.0,30.0,200.0,free,us-east-1,,",
        "gpu_1x_a10,A10,1.0,30.0,200.0,0.0,us-east-1,,",
        "gpu_1x_a10,A10,1.0,30.0,200.0,-1,us-east-1,,",
        "gpu_1x_a10,A10,1.0,30.0,200.0,700.0,us-east-1,,",
        "gpu_1x_a10,A10,1.0,30.0,200.0,NaN,us-east-1,,",
        ",A100,1.0,,,1.29,us-east-1,,",
        "gpu_half_a10,A10,0.5,30.0,200.0,0.75,us-east-1,,",
    ];
    let text = format!("{head}\n{}\n{good}\n", rows.join("\n"));
    let imported = read(ImportFormat::SkyPilot, &text, "lambda");
    assert_eq!(
        (imported.rows.read, imported.rows.taken),
        (9, 1),
        "{:?}",
        imported.rows
    );
    let first = |why: &str| imported.rows.left.get(why).map(|left| left.first.as_str());
    assert_eq!(first("a broken row"), Some("line 2"));
    assert_eq!(first("`Price` is not a number"), Some("line 3"));
    assert_eq!(first("no price (or 0, which is none)"), Some("line 4"));
    assert_eq!(first("a negative price"), Some("line 5"));
    assert_eq!(first("a placeholder instead of a price"), Some("line 6"));
    assert_eq!(first("a price that is no number"), Some("line 7"));
    assert_eq!(left(&imported, "without a machine"), 1);
    assert_eq!(left(&imported, "part of a GPU"), 1);
}

#[test]
fn what_is_no_such_list_is_refused() {
    let hardware = HardwareBook::shipped().unwrap();
    let known = PriceBook::shipped(&hardware).unwrap();
    let context = ImportContext {
        provider: "aws",
        regions: &[],
        hardware: &hardware,
        known: &known,
    };
    for (format, text, says) in [
        (
            ImportFormat::SkyPilot,
            "a,b\n1,2\n",
            "it has no column `InstanceType`",
        ),
        (
            ImportFormat::Gpuhunt,
            "",
            "it has no column `instance_name`",
        ),
        (ImportFormat::AwsPriceList, "{}", "it names no offer"),
        (
            ImportFormat::AwsPriceList,
            "{\"offerCode\": \"AmazonS3\"}",
            "price list of AmazonS3",
        ),
        (
            ImportFormat::AwsPriceList,
            AWS.get(..900).unwrap(),
            "cannot be read",
        ),
        (ImportFormat::AwsPriceList, "[]", "cannot be read"),
    ] {
        let error = format.read(text.as_bytes(), context).unwrap_err();
        assert!(error.message().contains(says), "{error}");
    }
    for (text, format) in [
        (SKYPILOT_GCP, Some(ImportFormat::SkyPilot)),
        (GPUHUNT_VERDA, Some(ImportFormat::Gpuhunt)),
        (AWS, Some(ImportFormat::AwsPriceList)),
        ("hello", None),
    ] {
        assert_eq!(ImportFormat::guess(text), format);
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_a_reader_fail_in_another_way_than_by_an_error(text in ".{0,400}") {
        let hardware = HardwareBook::default();
        let known = PriceBook::default();
        let context = ImportContext { provider: "aws", regions: &[], hardware: &hardware, known: &known };
        let table = format!("InstanceType,vCPUs,MemoryGiB,Price,Region\n{text}\n");
        let imported = skypilot(table.as_bytes(), context).unwrap();
        proptest::prop_assert_eq!(imported.rows.taken + imported.rows.left_count(), imported.rows.read);
        let _ = aws_price_list(text.as_bytes(), context);
    }
}
