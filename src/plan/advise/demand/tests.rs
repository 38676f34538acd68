//! Following demand.

use super::{
    Following,
    policy::{autoscaled, combined, fixed, scheduled},
};
use crate::{
    units::{Fraction, Rate, Time},
    workload::Demand,
};
use proptest::prelude::*;

fn demand(rates: &[f64]) -> Demand {
    Demand {
        step: Time::new(3600.0).unwrap(),
        rates: rates.iter().map(|r| Rate::new(*r).unwrap()).collect(),
        first_hour: 0.0,
        filled: 0,
    }
}

fn following(cold_start: f64) -> Following {
    Following {
        cold_start: Time::new(cold_start).unwrap(),
        headroom: Fraction::new(0.0).unwrap(),
    }
}

#[test]
fn the_static_peak_is_what_the_busiest_interval_needs() {
    let day = demand(&[10.0, 95.0, 20.0]);
    assert_eq!(fixed(&day, 0..3, Rate::new(10.0).unwrap()), [10, 10, 10]);
}

#[test]
fn a_schedule_is_the_busiest_day_at_that_hour() {
    let mut rates = vec![10.0; 48];
    rates[9] = 50.0;
    rates[33] = 80.0;
    let by_hour = scheduled(
        &demand(&rates),
        0..48,
        (Rate::new(10.0).unwrap(), Fraction::new(0.25).unwrap()),
    );
    assert_eq!((by_hour[8], by_hour[9], by_hour.len()), (2, 10, 24));
}

#[test]
fn an_autoscaler_is_an_interval_and_a_cold_start_late() {
    let mut rates = vec![10.0; 10];
    rates[4] = 100.0;
    let course = |cold| {
        autoscaled(
            &demand(&rates),
            0..10,
            Rate::new(10.0).unwrap(),
            following(cold),
        )
    };
    assert_eq!(course(0.0), [1, 1, 1, 1, 1, 10, 10, 10, 1, 1]);
    assert_eq!(course(1800.0), [1, 1, 1, 1, 1, 1, 10, 10, 10, 1]);
    assert_eq!(combined(&[3; 10], &course(0.0))[4..7], [3, 10, 10]);
}

proptest! {
    #[test]
    fn no_course_has_more_machines_than_the_static_peak_with_the_same_headroom(
        rates in prop::collection::vec(0.0..500.0_f64, 2..100), capacity in 1.0..50.0_f64,
    ) {
        let (demand, capacity) = (demand(&rates), Rate::new(capacity).unwrap());
        let all = 0..rates.len();
        let most = fixed(&demand, all.clone(), capacity)[0];
        let auto = autoscaled(&demand, all.clone(), capacity, following(60.0));
        let by_hour = scheduled(&demand, all, (capacity, Fraction::new(0.0).unwrap()));
        prop_assert!(auto.iter().chain(&by_hour).all(|n| *n <= most && *n >= 1));
    }
}
