//! Which packs a new checkpoint empties, so that dead chunks never take more room than live ones.
//!
//! Chunks that changed leave dead bytes behind in packs that still hold live ones. The rule: while
//! the packs that a new checkpoint refers to hold more than twice its bytes, copy the live chunks
//! of the pack with the least live share into the new pack.
//!
//! - That pack is at most half alive, since all together are: each byte that is copied frees at
//!   least one, so a checkpoint copies at most about as much as has died since the one before,
//!   never a large part of the state at once.
//! - Once the former checkpoint is dropped, nothing refers to the emptied packs, and they go.
//! - All packs of a checkpoint hold at most twice its bytes, and all packs of the store at most
//!   twice the bytes of all checkpoints that it keeps.
//!
//! Checkpoints that change little make small packs. Those are merged before there are many of them.

use super::packs::Size;

/// More small packs than this are merged: it bounds the number of files, and the share of heads
/// and half-empty sectors.
pub(super) const SMALL_PACKS_MAX: usize = 16;

/// How many small packs stay when they are merged. The larger ones, so that no chunk is copied
/// often.
const SMALL_PACKS_KEPT: usize = SMALL_PACKS_MAX / 2;

/// What a checkpoint uses of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) pack: u32,
    /// Bytes of the pack, its head not counted.
    pub(super) bytes: u64,
    /// Bytes of the records that the checkpoint refers to.
    pub(super) live: u64,
}

/// The packs whose live chunks are to be copied, ascending. `added`: what the checkpoint brings in
/// packs of its own.
pub(super) fn packs_to_empty(mut packs: Vec<Usage>, added: Size, pack_bytes: u64) -> Vec<u32> {
    let live = packs.iter().map(|pack| pack.live).sum::<u64>() + added.records;
    let mut total = packs.iter().map(|pack| pack.bytes).sum::<u64>() + added.bytes;
    // The least live share first; of equal ones the older.
    packs.sort_by(|a, b| (a.live * b.bytes).cmp(&(b.live * a.bytes)).then(a.pack.cmp(&b.pack)));
    let mut emptied = Vec::new();
    packs.retain(|pack| {
        let empties = total > 2 * live && pack.live < pack.bytes;
        if empties {
            total -= pack.bytes - pack.live;
            emptied.push(pack.pack);
        }
        !empties
    });
    packs.retain(|pack| pack.bytes < pack_bytes / 2);
    if packs.len() > SMALL_PACKS_MAX {
        packs.sort_by_key(|pack| (pack.bytes, pack.pack));
        let merged = packs.len() - SMALL_PACKS_KEPT;
        emptied.extend(packs.iter().take(merged).map(|pack| pack.pack));
    }
    emptied.sort_unstable();
    emptied
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Size = Size { bytes: 0, records: 0 };
    const A_LITTLE: Size = Size { bytes: 5, records: 5 };

    const fn usage(pack: u32, bytes: u64, live: u64) -> Usage {
        Usage { pack, bytes, live }
    }

    #[test]
    fn nothing_is_copied_while_half_of_all_bytes_are_live() {
        let packs = vec![usage(0, 100, 1), usage(1, 100, 100)];
        assert_eq!(packs_to_empty(packs, NOTHING, 150), []);
    }

    #[test]
    fn the_emptiest_packs_go_first_and_no_more_than_needed() {
        let packs = vec![usage(0, 100, 40), usage(1, 100, 10), usage(2, 100, 45)];
        assert_eq!(packs_to_empty(packs, NOTHING, 150), [0, 1]);
    }

    #[test]
    fn small_packs_are_merged_before_there_are_many() {
        let many = |count| (0..count).map(|pack| usage(pack, 10 + u64::from(pack % 3), 10));
        assert_eq!(packs_to_empty(many(16).collect(), A_LITTLE, 100), []);
        let merged = packs_to_empty(many(17).collect(), A_LITTLE, 100);
        assert_eq!(merged, [0, 1, 3, 4, 6, 7, 9, 12, 15]);
        // Large ones are not counted.
        assert_eq!(packs_to_empty(many(17).collect(), A_LITTLE, 18), []);
    }
}
