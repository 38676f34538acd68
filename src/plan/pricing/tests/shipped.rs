//! The shipped book against its sources.

use super::*;

/// The rows of `tests/data/prices/source_rows.csv`, by column name.
fn source_rows() -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::ReaderBuilder::new()
        .comment(Some(b'#'))
        .from_path("tests/data/prices/source_rows.csv")
        .unwrap();
    let header = reader.headers().unwrap().clone();
    reader
        .records()
        .map(|row| {
            let row = row.unwrap();
            header
                .iter()
                .zip(row.iter())
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect()
        })
        .collect()
}

#[test]
fn shipped_prices_are_those_of_their_sources() {
    let rows = source_rows();
    assert!(rows.len() >= 20);
    for row in &rows {
        let offer = find(
            &SHIPPED,
            &row["cloud"],
            &row["instance_type"],
            &row["region"],
        );
        let number = |key: &str| row[key].parse::<f64>().ok();
        assert_eq!(offer.vcpus.to_string(), row["vcpus"], "{offer}");
        let memory = Bytes::from_gib(number("memory_gib").unwrap());
        assert_eq!(offer.memory, memory, "{offer}");
        assert_eq!(offer.arch == "aarch64", row["arch"] == "arm64", "{offer}");
        for (term, key) in [
            (Term::OnDemand, "price_on_demand_usd_per_hour"),
            (Term::Spot, "price_spot_usd_per_hour"),
            (Term::Reserved1y, "price_1y_usd_per_hour"),
            (Term::Reserved3y, "price_3y_usd_per_hour"),
        ] {
            assert_eq!(usd(offer, term), number(key), "{offer} {term}");
        }
        let band = offer.price(Term::Spot).and_then(|p| p.interruption);
        let shown = band.map_or(String::new(), |b| b.to_string());
        assert_eq!(shown, row["spot_interruption_band"], "{offer}");

        let gpu = offer.gpu.as_ref();
        let name = gpu.map_or("", |g| g.name.as_str());
        assert_eq!(name, row["accelerator_name"], "{offer}");
        if let (Some(gpu), Some(count)) = (gpu, number("accelerator_count")) {
            let share = gpu.share.map_or(1.0, Fraction::get);
            assert!(
                (f64::from(gpu.count) * share - count).abs() < 1e-12,
                "{offer}"
            );
            let label = Bytes::from_gib(number("accelerator_memory_gib").unwrap());
            assert!(
                gpu.memory <= label && gpu.memory > label.scaled(0.85),
                "{offer}"
            );
        }

        // Sources of unknown day are dated to the first of the month or year they name.
        let dated = row["as_of"].split(' ').next().unwrap();
        if let Some(price) = offer.price(Term::OnDemand) {
            assert!(
                price.as_of.to_string().starts_with(dated),
                "{offer}: {dated}"
            );
        }
        let repository = row["source"].split([' ', '@']).next().unwrap();
        assert!(
            offer.source.contains(repository)
                || offer.notes.iter().any(|n| n.contains("Shadeform")),
            "{offer}: {} for {repository}",
            offer.source
        );
    }
}

#[test]
fn the_whole_shipped_book_is_in_order() {
    assert!(SHIPPED.all().len() > 2900);
    assert_eq!(SHIPPED.providers().len(), 17);
    let keys: Vec<_> = SHIPPED
        .all()
        .iter()
        .map(|o| (&o.provider, &o.instance_type, &o.region))
        .collect();
    assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
    for offer in SHIPPED.all() {
        assert!(!offer.prices.is_empty() && !offer.source.is_empty());
        assert!(offer.prices.iter().all(|p| !p.per_hour.is_zero()));
        if let Some(cpu) = &offer.cpu {
            assert_eq!(HARDWARE.cpu(cpu).unwrap().arch, offer.arch);
        }
        if let Some(gpu) = &offer.gpu {
            assert!(HARDWARE.gpu(&gpu.name).is_some() && gpu.count > 0);
        }
        // A CPU machine of the three large clouds always has a known processor.
        let large = ["aws", "gcp", "azure"].contains(&offer.provider.as_str());
        assert!(
            !large || offer.gpu.is_some() || offer.cpu.is_some(),
            "{offer}"
        );
    }
    // The only oddities are V100s let cheaply by small clouds; they are in the sources.
    let odd = check(&SHIPPED, &HARDWARE, TODAY);
    let messages: Vec<&str> = odd.iter().map(|c| c.message.as_str()).collect();
    assert_eq!(messages.len(), 4, "{messages:#?}");
    assert!(messages.iter().all(|m| m.contains("per V100 GPU")));
}

#[test]
fn what_is_not_a_whole_machine_is_not_offered() {
    let names = |o: &Offer| o.instance_type.starts_with("per-gpu-");
    assert!(!SHIPPED.all().iter().any(names));
    assert!(!SHIPPED.providers().contains(&"runpod-serverless"));
    // RunPod's source repeats the on-demand price as spot; that is no spot price.
    let runpod = SHIPPED.all().iter().filter(|o| o.provider == "runpod");
    assert!(runpod.clone().count() > 0);
    assert!(runpod.clone().all(|o| o.price(Term::Spot).is_none()));
    let part = find(&SHIPPED, "aws", "g6f.xlarge", "us-east-1");
    let gpu = part.gpu.as_ref().unwrap();
    assert_eq!((gpu.count, gpu.memory), (1, Bytes::from_gib(3.0)));
    assert_eq!(gpu.share, Some(Fraction::new(0.125).unwrap()));
    assert!(!find(&SHIPPED, "aws", "t3.large", "us-east-1").sustains_full_load());
    assert!(find(&SHIPPED, "aws", "c7i.large", "us-east-1").sustains_full_load());
}

#[test]
fn every_kind_of_price_keeps_its_own_date_and_basis() {
    let offer = find(&SHIPPED, "aws", "c7i.2xlarge", "us-east-1");
    let spot = offer.price(Term::Spot).unwrap();
    assert_eq!(spot.as_of, date(2025, 6, 28));
    assert!(spot.estimated && spot.basis.as_deref().unwrap().contains("Spot Advisor"));
    let list = offer.price(Term::OnDemand).unwrap();
    assert_eq!((list.as_of, list.estimated), (date(2026, 7, 20), false));
    assert_eq!(list.age_days(TODAY), 124);
    let tokyo = find(&SHIPPED, "aws", "p5.48xlarge", "ap-northeast-1");
    assert!(tokyo.price(Term::OnDemand).unwrap().estimated);
    let sustained = find(&SHIPPED, "gcp", "n2-standard-4", "us-central1");
    assert!(sustained.full_month < sustained.price(Term::OnDemand).map(|p| p.per_hour));
}

#[test]
fn billing_rounds_up() {
    let billing = find(&SHIPPED, "scaleway", "L4", "paris")
        .billing
        .clone()
        .unwrap();
    let hours = |h: f64| Time::new(h * 3600.0).unwrap();
    assert_eq!(billing.billed(hours(0.1)), hours(1.0));
    assert_eq!(billing.billed(hours(1.5)), hours(2.0));
    assert_eq!(billing.billed(hours(2.0)), hours(2.0));
}
