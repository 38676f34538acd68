//! Lists of processors as Linux writes them: `0-3,8,10-11`.

use std::collections::BTreeSet;

/// Far above any machine (Linux stops at 8192): a list beyond it is garbage.
const HIGHEST: u32 = 65_535;

/// Reads a list of processors; an empty text is an empty list.
///
/// # Errors
/// Says which part is not a number or a range.
pub fn parse(text: &str) -> Result<BTreeSet<u32>, String> {
    let mut set = BTreeSet::new();
    for part in text.trim().split(',').map(str::trim) {
        if part.is_empty() {
            continue;
        }
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let bounds = (number(first), number(last));
        let (Some(first), Some(last)) = bounds else {
            return Err(format!("`{part}` is not a processor or a range of them"));
        };
        if first > last {
            return Err(format!("the range `{part}` runs backwards"));
        }
        set.extend(first..=last);
    }
    Ok(set)
}

fn number(text: &str) -> Option<u32> {
    text.trim().parse().ok().filter(|n| *n <= HIGHEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_parse() {
        assert_eq!(
            parse("0-3,8,10-11\n")
                .unwrap()
                .into_iter()
                .collect::<Vec<_>>(),
            [0, 1, 2, 3, 8, 10, 11]
        );
        assert!(parse("").unwrap().is_empty());
        assert_eq!(parse("5").unwrap().len(), 1);
    }

    #[test]
    fn garbage_is_refused_not_expanded() {
        for bad in ["a", "3-1", "0-4294967295", "1-", "-"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
