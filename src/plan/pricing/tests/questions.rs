//! Filters, doubts, discounts and identity, and the laws that they keep.

use super::*;

#[test]
fn a_filter_lets_through_what_it_names() {
    let filter = OfferFilter {
        providers: vec!["aws".into(), "gcp".into()],
        regions: vec!["us-east-1".into()],
        term: Term::Spot,
        kind: Some(OfferKind::Gpu),
    };
    let found = SHIPPED.offers(&filter).unwrap();
    assert!(found.len() > 50);
    for offer in found {
        assert_eq!(
            (offer.provider.as_str(), offer.region.as_str()),
            ("aws", "us-east-1")
        );
        assert!(offer.gpu.is_some() && offer.price(Term::Spot).is_some());
    }
    let all = SHIPPED.offers(&everything(Term::OnDemand)).unwrap();
    // One machine of verda is sold on spot terms alone.
    assert_eq!(all.len() + 1, SHIPPED.all().len());
}

#[test]
fn a_filter_that_leaves_nothing_says_why() {
    let refusal = |change: fn(&mut OfferFilter)| {
        let mut filter = everything(Term::OnDemand);
        change(&mut filter);
        SHIPPED.offers(&filter).unwrap_err().to_string()
    };
    assert_eq!(
        refusal(|f| f.providers = vec!["awss".into()]),
        "no provider in the price book is called `awss`\n\nhint: did you mean `aws`?"
    );
    assert_eq!(
        refusal(|f| f.regions = vec!["us-east1".into()]),
        "no region in the price book is called `us-east1`\n\nhint: did you mean `us-east-1` or `us-central1` or `us`?"
    );
    assert!(
        refusal(|f| f.providers = vec!["zzz".into()])
            .contains("the providers are aws, azure, crusoe")
    );
    assert!(
        refusal(|f| {
            f.providers = vec!["aws".into()];
            f.regions = vec!["westeurope".into()];
        })
        .starts_with("no region of aws in the price book is called `westeurope`")
    );
    assert_eq!(
        refusal(|f| {
            f.providers = vec!["azure".into()];
            f.term = Term::Spot;
        }),
        "no machine of azure has a known spot price\n\nhint: the terms with prices there: on-demand"
    );
}

#[test]
fn old_and_estimated_prices_are_doubted() {
    let book = only_mine(MINE);
    let offers = || book.all().iter();
    assert_eq!(
        price_caveats(offers(), Term::OnDemand, date(2026, 12, 1)),
        []
    );
    let later = price_caveats(offers(), Term::OnDemand, date(2026, 12, 2));
    assert_eq!(later.len(), 1);
    assert_eq!(later[0].kind, CaveatKind::Price);
    assert_eq!(
        later[0].message,
        "the on-demand price of mine box in office is 31 days old (2026-11-01)"
    );
    let loud = price_caveats(offers(), Term::OnDemand, date(2027, 5, 1));
    assert!(loud[0].message.starts_with("OLD PRICE: "), "{}", loud[0]);
    assert!(loud[0].message.contains("181 days old"));
    assert_eq!(
        price_caveats(offers(), Term::OnDemand, date(2026, 1, 1)),
        []
    );

    let aws: Vec<&Offer> = SHIPPED
        .all()
        .iter()
        .filter(|o| o.provider == "aws")
        .collect();
    let spot = price_caveats(aws, Term::Spot, TODAY);
    assert_eq!(spot.len(), 2);
    assert!(
        spot[1]
            .message
            .contains("spot prices of aws are estimates (list price less")
    );
}

#[test]
fn what_looks_wrong_is_found() {
    let shipped_caveats = check(&SHIPPED, &HARDWARE, TODAY).len();
    let odd = |text: &str| {
        let found = check(&with_mine(text), &HARDWARE, TODAY);
        assert_eq!(found.len(), shipped_caveats + 1, "{found:#?}");
        found
            .into_iter()
            .find(|c| c.message.starts_with("mine "))
            .unwrap()
            .message
    };
    assert!(odd(&MINE.replace("0.75", "75.0")).contains("times above the usual"));
    assert!(odd(&MINE.replace("0.75", "0.0075")).contains("times below the usual"));
    assert!(
        odd(&MINE.replace("spot = 0.1", "spot = 0.3")).contains("is above the on-demand price")
    );
    let future = MINE.replace(
        "\"gpu-box\" = { on_demand = 0.75",
        "\"gpu-box\" = { on_demand = 0.75, as_of = 2027-01-01",
    );
    assert!(odd(&future).contains("still to come"));
    let memory = MINE.replace("gpus = 1", "gpus = 1, gpu_memory_gib = 16");
    assert!(odd(&memory).contains("16.0 GiB on each L4"));
}

#[test]
fn the_hash_is_that_of_the_prices_and_not_of_the_text() {
    let hash = |text: &str| only_mine(text).hash();
    let one = hash(MINE);
    assert_eq!(one.to_string().len(), 12);
    assert!(one.full().starts_with(&one.to_string()) && one.full().len() == 64);
    assert_eq!(one, hash(&MINE.replace("my contract", "another paper")));
    assert_eq!(one, hash(&format!("# a remark\n{MINE}")));
    for (from, to) in [
        ("0.25", "0.26"),
        ("spot", "reserved_1y"),
        ("office", "home"),
        ("vcpus = 8", "vcpus = 4"),
        ("2026-11-01", "2026-11-02"),
    ] {
        let changed = MINE
            .replace(from, to)
            .replace(", interruption = \"<5%\"", "");
        let base = MINE.replace(", interruption = \"<5%\"", "");
        assert_ne!(hash(&base), hash(&changed), "{from}");
    }
}

#[test]
fn the_closest_discount_counts_alone() {
    let discounts: Vec<Discount> = ["aws=18%", "aws/spot=5%", "aws/c7i.2xlarge=0.5"]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    let book = SHIPPED.discounted(&discounts).unwrap();
    let price = |book: &PriceBook, instance: &str, term| {
        usd(find(book, "aws", instance, "us-east-1"), term).unwrap()
    };
    for (instance, term, rest) in [
        ("c7i.4xlarge", Term::OnDemand, 0.82),
        ("c7i.4xlarge", Term::Spot, 0.95),
        ("c7i.2xlarge", Term::Spot, 0.5),
    ] {
        let ratio = price(&book, instance, term) / price(&SHIPPED, instance, term);
        assert!((ratio - rest).abs() < 1e-12, "{instance} {term}");
    }
    let offer = find(&book, "aws", "c7i.4xlarge", "us-east-1");
    let basis = offer.price(Term::OnDemand).unwrap().basis.as_deref();
    assert_eq!(basis, Some("list price, less your discount aws=18%"));
    assert_eq!(
        find(&book, "gcp", "n2-standard-4", "us-central1"),
        find(&SHIPPED, "gcp", "n2-standard-4", "us-central1")
    );
}

#[test]
fn a_discount_that_cannot_be_meant_is_refused() {
    for bad in ["aws", "aws=100%", "aws=-5%", "=5%", "aws/=5%", "aws=much"] {
        let error = bad.parse::<Discount>().unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("`{bad}` is not a discount: ")),
            "{error}"
        );
    }
    let refusal = |texts: &[&str]| {
        let all: Vec<Discount> = texts.iter().map(|t| t.parse().unwrap()).collect();
        SHIPPED.discounted(&all).unwrap_err().to_string()
    };
    assert_eq!(
        refusal(&["awss=5%"]),
        "`awss=5%`: no provider in the price book is called `awss`\n\nhint: did you mean `aws`?"
    );
    assert!(refusal(&["aws/c7i.2xlage=5%"]).contains("did you mean `c7i.2xlarge`"));
    assert!(refusal(&["aws=5%", "aws=6%"]).contains("are for the same prices"));
}

#[test]
fn terms_and_interruptions_read_as_they_are_shown() {
    for term in Term::ALL {
        assert_eq!(term.to_string().parse::<Term>().unwrap(), term);
        assert_eq!(serde_json::to_value(term).unwrap(), term.name());
    }
    assert!("ondemand".parse::<Term>().is_err());
    for text in ["<5%", "5-10%", ">20%"] {
        assert_eq!(text.parse::<Interruption>().unwrap().to_string(), text);
    }
    for bad in ["", "5%", "10-5%", "<x%", ">120%", "5-10"] {
        assert!(bad.parse::<Interruption>().is_err(), "{bad}");
    }
}

/// A user's file with one price put in.
fn priced(amount: f64) -> String {
    MINE.replace("0.75", &format!("{amount:?}"))
}

proptest! {
    #[test]
    fn a_discount_never_raises_a_price_and_a_larger_one_lowers_it_more(
        amount in 1e-4..1e4f64, small in 0.0..0.99f64, large in 0.0..0.99f64,
    ) {
        let (small, large) = (small.min(large), small.max(large));
        let book = only_mine(&priced(amount));
        let pay = |off: f64| {
            let discount = Discount {
                provider: "mine".into(),
                scope: DiscountScope::All,
                off: Fraction::new(off).unwrap(),
            };
            let book = book.discounted(&[discount]).unwrap();
            find(&book, "mine", "gpu-box", "office").price(Term::OnDemand).unwrap().per_hour
        };
        prop_assert!(pay(large) <= pay(small));
        prop_assert!(pay(small) <= UsdPerHour::new(amount).unwrap());
        prop_assert!(pay(large) > UsdPerHour::ZERO);
    }

    #[test]
    fn a_price_is_kept_to_the_last_digit(amount in 1e-6..1e6f64) {
        let book = only_mine(&priced(amount));
        prop_assert_eq!(usd(find(&book, "mine", "gpu-box", "office"), Term::OnDemand), Some(amount));
    }

    #[test]
    fn no_text_makes_the_reader_panic(cut in 0..600usize, put in ".{0,12}", at in 0..600usize) {
        let mut text: String = MINE.chars().enumerate().filter(|(i, _)| *i != cut).map(|(_, c)| c).collect();
        let at = text.char_indices().map(|(i, _)| i).nth(at).unwrap_or(0);
        text.insert_str(at, &put);
        // Either outcome is right; what must not happen is a panic or a price of zero.
        if let Ok(book) = PriceBook::from_texts(&[], &[TomlText::new("x", &text)], &HARDWARE) {
            for offer in book.all() {
                prop_assert!(offer.prices.iter().all(|p| !p.per_hour.is_zero()));
            }
        }
    }
}
