//! ONNX Runtime's memory for activations: its arena, and the block planned after
//! the first run.
//!
//! Rules and constants are those of `onnxruntime/core/framework/bfc_arena.cc`
//! (requests in steps of 256 bytes; regions of 1 MiB, doubled each time; the
//! smallest free chunk that is large enough, split when it is twice as large or
//! 128 MiB are left over; free neighbours joined; regions kept) and of
//! `mem_pattern_planner.h` (tensors of a run side by side in one block, each in
//! the gap that wastes least). A region is address space: only pages that were
//! written count as resident.

use std::collections::{BTreeMap, BTreeSet};

const STEP: u64 = 256;
const FIRST_REGION: u64 = 1 << 20;
const DEAD: u64 = 128 << 20;
const PAGE: u64 = 4096;
/// Tensors start at multiples of this within the planned block.
const ALIGNMENT: u64 = 64;

/// A chunk's place: region and offset.
pub(super) type Place = (usize, u64);

#[derive(Debug, Default)]
struct Region {
    /// Size and whether it is free, by offset.
    chunks: BTreeMap<u64, (u64, bool)>,
    /// Written stretches, by start: the end; they do not touch.
    written: BTreeMap<u64, u64>,
}

impl Region {
    fn write(&mut self, from: u64, to: u64) {
        let (mut from, mut to) = (from / PAGE * PAGE, to.next_multiple_of(PAGE));
        let touching: Vec<(u64, u64)> = self
            .written
            .range(..=to)
            .filter(|(_, end)| **end >= from)
            .map(|(start, end)| (*start, *end))
            .collect();
        for (start, end) in touching {
            self.written.remove(&start);
            from = from.min(start);
            to = to.max(end);
        }
        self.written.insert(from, to);
    }
}

/// The arena's books.
#[derive(Debug)]
pub(super) struct Arena {
    regions: Vec<Region>,
    free: BTreeSet<(u64, usize, u64)>,
    next_region: u64,
}

impl Arena {
    pub(super) const fn new() -> Self {
        Self {
            regions: Vec::new(),
            free: BTreeSet::new(),
            next_region: FIRST_REGION,
        }
    }

    /// Hands out a chunk and writes all of it.
    pub(super) fn take(&mut self, bytes: u64) -> Place {
        let size = bytes.clamp(1, 1 << 60).next_multiple_of(STEP);
        let found = self.free.range((size, 0, 0)..).next().copied();
        let (chunk, region, offset) = found.unwrap_or_else(|| self.extend(size));
        self.free.remove(&(chunk, region, offset));
        let split = chunk >= size * 2 || chunk - size >= DEAD;
        let taken = if split { size } else { chunk };
        if let Some(books) = self.regions.get_mut(region) {
            books.chunks.insert(offset, (taken, false));
            if split {
                books.chunks.insert(offset + size, (chunk - size, true));
                self.free.insert((chunk - size, region, offset + size));
            }
            books.write(offset, offset + size);
        }
        (region, offset)
    }

    fn extend(&mut self, size: u64) -> (u64, usize, u64) {
        let mut grown = false;
        while size > self.next_region {
            self.next_region *= 2;
            grown = true;
        }
        let bytes = self.next_region;
        if !grown {
            self.next_region *= 2;
        }
        let mut region = Region::default();
        region.chunks.insert(0, (bytes, true));
        self.regions.push(region);
        (bytes, self.regions.len() - 1, 0)
    }

    /// Takes a chunk back and joins it with free neighbours.
    pub(super) fn give_back(&mut self, (region, offset): Place) {
        let Some(books) = self.regions.get_mut(region) else {
            return;
        };
        let Some((mut size, _)) = books.chunks.remove(&offset) else {
            return;
        };
        let mut start = offset;
        if let Some((&before, &(left, true))) = books.chunks.range(..offset).next_back() {
            books.chunks.remove(&before);
            self.free.remove(&(left, region, before));
            start = before;
            size += left;
        }
        if let Some(&(right, true)) = books.chunks.get(&(start + size)) {
            books.chunks.remove(&(start + size));
            self.free.remove(&(right, region, start + size));
            size += right;
        }
        books.chunks.insert(start, (size, true));
        self.free.insert((size, region, start));
    }

    /// Bytes of pages that were ever written.
    pub(super) fn resident(&self) -> u64 {
        self.regions
            .iter()
            .flat_map(|region| &region.written)
            .map(|(start, end)| end - start)
            .sum()
    }

    /// Bytes of all regions, written or not.
    pub(super) fn reserved(&self) -> u64 {
        self.regions
            .iter()
            .flat_map(|region| region.chunks.values())
            .map(|(size, _)| size)
            .sum()
    }
}

/// The block in which the runtime lays out the tensors of later runs.
#[derive(Debug, Default)]
pub(super) struct Pattern {
    /// Ends of the tensors that live, by (offset, key).
    blocks: BTreeSet<(u64, u64, usize)>,
    size: u64,
}

impl Pattern {
    pub(super) fn place(&mut self, key: usize, bytes: u64) {
        let bytes = bytes.clamp(1, 1 << 60).next_multiple_of(ALIGNMENT);
        let mut current = 0;
        let mut best: Option<(u64, u64)> = None;
        let mut consider = |from: u64, to: u64| {
            if to >= from && to - from >= bytes {
                let waste = to - from - bytes;
                if best.is_none_or(|(least, _)| waste < least) {
                    best = Some((waste, from));
                }
            }
        };
        for (offset, end, _) in &self.blocks {
            consider(current, *offset);
            current = current.max(*end);
        }
        if current < self.size {
            consider(current, self.size);
        }
        let offset = best.map_or(current, |(_, offset)| offset);
        self.size = self.size.max(offset + bytes);
        self.blocks.insert((offset, offset + bytes, key));
    }

    pub(super) fn remove(&mut self, key: usize) {
        self.blocks.retain(|(_, _, k)| *k != key);
    }

    /// The block's size.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn regions_double_and_only_written_pages_are_resident() {
        let mut arena = Arena::new();
        arena.take(1000);
        assert_eq!((arena.reserved(), arena.resident()), (1 << 20, PAGE));
        // Too large for what is left of the first region: the next is twice as large.
        arena.take(1 << 20);
        assert_eq!(arena.reserved(), 3 << 20);
        // Larger than the next region: doubled until it fits.
        arena.take(9 << 20);
        assert_eq!(arena.reserved(), (3 + 16) << 20);
        assert_eq!(arena.resident(), PAGE + (10 << 20));
    }

    #[test]
    fn the_pattern_fills_the_gap_that_wastes_least() {
        let mut pattern = Pattern::default();
        for (key, bytes) in [(0, 128), (1, 64), (2, 256), (3, 64)] {
            pattern.place(key, bytes);
        }
        pattern.remove(0);
        pattern.remove(2);
        pattern.place(4, 100);
        assert!(pattern.blocks.contains(&(0, 128, 4)));
        pattern.place(5, 256);
        assert_eq!(pattern.size(), 512);
    }

    proptest! {
        #[test]
        fn what_is_given_back_can_be_taken_again(sizes in prop::collection::vec(1_u64..5_000_000, 1..40)) {
            let mut arena = Arena::new();
            let places: Vec<Place> = sizes.iter().map(|s| arena.take(*s)).collect();
            let distinct: BTreeSet<Place> = places.iter().copied().collect();
            prop_assert_eq!(distinct.len(), places.len());
            let (reserved, resident) = (arena.reserved(), arena.resident());
            prop_assert!(resident <= reserved);
            for place in places {
                arena.give_back(place);
            }
            // All joined again: one free chunk for each region.
            prop_assert_eq!(arena.free.len(), arena.regions.len());
            for size in &sizes {
                let place = arena.take(*size);
                arena.give_back(place);
            }
            prop_assert_eq!(arena.reserved(), reserved);
        }
    }
}
