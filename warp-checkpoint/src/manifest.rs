//! The file that says which layers make up a checkpoint. See `docs/format/checkpoint.md`, "Manifests".

use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};
use warp_io::{Dir, read_exact_at, write_all_at};

use crate::error::{Corruption, Error, Result, corrupt, io_at};
use crate::format::{CHECK_BYTES, u16_at, u32_at, u64_at};
use crate::layer::LayerInfo;
use crate::names::{manifest_name, parse_manifest_name, temporary_name};

/// Longest manifest file. A layer takes 72 bytes and a floor 16, so this is far beyond any that is in order.
pub const MANIFEST_BYTES_MAX: usize = 64 << 20;

const MAGIC: [u8; 8] = *b"WARPMANI";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 32;
const CHECK_OFFSET: usize = HEADER_BYTES - CHECK_BYTES;
/// Where the number of a segment of the log is in the header, and the place in it.
const SEGMENT_OFFSET: usize = 18;
const PLACE_OFFSET: usize = 22;
const PLACE_BYTES: usize = CHECK_OFFSET - PLACE_OFFSET;
const _: () = assert!(PLACE_BYTES == 6);

/// A checkpoint: which layers hold the entries, and where the log goes on from them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The number that names the file. Of several manifests the one with the largest number counts.
    pub number: u64,
    /// Which database this is; random, and the same in all of its files.
    pub database_id: u128,
    /// The seed with which keys are hashed. The hashes in the layers depend on it.
    pub hash_seed: u64,
    /// S: every write below this sequence number is in the layers, and the log is replayed from it on.
    pub replay_from: u64,
    /// H: the highest sequence number in the layers. A log that ends below it has lost something.
    pub highest: u64,
    /// The layers, newest first.
    pub layers: Vec<LayerInfo>,
    /// The id that the next layer gets.
    pub next_layer: u64,
    /// For each keyspace that was cleared or dropped, the sequence number below which its entries do not exist.
    pub floors: Vec<(u32, u64)>,
    /// When the checkpoint was taken, in Unix milliseconds.
    pub time: u64,
    /// Where the log can be read from, instead of from the beginning of the segment in which S is; `None` if nobody knows.
    /// A reader makes sure that a frame begins there, at or before S.
    pub near: Option<LogPlace>,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPlace {
    /// The number of the segment, which is not 0.
    pub segment: u32,
    /// The place in it, in bytes, below 2^48.
    pub offset: u64,
}

/// Whether a manifest that [`publish`] failed to publish may nevertheless be the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It is not, also after a power loss. The attempt may be made again with another number.
    No,
    /// After a power loss it may be there or not. Until a later manifest is published for certain, or the database is
    /// opened again, nothing may be removed, and nothing may count as checkpointed, since both it and the manifest before it
    /// may be the current one.
    Unknown,
}

/// Why a manifest was not published for certain.
#[derive(Debug, thiserror::Error)]
#[error("manifest {number} {}", match published {
    Published::No => "was not published",
    Published::Unknown => "may or may not be published",
})]
pub struct PublishError {
    /// The manifest's number.
    pub number: u64,
    /// Whether it may be current.
    pub published: Published,
    /// What failed.
    #[source]
    pub source: Error,
}

/// Publishes a manifest in the directory of the database: writes it under a temporary name, syncs it, reads it
/// back, renames it, and syncs the directory. From then on it is the current one.
///
/// Before that every layer that it names must have been finished, their directory synced, and the log synced to
/// [`Manifest::highest`].
///
/// # Errors
/// [`PublishError`], which says whether the manifest may be current all the same.
pub fn publish(dir: &dyn Dir, manifest: &Manifest) -> Result<(), PublishError> {
    let number = manifest.number;
    let failed = |published| move |source| PublishError { number, published, source };
    let (name, temporary) = (manifest_name(number), temporary_name(&manifest_name(number)));
    write_temporary(dir, &temporary, manifest).map_err(|error| {
        // What cannot be removed now is found by `obsolete` later.
        let _ = dir.remove(&temporary);
        failed(Published::No)(error)
    })?;
    dir.rename(&temporary, &name).map_err(io_at(&name)).map_err(failed(Published::Unknown))?;
    dir.sync_dir().map_err(io_at("")).map_err(failed(Published::Unknown))?;
    tracing::debug!(number, layers = manifest.layers.len(), "manifest published");
    Ok(())
}

/// The numbers of the manifests in the directory, ascending.
///
/// # Errors
/// [`Error::Io`].
pub fn list(dir: &dyn Dir) -> Result<Vec<u64>> {
    let names = dir.list().map_err(io_at(""))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| parse_manifest_name(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads a manifest, and checks all of it.
///
/// # Errors
/// [`Error::Io`], with [`std::io::ErrorKind::NotFound`] if it is missing; [`Error::Corrupt`]; [`Error::Unsupported`].
pub fn load(dir: &dyn Dir, number: u64) -> Result<Manifest> {
    let name = manifest_name(number);
    let manifest = decode(&name, &read(dir, &name)?)?;
    if manifest.number != number {
        let found = Corruption::WrongNumber { expected: number, found: manifest.number };
        return Err(corrupt(&name, 0, found));
    }
    Ok(manifest)
}

/// Writes the manifest so that its bytes, but not its name, survive a power loss, and reads it back.
fn write_temporary(dir: &dyn Dir, temporary: &str, manifest: &Manifest) -> Result<()> {
    let bytes = encode(manifest);
    if bytes.len() > MANIFEST_BYTES_MAX {
        return Err(Error::ManifestTooLarge { bytes: bytes.len() });
    }
    if let Some(newest) = list(dir)?.pop().filter(|&newest| newest >= manifest.number) {
        return Err(Error::NotNewer { number: manifest.number, newest });
    }
    // Of an attempt that a crash ended. Whether there was one, and whether it is gone, the next line finds out.
    let _ = dir.remove(temporary);
    let file = dir.create_new(temporary).map_err(io_at(temporary))?;
    write_all_at(&*file, 0, &bytes).map_err(io_at(temporary))?;
    file.sync_data().map_err(io_at(temporary))?;
    if read(dir, temporary)? != bytes {
        return Err(corrupt(temporary, 0, Corruption::NotAsWritten));
    }
    Ok(())
}

fn read(dir: &dyn Dir, name: &str) -> Result<Vec<u8>> {
    let file = dir.open(name, false).map_err(io_at(name))?;
    let length = file.len().map_err(io_at(name))?;
    match usize::try_from(length) {
        Ok(bytes) if bytes <= MANIFEST_BYTES_MAX => {
            let mut out = vec![0; bytes];
            read_exact_at(&*file, 0, &mut out).map_err(io_at(name))?;
            Ok(out)
        }
        _ => Err(corrupt(name, 0, Corruption::LengthOutOfRange { length, limit: MANIFEST_BYTES_MAX as u64 })),
    }
}

/// A layer in a manifest's archive. Field order leaves no padding.
#[derive(Archive, Serialize, Deserialize)]
struct LayerRow {
    id: u64,
    bytes: u64,
    entries: u64,
    tombstones: u64,
    seq_min: u64,
    seq_max: u64,
    raw_value_bytes: u64,
    stored_value_bytes: u64,
    root: u32,
    reserved: u32,
}

/// A keyspace's floor in a manifest's archive.
#[derive(Archive, Serialize, Deserialize)]
struct FloorRow {
    floor: u64,
    keyspace: u32,
    reserved: u32,
}

/// A manifest's archive. The number is in the header.
#[derive(Archive, Serialize, Deserialize)]
struct Body {
    database_id: [u8; 16],
    hash_seed: u64,
    replay_from: u64,
    highest: u64,
    next_layer: u64,
    time: u64,
    layers: Vec<LayerRow>,
    floors: Vec<FloorRow>,
}

const _: () = assert!(size_of::<ArchivedLayerRow>() == 72);
const _: () = assert!(size_of::<ArchivedFloorRow>() == 16);
const _: () = assert!(size_of::<ArchivedBody>() == 72);
const _: () = assert!(align_of::<ArchivedBody>() == 8);

fn encode(manifest: &Manifest) -> Vec<u8> {
    let layers = manifest.layers.iter().map(|info| LayerRow {
        id: info.id,
        bytes: info.bytes,
        entries: info.entries,
        tombstones: info.tombstones,
        seq_min: info.seq_min,
        seq_max: info.seq_max,
        raw_value_bytes: info.raw_value_bytes,
        stored_value_bytes: info.stored_value_bytes,
        root: info.root,
        reserved: 0,
    });
    let floors = manifest.floors.iter().map(|&(keyspace, floor)| FloorRow { floor, keyspace, reserved: 0 });
    let body = Body {
        database_id: manifest.database_id.to_le_bytes(),
        hash_seed: manifest.hash_seed,
        replay_from: manifest.replay_from,
        highest: manifest.highest,
        next_layer: manifest.next_layer,
        time: manifest.time,
        layers: layers.collect(),
        floors: floors.collect(),
    };
    let archive = rkyv::to_bytes::<rancor::Error>(&body).expect("plain structs always fit in memory");
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&manifest.number.to_le_bytes());
    bytes[16..18].copy_from_slice(&VERSION.to_le_bytes());
    if let Some(place) = manifest.near.filter(|place| place.offset < 1 << (8 * PLACE_BYTES)) {
        bytes[SEGMENT_OFFSET..PLACE_OFFSET].copy_from_slice(&place.segment.to_le_bytes());
        bytes[PLACE_OFFSET..CHECK_OFFSET].copy_from_slice(&place.offset.to_le_bytes()[..PLACE_BYTES]);
    }
    bytes.extend_from_slice(&archive);
    let check = check_of(&bytes);
    bytes[CHECK_OFFSET..HEADER_BYTES].copy_from_slice(&check.to_le_bytes());
    bytes
}

fn decode(name: &str, bytes: &[u8]) -> Result<Manifest> {
    let damaged = |offset: usize, found| corrupt(name, offset as u64, found);
    if bytes.len() < HEADER_BYTES {
        let (length, limit) = (bytes.len() as u64, HEADER_BYTES as u64);
        return Err(damaged(0, Corruption::LengthOutOfRange { length, limit }));
    }
    if bytes[..8] != MAGIC {
        return Err(damaged(0, Corruption::BadMagic));
    }
    let (expected, found) = (u32_at(bytes, CHECK_OFFSET), check_of(bytes));
    if expected != found {
        return Err(damaged(0, Corruption::BadChecksum { expected, found }));
    }
    let version = u16_at(bytes, 16);
    if version != VERSION {
        return Err(Error::Unsupported { file: name.to_owned(), version });
    }
    let mut archive = AlignedVec::<16>::with_capacity(bytes.len() - HEADER_BYTES);
    archive.extend_from_slice(&bytes[HEADER_BYTES..]);
    let body = rkyv::from_bytes::<Body, rancor::Error>(&archive)
        .map_err(|_| damaged(HEADER_BYTES, Corruption::BadArchive))?;
    Ok(Manifest {
        number: u64_at(bytes, 8),
        database_id: u128::from_le_bytes(body.database_id),
        hash_seed: body.hash_seed,
        replay_from: body.replay_from,
        highest: body.highest,
        layers: body.layers.iter().map(info_of).collect(),
        next_layer: body.next_layer,
        floors: body.floors.iter().map(|row| (row.keyspace, row.floor)).collect(),
        time: body.time,
        near: near_of(bytes),
    })
}

/// The place in the log that a header names.
fn near_of(bytes: &[u8]) -> Option<LogPlace> {
    let segment = u32_at(bytes, SEGMENT_OFFSET);
    let mut offset = [0; size_of::<u64>()];
    offset[..PLACE_BYTES].copy_from_slice(&bytes[PLACE_OFFSET..CHECK_OFFSET]);
    let offset = u64::from_le_bytes(offset);
    (segment != 0).then_some(LogPlace { segment, offset })
}

fn info_of(row: &LayerRow) -> LayerInfo {
    LayerInfo {
        id: row.id,
        bytes: row.bytes,
        entries: row.entries,
        tombstones: row.tombstones,
        seq_min: row.seq_min,
        seq_max: row.seq_max,
        root: row.root,
        raw_value_bytes: row.raw_value_bytes,
        stored_value_bytes: row.stored_value_bytes,
    }
}

/// The checksum of a whole manifest file without the place of the checksum.
fn check_of(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..CHECK_OFFSET]), &bytes[HEADER_BYTES..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            number: 7,
            database_id: u128::MAX - 3,
            hash_seed: 11,
            replay_from: 100,
            highest: 140,
            layers: (1..=3)
                .rev()
                .map(|id| LayerInfo { id, entries: id * 10, ..LayerInfo::default() })
                .collect(),
            next_layer: 4,
            floors: vec![(2, 50), (9, u64::MAX)],
            time: 1_700_000_000_000,
            near: Some(LogPlace { segment: 5, offset: (1 << 48) - 64 }),
        }
    }

    #[test]
    fn a_manifest_comes_back() {
        for manifest in [manifest(), Manifest::default()] {
            assert_eq!(decode("m", &encode(&manifest)).unwrap(), manifest);
        }
    }

    #[test]
    fn another_version_is_not_damage() {
        let mut bytes = encode(&manifest());
        bytes[16] = 2;
        assert!(matches!(decode("m", &bytes), Err(Error::Corrupt { .. })));
        let check = check_of(&bytes);
        bytes[CHECK_OFFSET..HEADER_BYTES].copy_from_slice(&check.to_le_bytes());
        assert!(matches!(decode("m", &bytes), Err(Error::Unsupported { version: 2, .. })));
    }

    #[test]
    fn an_archive_with_a_good_checksum_is_still_validated() {
        let good = encode(&manifest());
        for offset in HEADER_BYTES..good.len() {
            let mut bytes = good.clone();
            bytes[offset] = 0xff;
            let check = check_of(&bytes);
            bytes[CHECK_OFFSET..HEADER_BYTES].copy_from_slice(&check.to_le_bytes());
            // Any answer will do that is not a panic; a pointer or length that leaves the archive is refused.
            if let Err(error) = decode("m", &bytes) {
                assert!(matches!(error, Error::Corrupt { found: Corruption::BadArchive, .. }), "{error}");
            }
        }
        let pointer = good.len() - 16;
        let mut bytes = good;
        bytes[pointer..pointer + 4].copy_from_slice(&i32::MIN.to_le_bytes());
        let check = check_of(&bytes);
        bytes[CHECK_OFFSET..HEADER_BYTES].copy_from_slice(&check.to_le_bytes());
        assert!(decode("m", &bytes).is_err());
    }
}
