//! A mixed fleet: machines of different types that share the load, where that is
//! cheaper than machines of one type.
//!
//! Whole machines that together carry a rate at the least cost are an integer
//! covering problem with one constraint, which a branch-and-bound solver answers
//! exactly.

use super::{
    footprint::MemoryUse,
    machine::{Candidate, Candidates, Evidence, Machine},
    question::Question,
    sizing::{Room, Sizer},
};
use crate::{
    error::{Error, Result},
    plan::latency::End,
    profile::calibration::Device,
    units::{Fraction, Rate, UsdPerHour},
};
use microlp::{ComparisonOp, OptimizationDirection, Problem};
use rayon::prelude::*;
use serde::Serialize;

/// Machine types that are sized for a mix: the cheapest per request, of thousands.
const TYPES: usize = 24;

/// A machine type as the mix sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FleetType {
    /// What one carries within the objectives.
    pub capacity: Rate,
    /// What one costs.
    pub price: UsdPerHour,
}

/// How many of each type carry `rate` together at the least cost; none where no type
/// carries anything. The cost is never above that of the best single type.
#[must_use]
pub fn cheapest_fleet(types: &[FleetType], rate: Rate) -> Option<Vec<u64>> {
    let usable = |t: &FleetType| !t.capacity.is_zero() && !t.price.is_zero();
    let alone = |t: &FleetType| rate.ratio(t.capacity).ceil().max(1.0);
    let (best, single) = types
        .iter()
        .enumerate()
        .filter(|(_, t)| usable(t))
        .map(|(i, t)| (i, alone(t)))
        .min_by(|a, b| {
            cost_of(types, *a)
                .total_cmp(&cost_of(types, *b))
                .then(a.0.cmp(&b.0))
        })?;
    let mut counts = vec![0; types.len()];
    if let Some(count) = counts.get_mut(best) {
        *count = single as u64;
    }
    let Some(mixed) = solve(types, rate, cost_of(types, (best, single))) else {
        return Some(counts);
    };
    let carried: f64 = mixed
        .iter()
        .zip(types)
        .map(|(n, t)| *n as f64 * t.capacity.get())
        .sum();
    let total = |counts: &[u64]| -> f64 {
        counts
            .iter()
            .zip(types)
            .map(|(n, t)| *n as f64 * t.price.get())
            .sum()
    };
    // Equal costs go to the single type, which is less to run.
    let better = carried >= rate.get() && total(&mixed) < total(&counts) * (1.0 - 1e-9);
    Some(if better { mixed } else { counts })
}

fn cost_of(types: &[FleetType], (index, count): (usize, f64)) -> f64 {
    types
        .get(index)
        .map_or(f64::INFINITY, |t| t.price.get() * count)
}

/// The optimum as the solver finds it; none where it finds none.
fn solve(types: &[FleetType], rate: Rate, limit: f64) -> Option<Vec<u64>> {
    let mut problem = Problem::new(OptimizationDirection::Minimize);
    let mut variables = Vec::new();
    for (i, of) in types.iter().enumerate() {
        let dominated = types.iter().enumerate().any(|(j, other)| {
            let no_worse = other.capacity >= of.capacity && other.price <= of.price;
            let better = other.capacity > of.capacity || other.price < of.price || j < i;
            j != i && no_worse && better
        });
        if dominated || of.capacity.is_zero() || of.price.is_zero() {
            continue;
        }
        // In units of the rate and of the best single cost, so that tolerances fit.
        let most = rate
            .ratio(of.capacity)
            .ceil()
            .clamp(1.0, f64::from(i32::MAX));
        let variable = problem.add_integer_var(of.price.get() / limit, (0, most as i32));
        variables.push((i, variable, of.capacity.ratio(rate)));
    }
    let load: Vec<_> = variables.iter().map(|(_, v, share)| (*v, *share)).collect();
    problem.add_constraint(load.as_slice(), ComparisonOp::Ge, 1.0);
    let solution = problem.solve().ok()?.into_solution().ok()?;
    let mut counts = vec![0; types.len()];
    for (i, variable, _) in variables {
        if let Some(count) = counts.get_mut(i) {
            *count = solution.var_value(variable).round().max(0.0) as u64;
        }
    }
    Some(counts)
}

/// A mix of machines and what it saves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MixedFleet {
    /// The machines, at least one type.
    pub parts: Vec<FleetPart>,
    /// All of them.
    #[serde(rename = "cost_usd_per_hour")]
    pub cost: UsdPerHour,
    /// The best single type among those compared.
    #[serde(rename = "single_usd_per_hour")]
    pub single: UsdPerHour,
    /// The part of the single type's cost that the mix saves; 0 is no saving.
    pub saving: Fraction,
    /// How many types were compared.
    pub compared: usize,
}

/// Machines of one type in a mix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FleetPart {
    /// The machine.
    pub machine: Machine,
    /// How many.
    pub replicas: u64,
    /// What one carries within the objectives, at the pessimistic end.
    #[serde(rename = "capacity_per_s")]
    pub capacity: Rate,
    /// What each gets: the load is shared in proportion to capacity.
    #[serde(rename = "offered_load_per_s")]
    pub load: Rate,
}

/// The cheapest mix for a question; none where no machine with a price holds the
/// objectives.
///
/// # Errors
/// There is no calibration, or a curve is unusable.
pub fn mixed_fleet(
    question: &Question,
    candidates: &Candidates,
    evidence: &Evidence<'_>,
) -> Result<Option<MixedFleet>> {
    let model = evidence
        .model()
        .ok_or_else(|| Error::bad_input("there is no calibration to plan from"))?;
    let cpu = evidence
        .calibrations
        .iter()
        .find(|c| c.device == Device::Cpu);
    let sizer = Sizer::new(
        question,
        Room {
            model,
            memory: MemoryUse::of(model, cpu),
        },
    );
    let mut promising: Vec<(f64, &Candidate)> = candidates
        .list
        .iter()
        .filter_map(|candidate| {
            let bound = sizer.bound(candidate, End::Pessimistic);
            let price = candidate.machine.price?;
            (!bound.is_zero()).then(|| {
                (
                    price.get() / bound.get().min(question.rate.get()),
                    candidate,
                )
            })
        })
        .collect();
    promising.sort_by(|a, b| a.0.total_cmp(&b.0));
    promising.truncate(TYPES);
    let sized: Vec<Option<(&Candidate, FleetType)>> = promising
        .par_iter()
        .map(|(_, candidate)| {
            let sized = sizer.size(candidate, End::Pessimistic, Rate::ZERO)?;
            Ok(sized.zip(candidate.machine.price).map(|(sized, price)| {
                (
                    *candidate,
                    FleetType {
                        capacity: sized.capacity,
                        price,
                    },
                )
            }))
        })
        .collect::<Result<_>>()?;
    let sized: Vec<(&Candidate, FleetType)> = sized.into_iter().flatten().collect();
    let types: Vec<FleetType> = sized.iter().map(|(_, of)| *of).collect();
    let Some(counts) = cheapest_fleet(&types, question.rate) else {
        return Ok(None);
    };
    let carried: f64 = counts
        .iter()
        .zip(&types)
        .map(|(n, t)| *n as f64 * t.capacity.get())
        .sum();
    let parts: Vec<FleetPart> = sized
        .iter()
        .zip(&counts)
        .filter(|(_, count)| **count > 0)
        .map(|((candidate, of), count)| FleetPart {
            machine: candidate.machine.clone(),
            replicas: *count,
            capacity: of.capacity,
            load: of.capacity.scaled(question.rate.get() / carried),
        })
        .collect();
    let cost = counts
        .iter()
        .zip(&types)
        .map(|(n, t)| t.price.scaled(*n as f64))
        .sum();
    let single = types
        .iter()
        .map(|t| {
            t.price
                .scaled(question.rate.ratio(t.capacity).ceil().max(1.0))
        })
        .min()
        .unwrap_or(UsdPerHour::ZERO);
    Ok(Some(MixedFleet {
        parts,
        cost,
        single,
        saving: Fraction::saturating(1.0 - cost.ratio(single)),
        compared: types.len(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn types(of: &[(f64, f64)]) -> Vec<FleetType> {
        of.iter()
            .map(|(capacity, price)| FleetType {
                capacity: Rate::new(*capacity).unwrap(),
                price: UsdPerHour::new(*price).unwrap(),
            })
            .collect()
    }

    fn cost(types: &[FleetType], counts: &[u64]) -> f64 {
        counts
            .iter()
            .zip(types)
            .map(|(n, t)| *n as f64 * t.price.get())
            .sum()
    }

    /// The least cost by trying all counts, the rest carried by the last type.
    fn exhaustive(types: &[FleetType], rate: f64, spent: f64, best: &mut f64) {
        if rate <= 1e-9 {
            *best = best.min(spent);
            return;
        }
        let Some((first, rest)) = types.split_first() else {
            return;
        };
        let most = (rate / first.capacity.get()).ceil() as u64;
        for count in (0..=most).rev() {
            let now = spent + count as f64 * first.price.get();
            if now < *best - 1e-12 {
                exhaustive(rest, rate - count as f64 * first.capacity.get(), now, best);
            }
        }
    }

    #[test]
    fn a_large_machine_and_a_small_one_beat_two_large_ones() {
        let types = types(&[(100.0, 1.0), (10.0, 0.2)]);
        let rate = Rate::new(105.0).unwrap();
        assert_eq!(cheapest_fleet(&types, rate), Some(vec![1, 1]));
        assert_eq!(
            cheapest_fleet(&types, Rate::new(195.0).unwrap()),
            Some(vec![2, 0])
        );
        assert_eq!(cheapest_fleet(&[], rate), None);
    }

    #[test]
    fn fifty_types_are_solved_exactly_within_a_second() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(11);
        for _ in 0..10 {
            let of: Vec<(f64, f64)> = (0..50)
                .map(|_| {
                    let capacity = 20.0 + 180.0 * random.random::<f64>();
                    // Dearer per request or cheaper by up to a fifth.
                    (
                        capacity,
                        capacity * (0.9 + 0.2 * random.random::<f64>()) / 100.0,
                    )
                })
                .collect();
            let types = types(&of);
            let rate = Rate::new(300.0 + 400.0 * random.random::<f64>()).unwrap();
            let start = std::time::Instant::now();
            let counts = cheapest_fleet(&types, rate).unwrap();
            assert!(start.elapsed().as_secs_f64() < 1.0, "{:?}", start.elapsed());
            // Cheapest per request first, so that the search can stop early.
            let mut sorted = types.clone();
            sorted.sort_by(|a, b| {
                let each = |t: &FleetType| t.price.get() / t.capacity.get();
                each(a).total_cmp(&each(b))
            });
            let mut best = cost(&types, &counts) + 1e-9;
            bounded(&sorted, rate.get(), 0.0, &mut best);
            assert!(
                cost(&types, &counts) <= best + 1e-9,
                "{} {best}",
                cost(&types, &counts)
            );
        }
    }

    /// Exhaustive as well, but leaves what even the cheapest rate per request of the
    /// types left cannot better.
    fn bounded(types: &[FleetType], rate: f64, spent: f64, best: &mut f64) {
        if rate <= 1e-9 {
            *best = best.min(spent);
            return;
        }
        let Some((first, rest)) = types.split_first() else {
            return;
        };
        if spent + rate * first.price.get() / first.capacity.get() >= *best - 1e-9 {
            return;
        }
        for count in (0..=(rate / first.capacity.get()).ceil() as u64).rev() {
            let left = rate - count as f64 * first.capacity.get();
            bounded(rest, left, spent + count as f64 * first.price.get(), best);
        }
    }

    proptest! {
        #[test]
        fn the_mix_is_what_an_exhaustive_search_finds_and_never_dearer_than_one_type(
            of in prop::collection::vec((5.0..100.0_f64, 0.05..2.0_f64), 1..5), rate in 10.0..300.0_f64,
        ) {
            let types = types(&of);
            let counts = cheapest_fleet(&types, Rate::new(rate).unwrap()).unwrap();
            let mut best = f64::INFINITY;
            exhaustive(&types, rate, 0.0, &mut best);
            let found = cost(&types, &counts);
            prop_assert!((found - best).abs() <= 1e-6 * best, "{found} {best}");
            let carried: f64 = counts.iter().zip(&types).map(|(n, t)| *n as f64 * t.capacity.get()).sum();
            prop_assert!(carried >= rate - 1e-9);
            for t in &types {
                prop_assert!(found <= (rate / t.capacity.get()).ceil() * t.price.get() + 1e-9);
            }
        }
    }
}
