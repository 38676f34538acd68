//! Why the winner won and the others lost, in sentences.

use super::{
    machine::Kind,
    option::{ServingOption, Verdict},
    question::Question,
    settle::Settling,
    turning::Turning,
};

/// One sentence each, without a final full stop.
#[must_use]
pub fn reasons(
    options: &[ServingOption],
    (recommended, turning): (Option<usize>, Option<&Turning>),
    question: &Question,
    settling: &Settling,
) -> Vec<String> {
    let mut reasons = Vec::new();
    let winner = recommended.and_then(|i| options.get(i));
    match winner {
        Some(winner) => reasons.extend(why_it_won(winner, options)),
        None => reasons.extend(why_nobody_won(options, question)),
    }
    let other = winner.map(|w| w.machine.kind.other());
    for kind in [Kind::Cpu, Kind::Gpu] {
        if other.is_some_and(|other| other != kind) {
            continue;
        }
        if let (Some(winner), Some(loser)) =
            (winner, options.iter().find(|o| o.machine.kind == kind))
        {
            reasons.push(why_it_lost(winner, loser, turning));
        }
    }
    if let Some(winner) = winner {
        reasons.extend(what_would_settle(winner, options, settling));
    }
    reasons
}

fn name(option: &ServingOption) -> String {
    let machine = &option.machine;
    format!(
        "{} × {} {} ({})",
        option.replicas,
        machine.provider,
        machine.instance_type,
        machine.kind.name()
    )
}

fn cost(option: &ServingOption) -> String {
    option
        .cost
        .map_or_else(|| "no price".to_owned(), |cost| cost.to_string())
}

fn why_it_won(winner: &ServingOption, options: &[ServingOption]) -> Vec<String> {
    let word = match winner.verdict {
        Verdict::Meets => {
            "the cheapest option that holds every objective even at the pessimistic end of its interval"
        }
        Verdict::Unproven => {
            "no option holds every objective at the pessimistic end of its interval; this is the cheapest whose estimate does"
        }
        Verdict::Misses => "nothing better was found",
    };
    let mut reasons = vec![format!("{} won as {word}: {}", name(winner), winner.why)];
    let next = options
        .iter()
        .filter(|o| o.verdict == winner.verdict && o.machine.kind == winner.machine.kind)
        .nth(1);
    if let Some(next) = next {
        reasons.push(format!(
            "the next best of its kind is {} at {}",
            name(next),
            cost(next)
        ));
    }
    reasons
}

fn why_nobody_won(options: &[ServingOption], question: &Question) -> Vec<String> {
    let nearest = [Kind::Cpu, Kind::Gpu].into_iter().filter_map(|kind| {
        let option = options.iter().find(|option| option.machine.kind == kind)?;
        let (kind, name, why) = (kind.name(), name(option), &option.why);
        Some(format!("the nearest {kind} option, {name}: {why}"))
    });
    std::iter::once(match question.budget {
        Some(budget) => format!(
            "nothing holds {} at {} within {budget}",
            question.slos, question.rate
        ),
        None => format!("nothing holds {} at {}", question.slos, question.rate),
    })
    .chain(nearest)
    .collect()
}

fn why_it_lost(winner: &ServingOption, loser: &ServingOption, turning: Option<&Turning>) -> String {
    let mut text = if loser.verdict == Verdict::Misses {
        format!(
            "the best {} option, {}, lost: {}",
            loser.machine.kind.name(),
            name(loser),
            loser.why
        )
    } else {
        format!(
            "the best {} option, {}, costs {} against {}",
            loser.machine.kind.name(),
            name(loser),
            cost(loser),
            cost(winner)
        )
    };
    if let Some(turning) = turning
        && turning.winner == winner.machine.kind
    {
        match turning.rate {
            Some(rate) => text.push_str(&format!(
                "; {} would be cheaper than {} from about {rate}, or below {} a machine",
                turning.other_machine, turning.winner_machine, turning.price
            )),
            None => text.push_str(&format!(
                "; no request rate turns that, but a price below {} a machine would",
                turning.price
            )),
        }
    }
    text
}

/// A cheaper option that is only unproven, and how it could be proven.
fn what_would_settle(
    winner: &ServingOption,
    options: &[ServingOption],
    settling: &Settling,
) -> Option<String> {
    let unproven = options
        .iter()
        .filter(|option| Settling::would_help(option))
        .min_by(|a, b| a.cost.cmp(&b.cost))?;
    let saves = unproven.cost < winner.cost || unproven == winner;
    saves.then(|| {
        format!(
            "{} at {} is unproven because its speed was carried over, not measured; to settle it, run {} on such a machine and `advisor profiles import {}.json` here",
            name(unproven),
            cost(unproven),
            settling.command(unproven),
            settling.name(),
        )
    })
}
