use super::*;
use std::sync::OnceLock;

fn all() -> &'static Evaluation {
    static ALL: OnceLock<Evaluation> = OnceLock::new();
    ALL.get_or_init(|| evaluate().unwrap())
}

fn of(set: Set, kind: Option<CaseKind>) -> Summary {
    summaries(&all().cases)
        .into_iter()
        .find(|s| s.set == set && s.kind == kind)
        .unwrap()
}

#[test]
fn traced_cases_are_met_within_the_promised_errors_kind_by_kind() {
    let kinds = [
        (CaseKind::TransformerTraining, 600),
        (CaseKind::ImageTraining, 300),
        (CaseKind::Lora, 200),
        (CaseKind::Qlora, 60),
        (CaseKind::TransformerInference, 250),
        (CaseKind::ImageInference, 150),
    ];
    for (kind, least) in kinds {
        let summary = of(Set::Traced, Some(kind));
        assert!(summary.cases >= least, "{summary:?}");
        assert!(summary.median <= 0.015, "{summary:?}");
        assert!(summary.p95 <= 0.10, "{summary:?}");
    }
}

#[test]
fn traced_training_steps_are_met_almost_to_the_byte() {
    for kind in [
        CaseKind::TransformerTraining,
        CaseKind::ImageTraining,
        CaseKind::Lora,
        CaseKind::Qlora,
    ] {
        let summary = of(Set::Traced, Some(kind));
        assert!(summary.median < 1e-4, "{summary:?}");
        assert!(summary.p95 < 1e-3, "{summary:?}");
    }
}

#[test]
fn published_cases_with_all_settings_are_within_a_tenth_in_the_median() {
    let summary = of(Set::PublishedInFull, None);
    assert!(summary.cases >= 80, "{summary:?}");
    assert!(summary.median <= 0.10, "{summary:?}");
}

#[test]
fn intervals_hold_nine_measurements_in_ten() {
    let cases = &all().cases;
    let covered = cases.iter().filter(|c| c.is_covered()).count();
    assert!(
        covered * 10 >= cases.len() * 9,
        "{covered} of {}",
        cases.len()
    );
    let full = of(Set::PublishedInFull, None);
    assert!(full.covered >= 0.9, "{full:?}");
}

#[test]
fn nothing_that_was_measured_above_a_card_is_called_to_fit_it() {
    let wrong: Vec<&str> = all()
        .cases
        .iter()
        .filter(|c| c.is_false_fit())
        .map(|c| c.name.as_str())
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn rules_of_thumb_do_much_worse_on_the_same_cases() {
    let training = of(Set::Traced, Some(CaseKind::TransformerTraining));
    for (rule, cases, median) in &training.rules {
        assert!(*cases > 600 && *median > 0.2, "{rule}: {median}");
    }
    let inference = of(Set::Traced, Some(CaseKind::TransformerInference));
    assert!(inference.rules.iter().all(|(_, _, median)| *median > 0.1));
}

#[test]
fn the_fitted_spread_holds_on_models_it_was_not_fitted_to() {
    let held_out = held_out(&all().cases);
    assert!(held_out.cases >= 50, "{held_out:?}");
    assert!(held_out.not_above >= 0.85, "{held_out:?}");
}

#[test]
fn every_row_is_compared_or_excluded_for_a_reason() {
    let evaluation = all();
    let excluded: usize = evaluation.excluded.iter().map(|(_, n)| n).sum();
    assert_eq!(evaluation.cases.len() + excluded, 1715 + 392);
    assert!(evaluation.excluded.iter().all(|(why, _)| !why.is_empty()));
}
