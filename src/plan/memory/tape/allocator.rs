//! The caching allocator that stands between tensors and the device: what it
//! holds is more than what it has handed out.
//!
//! The rules and constants are those of `PyTorch`
//! (`c10/cuda/CUDACachingAllocator.cpp`): requests are rounded to 512 bytes;
//! up to 1 MiB they come from segments of 2 MiB, up to 10 MiB from segments of
//! 20 MiB, above that from segments of their own in steps of 2 MiB; the smallest
//! free block that is large enough is taken and split if enough is left over;
//! neighbours that are free are joined; segments are kept.

use std::collections::{BTreeMap, BTreeSet};

const ROUND: u64 = 512;
const SMALL_LIMIT: u64 = 1 << 20;
const SMALL_SEGMENT: u64 = 2 << 20;
const LARGE_LIMIT: u64 = 10 << 20;
const LARGE_SEGMENT: u64 = 20 << 20;
const HUGE_STEP: u64 = 2 << 20;

/// Segments are far apart, so that blocks of different segments never touch.
const SEGMENT_GAP: u64 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pool {
    Small,
    Large,
}

#[derive(Debug, Clone, Copy)]
struct Extent {
    size: u64,
    free: bool,
    pool: Pool,
}

/// The allocator's books.
#[derive(Debug, Default)]
pub(super) struct Allocator {
    blocks: BTreeMap<u64, Extent>,
    free: BTreeSet<(Pool, u64, u64)>,
    end: u64,
    reserved: u64,
    allocated: u64,
    peak_allocated: u64,
}

impl Allocator {
    /// Hands out a block for `bytes` (at least one); gives its address.
    pub(super) fn take(&mut self, bytes: u64) -> u64 {
        let size = bytes.max(1).next_multiple_of(ROUND);
        let pool = if size <= SMALL_LIMIT {
            Pool::Small
        } else {
            Pool::Large
        };
        let found = self
            .free
            .range((pool, size, 0)..)
            .next()
            .copied()
            .filter(|(p, _, _)| *p == pool);
        let (block, address) = match found {
            Some(entry @ (_, block, address)) => {
                self.free.remove(&entry);
                (block, address)
            }
            None => self.new_segment(size),
        };
        let rest = block - size;
        let split = match pool {
            Pool::Small => rest >= ROUND,
            Pool::Large => rest > SMALL_LIMIT,
        };
        let taken = if split {
            self.blocks.insert(
                address + size,
                Extent {
                    size: rest,
                    free: true,
                    pool,
                },
            );
            self.free.insert((pool, rest, address + size));
            size
        } else {
            block
        };
        self.blocks.insert(
            address,
            Extent {
                size: taken,
                free: false,
                pool,
            },
        );
        self.allocated += taken;
        self.peak_allocated = self.peak_allocated.max(self.allocated);
        address
    }

    fn new_segment(&mut self, size: u64) -> (u64, u64) {
        let segment = if size <= SMALL_LIMIT {
            SMALL_SEGMENT
        } else if size < LARGE_LIMIT {
            LARGE_SEGMENT
        } else {
            size.next_multiple_of(HUGE_STEP)
        };
        let address = self.end;
        self.end += segment + SEGMENT_GAP;
        self.reserved += segment;
        (segment, address)
    }

    /// Takes a block back.
    pub(super) fn give_back(&mut self, address: u64) {
        let Some(extent) = self.blocks.remove(&address) else {
            return;
        };
        self.allocated = self.allocated.saturating_sub(extent.size);
        let (mut start, mut size) = (address, extent.size);
        let pool = extent.pool;
        if let Some((&before, &left)) = self.blocks.range(..address).next_back()
            && left.free
            && before + left.size == start
        {
            self.blocks.remove(&before);
            self.free.remove(&(pool, left.size, before));
            start = before;
            size += left.size;
        }
        if let Some(&right) = self.blocks.get(&(address + extent.size))
            && right.free
        {
            self.blocks.remove(&(address + extent.size));
            self.free.remove(&(pool, right.size, address + extent.size));
            size += right.size;
        }
        self.blocks.insert(
            start,
            Extent {
                size,
                free: true,
                pool,
            },
        );
        self.free.insert((pool, size, start));
    }

    /// Bytes held from the device.
    pub(super) const fn reserved(&self) -> u64 {
        self.reserved
    }

    /// The most bytes ever handed out at one moment.
    pub(super) const fn peak_allocated(&self) -> u64 {
        self.peak_allocated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn small_requests_share_a_segment_and_are_rounded_to_512_bytes() {
        let mut allocator = Allocator::default();
        allocator.take(1);
        allocator.take(513);
        assert_eq!(allocator.reserved(), 2 * MIB);
        assert_eq!(allocator.peak_allocated(), 512 + 1024);
    }

    #[test]
    fn segments_are_of_2_and_20_mib_and_above_10_mib_of_their_own() {
        for (request, segment) in [
            (MIB, 2 * MIB),
            (MIB + 1, 20 * MIB),
            (9 * MIB, 20 * MIB),
            (10 * MIB, 10 * MIB),
            (11 * MIB, 12 * MIB),
        ] {
            let mut allocator = Allocator::default();
            allocator.take(request);
            assert_eq!(allocator.reserved(), segment, "{request}");
        }
    }

    #[test]
    fn what_is_given_back_is_joined_and_used_again() {
        let mut allocator = Allocator::default();
        let blocks: Vec<u64> = (0..4).map(|_| allocator.take(4 * MIB)).collect();
        assert_eq!(allocator.reserved(), 20 * MIB);
        for block in blocks {
            allocator.give_back(block);
        }
        // Four neighbours of 4 MiB and the rest are one block of 20 MiB again.
        allocator.take(19 * MIB);
        assert_eq!(allocator.reserved(), 20 * MIB);
    }

    #[test]
    fn the_smallest_block_that_is_large_enough_is_taken() {
        let mut allocator = Allocator::default();
        let large = allocator.take(64 * MIB);
        let _between = allocator.take(100 * MIB);
        let fitting = allocator.take(32 * MIB);
        allocator.give_back(large);
        allocator.give_back(fitting);
        assert_eq!(allocator.take(31 * MIB), fitting);
    }

    proptest::proptest! {
        #[test]
        fn reserved_is_never_less_than_what_is_handed_out(
            sizes in proptest::collection::vec(1u64..40 * MIB, 1..60),
            order in proptest::collection::vec(proptest::bool::ANY, 1..60),
        ) {
            let mut allocator = Allocator::default();
            let mut held: Vec<u64> = Vec::new();
            for (size, give) in sizes.iter().zip(order.iter().cycle()) {
                if *give && !held.is_empty() {
                    allocator.give_back(held.remove(0));
                }
                let address = allocator.take(*size);
                proptest::prop_assert!(!held.contains(&address));
                held.push(address);
                proptest::prop_assert!(allocator.reserved() >= allocator.peak_allocated());
            }
            for address in held {
                allocator.give_back(address);
            }
            // Everything is free: the same requests need no more segments.
            let before = allocator.reserved();
            let largest = sizes.iter().copied().max().unwrap_or(1);
            allocator.take(largest);
            proptest::prop_assert_eq!(allocator.reserved(), before);
        }
    }
}
