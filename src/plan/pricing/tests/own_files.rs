//! What users write, rightly and wrongly.

use super::*;

/// Files of `tests/data/prices/bad`, and how the message about each begins.
const MISTAKES: &[(&str, &str)] = &[
    (
        "billing_negative",
        "8:17: a time must not be negative, but is -1",
    ),
    ("cut_short", "13:26: unclosed inline table, expected `}`"),
    (
        "date_with_time",
        "4:9: `2026-11-01T12:00:00` is not a day: write it as 2026-07-20, without quotes",
    ),
    ("empty", "1:1: missing field `schema`"),
    (
        "gpu_count_without_name",
        "9:67: which GPU? give its name as `gpu`",
    ),
    (
        "gpu_without_count",
        "9:66: how many of them? give the number as `gpus`",
    ),
    (
        "infinite",
        "12:23: a price cannot be infinite: leave it out where it is unknown",
    ),
    (
        "interruption_unreadable",
        "12:56: `seldom` is not a rate of interruption: write `<5%`, `5-10%` or `>20%`",
    ),
    (
        "interruption_without_spot",
        "12:44: a rate of interruption without a spot price",
    ),
    (
        "machine_without_facts",
        "13:1: `gpubox` has a price but stands in no `[machines]` of mine",
    ),
    (
        "memory_in_bytes",
        "8:35: a machine has more than 0 and at most 100,000 GiB of memory",
    ),
    (
        "month_dearer_than_hour",
        "13:46: a month in full costs more per hour than `on_demand`",
    ),
    (
        "name_of_two_words",
        "9:1: \"gpu box\" cannot be a name: write one word",
    ),
    (
        "nan",
        "12:23: a price cannot be NaN: leave it out where it is unknown",
    ),
    ("negative", "12:23: a price cannot be negative"),
    ("no_date", "1:1: missing field `as_of`"),
    (
        "no_such_day",
        "4:9: invalid date, expected day between 01 and 28",
    ),
    ("no_vcpus", "8:19: a machine has between 1 and 10,000 vCPUs"),
    (
        "other_currency",
        "3:12: prices in EUR need a rate of exchange",
    ),
    ("owned_for_no_time", "15:8: `years` must be more than 0"),
    (
        "owned_for_nothing",
        "15:8: these costs come to 0 per hour: give `purchase`",
    ),
    (
        "price_as_text",
        "12:23: invalid type: string \"$0.25\", expected a number without quotes",
    ),
    (
        "quoted_date",
        "4:9: invalid type: string \"2026-11-01\", expected a date without quotes (2026-07-20)",
    ),
    (
        "rate_for_dollars",
        "7:2: prices in USD need no rate of exchange",
    ),
    (
        "region_misspelt",
        "7:10: no price is given in region `ofice`: is the name right?",
    ),
    (
        "row_without_price",
        "13:1: a row without a price: leave it out where the price is unknown",
    ),
    ("same_offer_twice", "13:1: duplicate key"),
    (
        "typo_at_the_top",
        "5:1: unknown field `souce`, expected one of",
    ),
    (
        "typo_in_a_price",
        "12:11: unknown field `on_demnd`, expected one of",
    ),
    ("unknown_cpu", "8:45: no CPU family is called `aws/c7ii`"),
    ("unknown_gpu", "9:66: no GPU is called `NVIDIA L4`"),
    ("vgpu_of_nothing", "9:94: a share of 0 is no GPU"),
    ("wrong_arch", "8:63: aws/c7i is x86_64"),
    (
        "wrong_schema",
        "1:10: price files of schema 2 are unknown to this version: it reads schema 1",
    ),
    (
        "zero",
        "12:23: a price of 0 would mean free: leave it out where it is unknown",
    ),
];

#[test]
fn each_mistake_is_shown_with_file_line_and_caret() {
    let folder = Path::new("tests/data/prices/bad");
    for (name, message) in MISTAKES {
        let file = format!("{name}.toml");
        let text = std::fs::read_to_string(folder.join(&file)).unwrap();
        let error = PriceBook::load(&[TomlText::new(&file, &text)], &HARDWARE).unwrap_err();
        let shown = error.to_string();
        assert_eq!(error.kind(), ErrorKind::BadInput);
        assert!(
            shown.starts_with(&format!("{file}:{message}")),
            "{name}:\n{shown}"
        );
        assert!(shown.contains(" | ") && shown.contains('^'), "{shown}");
    }
    let files = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(files, MISTAKES.len() + 1, "a file that no test reads");
}

#[test]
fn a_mistyped_name_gets_the_right_one() {
    let hint = |text: &str| refusal(text).split("hint: ").nth(1).unwrap().to_owned();
    assert_eq!(
        hint(&MINE.replace("on_demand = 0.7", "on_demnd = 0.7")),
        "did you mean `on_demand`?"
    );
    assert!(hint(&MINE.replace("aws/c7i", "aws/c7ii")).starts_with("did you mean `aws/c7i`"));
    assert_eq!(
        hint(&MINE.replace("\"L4\"", "\"NVIDIA L4\"")),
        "did you mean `L4`?"
    );
    assert_eq!(
        hint(&MINE.replace("\"gpu-box\" = { on", "\"gpubox\" = { on")),
        "did you mean `gpu-box`?"
    );
}

#[test]
fn one_offer_in_two_files_of_the_user_is_refused() {
    let error = PriceBook::load(
        &[TomlText::new("a.toml", MINE), TomlText::new("b.toml", MINE)],
        &HARDWARE,
    )
    .unwrap_err();
    assert_eq!(
        error.message(),
        "mine box in office has a price in a.toml and in b.toml"
    );
    let text = std::fs::read_to_string("tests/data/prices/bad/owned_and_priced.toml").unwrap();
    assert!(refusal(&text).starts_with("mine box has a price twice in mine.toml"));
}

#[test]
fn the_users_price_takes_the_place_of_the_shipped_one() {
    let own = r#"
schema = 1
provider = "aws"
currency = "USD"
as_of = 2026-11-20
source = "our agreement"
[price.us-east-1]
"c7i.2xlarge" = { on_demand = 0.2 }
"#;
    let book = with_mine(own);
    assert_eq!(book.all().len(), SHIPPED.all().len());
    let offer = find(&book, "aws", "c7i.2xlarge", "us-east-1");
    // The facts of the machine are the shipped ones, the terms the user's alone.
    assert_eq!((offer.vcpus, usd(offer, Term::OnDemand)), (8, Some(0.2)));
    assert_eq!(offer.price(Term::Spot), None);
    assert_eq!(
        (offer.source.as_str(), offer.file.as_str()),
        ("our agreement", "mine.toml")
    );
    assert_ne!(book.hash(), SHIPPED.hash());

    let alone = own.replace("source", "replace = true\nsource");
    let error = PriceBook::load(&[TomlText::new("mine.toml", &alone)], &HARDWARE).unwrap_err();
    assert!(
        error
            .message()
            .contains("`c7i.2xlarge` has a price but stands in no `[machines]`")
    );
    let described = alone + "[machines]\n\"c7i.2xlarge\" = { vcpus = 8, memory_gib = 16 }\n";
    let book = with_mine(&described);
    assert_eq!(book.all().iter().filter(|o| o.provider == "aws").count(), 1);
}

#[test]
fn other_currencies_are_converted_at_the_users_rate() {
    let text = MINE.replace("\"USD\"", "\"EUR\"").replace(
        "[machines]",
        "[exchange]\nusd = 1.1\nas_of = 2026-11-02\n[machines]",
    );
    let book = only_mine(&text);
    let offer = find(&book, "mine", "box", "office");
    assert!((usd(offer, Term::OnDemand).unwrap() - 0.275).abs() < 1e-12);
    assert_eq!(offer.notes, ["converted at 1.1 USD to 1 EUR (2026-11-02)"]);
}

#[test]
fn owned_hardware_has_a_price_per_hour() {
    let text = MINE.to_owned() + "[owned.\"gpu-box\"]\npurchase = 8760\nyears = 1\n";
    let book = only_mine(&text);
    let offer = find(&book, "mine", "gpu-box", "*");
    assert_eq!(usd(offer, Term::Owned), Some(1.0));
    let found = book.offers(&everything(Term::Owned)).unwrap();
    assert_eq!(found, [offer]);
}

#[test]
fn the_examples_of_the_format_description_load() {
    let text = std::fs::read_to_string("schema/pricing.md").unwrap();
    let examples: Vec<&str> = text
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(examples.len(), 3);
    for example in &examples {
        assert!(!only_mine(example).all().is_empty());
        with_mine(example);
    }
    let node = only_mine(examples[2]);
    // (24000 / 4 + 1200) / (8760 × 0.7) + 0.9 × 0.21
    let price = usd(find(&node, "our-rack", "node", "*"), Term::Owned).unwrap();
    assert!((price - 1.363_168).abs() < 1e-5, "{price}");
}
