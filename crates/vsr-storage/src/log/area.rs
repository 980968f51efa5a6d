//! The records area: positions that ascend for ever, in a file that does not grow.
//!
//! The byte at a position lies at the position modulo the area's size. Everything else in the log
//! thinks in positions: where a lap ends within a group, or within a record, the group is written in two
//! pieces and the record read in two, under the same sync as otherwise. Within one sync nothing is
//! taken to be ordered, so that a piece more or less changes nothing in what a crash may leave.

use super::layout::Geometry;
use crate::disk::{DiskError, File, read_whatever};

/// Reads the bytes from a position on; those that the medium does not give come out as damage.
pub(super) fn read<F: File>(file: &F, geometry: &Geometry, position: u64, buffer: &mut [u8]) {
    for (offset, piece) in geometry.pieces(position, buffer.len()) {
        read_whatever(file, offset, &mut buffer[piece]);
    }
}

/// Writes bytes from a position on.
pub(super) fn write<F: File>(
    file: &F,
    geometry: &Geometry,
    position: u64,
    bytes: &[u8],
) -> Result<(), DiskError> {
    for (offset, piece) in geometry.pieces(position, bytes.len()) {
        file.write_at(offset, &bytes[piece])?;
    }
    Ok(())
}

/// Asks the system to forget its copies of the bytes from one position to another.
pub(super) fn forget_cached<F: File>(file: &F, geometry: &Geometry, from: u64, to: u64) {
    // All behind an offset is forgotten: where a lap ends between the two, that is the whole area.
    let one_lap = from / geometry.capacity == to / geometry.capacity;
    let first = if one_lap { geometry.record_offset(from) } else { geometry.records_offset };
    file.forget_cached(first);
}
