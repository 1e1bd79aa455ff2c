//! The file of what was learned: named sections of bytes that a program can do without. See `docs/format/advice.md`.
//!
//! ```text
//!   header | directory: name, version, place of each section | one checksum a block | section | section | ..
//!   `------------------- one checksum over all of it -------'
//! ```
//!
//! **Invariant:** no section is handed out unless every byte of it passed its checksum.
//! **Invariant:** damage in one section costs that section; the others are still good.

use std::io;

use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};
use warp_io::{Dir, File, read_exact_at, write_all_at};

use crate::error::{Corruption, Error, Result, corrupt, io_at};
use crate::format::{BLOCK_BYTES, CHECK_BYTES, u16_at, u32_at, u64_at};
use crate::names::{advice_name, is_temporary_advice, parse_advice_name, temporary_name};
use crate::recover::Rejected;

/// Longest advice file, in bytes.
pub const ADVICE_BYTES_MAX: usize = 64 << 20;
/// Longest name of a section, in bytes of UTF-8; a name has at least one, and no zero byte.
pub const ADVICE_NAME_BYTES_MAX: usize = 24;
/// Most sections of one file.
pub const ADVICE_SECTIONS_MAX: usize = 256;

const MAGIC: [u8; 8] = *b"WARPADVC";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 32;
const CHECK_OFFSET: usize = HEADER_BYTES - CHECK_BYTES;
/// Where a section begins: at a multiple of this, so that an archive in it can be read where it lies.
const SECTION_ALIGN: usize = 16;
/// More than header, directory and checksums ever take.
const HEAD_BYTES_MAX: usize = HEADER_BYTES
    + 1024
    + ADVICE_SECTIONS_MAX * 64
    + (ADVICE_BYTES_MAX / BLOCK_BYTES + ADVICE_SECTIONS_MAX) * 4;

/// What was learned, as one file holds it: nothing that an answer depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// The number that names the file. Of several the one with the largest number counts.
    pub number: u64,
    /// Which database this is about, as in [`Manifest::database_id`](crate::Manifest::database_id).
    pub database_id: u128,
    /// When it was written, in Unix milliseconds.
    pub time: u64,
    /// The sections, each under another name.
    pub sections: Vec<AdviceSection>,
}

/// A part of an advice file: bytes that mean something to whoever gave them their name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdviceSection {
    /// Its name, of at most [`ADVICE_NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// The version of what the bytes are. Who does not know it leaves the section alone.
    pub version: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What [`load_advice`] found in a file.
#[derive(Debug)]
pub struct LoadedAdvice {
    /// The file, with those of its sections that are whole.
    pub advice: Advice,
    /// The others, and what is wrong with each.
    pub damaged: Vec<DamagedSection>,
}

/// A section whose bytes are not what was written, or cannot be read.
#[derive(Debug)]
pub struct DamagedSection {
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub error: Error,
}

/// What [`newest_advice`] found in a directory.
#[derive(Debug, Default)]
pub struct FoundAdvice {
    /// The newest file whose head is whole; `None` if there is none.
    pub loaded: Option<LoadedAdvice>,
    /// The newer files that could not be used, newest first.
    pub rejected: Vec<Rejected>,
}

/// Writes an advice file into the directory of the database, under a temporary name that it loses once it is synced; then
/// syncs the directory. Returns the length of the file, in bytes.
///
/// Older ones stay: [`remove_advice`] takes them away.
///
/// ```
/// use warp_checkpoint::{Advice, AdviceSection, newest_advice, write_advice};
/// use warp_io::OsDir;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let scratch = tempfile::tempdir()?;
/// let dir = OsDir::open(scratch.path(), false)?;
/// let hot = AdviceSection { name: "hot".to_owned(), version: 1, bytes: b"sun".to_vec() };
/// write_advice(&dir, &Advice { number: 1, database_id: 7, time: 0, sections: vec![hot.clone()] })?;
///
/// let found = newest_advice(&dir, 7)?.loaded.expect("it was written");
/// assert_eq!(found.advice.sections, [hot]);
/// assert!(found.damaged.is_empty());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::AdviceTooLarge`] beyond [`ADVICE_BYTES_MAX`] or [`ADVICE_SECTIONS_MAX`], [`Error::BadSectionName`], and
/// [`Error::NotNewer`] if there is one of that number or a larger one: nothing was written. [`Error::Io`]: the file may be
/// there, whole, or not.
pub fn write_advice(dir: &dyn Dir, advice: &Advice) -> Result<u64> {
    let head = encode_head(advice)?;
    if let Some(newest) = list_advice(dir)?.pop().filter(|&newest| newest >= advice.number) {
        return Err(Error::NotNewer { number: advice.number, newest });
    }
    let name = advice_name(advice.number);
    let temporary = temporary_name(&name);
    // Of an attempt that a crash ended. Whether there was one, and whether it is gone, the next line finds out.
    let _ = dir.remove(&temporary);
    let bytes = write_file(dir, &temporary, &head, advice).inspect_err(|_| {
        // What cannot be removed now is removed with the next older file.
        let _ = dir.remove(&temporary);
    })?;
    dir.rename(&temporary, &name).map_err(io_at(&name))?;
    dir.sync_dir().map_err(io_at(""))?;
    tracing::debug!(number = advice.number, sections = advice.sections.len(), bytes, "advice written");
    Ok(bytes)
}

/// The numbers of the advice files in the directory, ascending.
///
/// # Errors
/// [`Error::Io`].
pub fn list_advice(dir: &dyn Dir) -> Result<Vec<u64>> {
    let names = dir.list().map_err(io_at(""))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| parse_advice_name(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads an advice file, and checks all of it. Sections that are damaged are listed apart.
///
/// # Errors
/// [`Error::Io`], with [`io::ErrorKind::NotFound`] if it is missing; [`Error::Corrupt`] if its head is damaged;
/// [`Error::Unsupported`].
pub fn load_advice(dir: &dyn Dir, number: u64) -> Result<LoadedAdvice> {
    let name = advice_name(number);
    let file = dir.open(&name, false).map_err(io_at(&name))?;
    let head = Head::read(&name, &*file, number)?;
    let mut advice = Advice { number, database_id: head.database_id, time: head.time, sections: Vec::new() };
    let mut damaged = Vec::new();
    for section in &head.sections {
        let Place { name: section_name, version, .. } = section;
        match section.read(&name, &*file, &head.checks) {
            Ok(bytes) => {
                advice.sections.push(AdviceSection { name: section_name.clone(), version: *version, bytes })
            }
            Err(error) => damaged.push(DamagedSection { name: section_name.clone(), error }),
        }
    }
    Ok(LoadedAdvice { advice, damaged })
}

/// The newest advice file of a database whose head can be used. None, and files that cannot be used, are no errors: what was
/// learned can be learned again.
///
/// # Errors
/// [`Error::Io`] if the directory cannot be listed.
pub fn newest_advice(dir: &dyn Dir, database_id: u128) -> Result<FoundAdvice> {
    let mut found = FoundAdvice::default();
    for number in list_advice(dir)?.into_iter().rev() {
        let loaded = load_advice(dir, number).and_then(|loaded| {
            check_database(number, loaded.advice.database_id, database_id)?;
            Ok(loaded)
        });
        match loaded {
            Ok(loaded) => {
                found.loaded = Some(loaded);
                break;
            }
            Err(error) => found.rejected.push(Rejected { number, error }),
        }
    }
    Ok(found)
}

/// One section of the newest advice file of a database whose head can be used, without reading the others; `None` if there is
/// no such file, or none of that name in it.
///
/// # Errors
/// [`Error::Io`]; [`Error::Corrupt`] if the section is damaged.
pub fn newest_advice_section(
    dir: &dyn Dir,
    database_id: u128,
    section: &str,
) -> Result<Option<AdviceSection>> {
    for number in list_advice(dir)?.into_iter().rev() {
        let name = advice_name(number);
        let opened = dir.open(&name, false).map_err(io_at(&name)).and_then(|file| {
            let head = Head::read(&name, &*file, number)?;
            check_database(number, head.database_id, database_id)?;
            Ok((file, head))
        });
        // As for all of a file: the one before may be sound.
        let Ok((file, head)) = opened else { continue };
        let Some(place) = head.sections.iter().find(|place| place.name == section) else { return Ok(None) };
        let bytes = place.read(&name, &*file, &head.checks)?;
        return Ok(Some(AdviceSection { name: place.name.clone(), version: place.version, bytes }));
    }
    Ok(None)
}

/// Refuses a file that is about another database.
fn check_database(number: u64, stated: u128, expected: u128) -> Result<()> {
    if stated == expected {
        return Ok(());
    }
    Err(corrupt(&advice_name(number), HEADER_BYTES as u64, Corruption::WrongDatabase))
}

/// Removes the advice files with numbers below `keep`, and what unfinished attempts left. Returns how many files went.
///
/// A file that is gone already is no error.
///
/// # Errors
/// [`Error::Io`]; the call may be repeated.
pub fn remove_advice(dir: &dyn Dir, keep: u64) -> Result<usize> {
    let mut names = dir.list().map_err(io_at(""))?;
    names.retain(|name| {
        parse_advice_name(name).is_some_and(|number| number < keep) || is_temporary_advice(name)
    });
    names.sort_unstable();
    for name in &names {
        match dir.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_at(name)(error)),
            _ => {}
        }
    }
    Ok(names.len())
}

/// Writes all parts of a file so that its bytes, but not its name, survive a power loss.
fn write_file(dir: &dyn Dir, name: &str, head: &[u8], advice: &Advice) -> Result<u64> {
    let file = dir.create_new(name).map_err(io_at(name))?;
    let mut offset = 0;
    let mut write = |bytes: &[u8], place: usize| -> Result<()> {
        write_all_at(&*file, place as u64, bytes).map_err(io_at(name))?;
        offset = place + bytes.len();
        Ok(())
    };
    write(head, 0)?;
    let mut place = head.len();
    for section in &advice.sections {
        place = place.next_multiple_of(SECTION_ALIGN);
        write(&section.bytes, place)?;
        place += section.bytes.len();
    }
    // The last section may be empty, and begin behind the end.
    file.truncate(place as u64).map_err(io_at(name))?;
    file.sync_data().map_err(io_at(name))?;
    Ok(place as u64)
}

/// A section in the directory's archive. Field order leaves no padding.
#[derive(Archive, Serialize, Deserialize)]
struct SectionRow {
    name: [u8; ADVICE_NAME_BYTES_MAX],
    offset: u64,
    bytes: u64,
    version: u32,
    reserved: u32,
}

/// The directory's archive.
#[derive(Archive, Serialize, Deserialize)]
struct Directory {
    database_id: [u8; 16],
    time: u64,
    sections: Vec<SectionRow>,
}

const SECTION_ROW_BYTES: usize = 48;
const DIRECTORY_BYTES: usize = 32;
const _: () = assert!(size_of::<ArchivedSectionRow>() == SECTION_ROW_BYTES);
const _: () = assert!(size_of::<ArchivedDirectory>() == DIRECTORY_BYTES);
const _: () = assert!(align_of::<ArchivedDirectory>() == 8);

/// Header, directory, and checksums, in one piece.
fn encode_head(advice: &Advice) -> Result<Vec<u8>> {
    let sections = &advice.sections;
    let total: usize = sections.iter().fold(0, |sum, section| sum.saturating_add(section.bytes.len()));
    if total > ADVICE_BYTES_MAX || sections.len() > ADVICE_SECTIONS_MAX {
        return Err(Error::AdviceTooLarge { bytes: total, sections: sections.len() });
    }
    let directory_bytes = DIRECTORY_BYTES + SECTION_ROW_BYTES * sections.len();
    let checks: usize = sections.iter().map(|section| blocks_of(section.bytes.len())).sum();
    let head_bytes = HEADER_BYTES + directory_bytes + CHECK_BYTES * checks;
    let mut place = head_bytes;
    let mut rows = Vec::with_capacity(sections.len());
    for (index, section) in sections.iter().enumerate() {
        let is_taken = sections[..index].iter().any(|other| other.name == section.name);
        let Some(name) = padded(&section.name).filter(|_| !is_taken) else {
            return Err(Error::BadSectionName { name: section.name.clone() });
        };
        place = place.next_multiple_of(SECTION_ALIGN);
        let (offset, bytes) = (place as u64, section.bytes.len() as u64);
        rows.push(SectionRow { name, offset, bytes, version: section.version, reserved: 0 });
        place += section.bytes.len();
    }
    if place > ADVICE_BYTES_MAX {
        return Err(Error::AdviceTooLarge { bytes: place, sections: sections.len() });
    }
    let directory =
        Directory { database_id: advice.database_id.to_le_bytes(), time: advice.time, sections: rows };
    let archive = rkyv::to_bytes::<rancor::Error>(&directory).expect("plain structs always fit in memory");
    assert_eq!(archive.len(), directory_bytes, "an archive without padding");
    let mut head = vec![0; HEADER_BYTES];
    head[..8].copy_from_slice(&MAGIC);
    head[8..16].copy_from_slice(&advice.number.to_le_bytes());
    head[16..18].copy_from_slice(&VERSION.to_le_bytes());
    head[20..24].copy_from_slice(&short(directory_bytes).to_le_bytes());
    head[24..28].copy_from_slice(&short(checks).to_le_bytes());
    head.extend_from_slice(&archive);
    for block in sections.iter().flat_map(|section| section.bytes.chunks(BLOCK_BYTES)) {
        head.extend_from_slice(&crc32c::crc32c(block).to_le_bytes());
    }
    let check = check_of(&head);
    head[CHECK_OFFSET..HEADER_BYTES].copy_from_slice(&check.to_le_bytes());
    Ok(head)
}

/// A number that the limits of the file keep below [`ADVICE_BYTES_MAX`].
fn short(number: usize) -> u32 {
    u32::try_from(number).expect("a file of advice is far shorter")
}

fn blocks_of(bytes: usize) -> usize {
    bytes.div_ceil(BLOCK_BYTES)
}

/// A name with zeros behind it; `None` if it cannot be one.
fn padded(name: &str) -> Option<[u8; ADVICE_NAME_BYTES_MAX]> {
    let mut padded = [0; ADVICE_NAME_BYTES_MAX];
    padded.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    (!name.is_empty() && !name.contains('\0')).then_some(padded)
}

/// The name in front of the zeros; `None` if it cannot be one.
fn unpadded(padded: &[u8; ADVICE_NAME_BYTES_MAX]) -> Option<String> {
    let length = padded.iter().rposition(|&byte| byte != 0)? + 1;
    let name = std::str::from_utf8(&padded[..length]).ok()?;
    (!name.contains('\0')).then(|| name.to_owned())
}

/// The checksum of a head without the place of the checksum.
fn check_of(head: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&head[..CHECK_OFFSET]), &head[HEADER_BYTES..])
}

/// What is known of a file before its sections are read.
struct Head {
    database_id: u128,
    time: u64,
    sections: Vec<Place>,
    checks: Vec<u32>,
}

/// Where a section is.
struct Place {
    name: String,
    version: u32,
    offset: u64,
    bytes: usize,
    /// Its first block in the list of checksums.
    block: usize,
}

impl Head {
    fn read(name: &str, file: &dyn File, number: u64) -> Result<Head> {
        let damaged = |offset: usize, found| corrupt(name, offset as u64, found);
        let out_of_range = |offset: usize, length: u64, limit: usize| {
            damaged(offset, Corruption::LengthOutOfRange { length, limit: limit as u64 })
        };
        let length = file.len().map_err(io_at(name))?;
        if length < HEADER_BYTES as u64 || length > ADVICE_BYTES_MAX as u64 {
            return Err(out_of_range(0, length, ADVICE_BYTES_MAX));
        }
        let mut head = vec![0; HEADER_BYTES];
        read_exact_at(file, 0, &mut head).map_err(io_at(name))?;
        if head[..8] != MAGIC {
            return Err(damaged(0, Corruption::BadMagic));
        }
        let (directory_bytes, checks) = (u32_at(&head, 20) as usize, u32_at(&head, 24) as usize);
        let checks_at = HEADER_BYTES.saturating_add(directory_bytes);
        let head_bytes = checks_at.saturating_add(checks.saturating_mul(CHECK_BYTES));
        if head_bytes as u64 > length || head_bytes > HEAD_BYTES_MAX {
            return Err(out_of_range(20, head_bytes as u64, HEAD_BYTES_MAX));
        }
        head.resize(head_bytes, 0);
        read_exact_at(file, HEADER_BYTES as u64, &mut head[HEADER_BYTES..]).map_err(io_at(name))?;
        let (expected, found) = (u32_at(&head, CHECK_OFFSET), check_of(&head));
        if expected != found {
            return Err(damaged(0, Corruption::BadChecksum { expected, found }));
        }
        let version = u16_at(&head, 16);
        if version != VERSION {
            return Err(Error::Unsupported { file: name.to_owned(), version });
        }
        let stated = u64_at(&head, 8);
        if stated != number {
            return Err(damaged(8, Corruption::WrongNumber { expected: number, found: stated }));
        }
        let mut archive = AlignedVec::<16>::with_capacity(directory_bytes);
        archive.extend_from_slice(&head[HEADER_BYTES..checks_at]);
        let directory = rkyv::from_bytes::<Directory, rancor::Error>(&archive)
            .map_err(|_| damaged(HEADER_BYTES, Corruption::BadArchive))?;
        let sections =
            places(&directory.sections, head_bytes, length).map_err(|found| damaged(HEADER_BYTES, found))?;
        let blocks = sections.last().map_or(0, |last| last.block + blocks_of(last.bytes));
        if blocks != checks {
            let (expected, found) = (checks as u64, blocks as u64);
            return Err(damaged(24, Corruption::Miscounted { expected, found }));
        }
        Ok(Head {
            database_id: u128::from_le_bytes(directory.database_id),
            time: directory.time,
            sections,
            checks: head[checks_at..].chunks_exact(CHECK_BYTES).map(|check| u32_at(check, 0)).collect(),
        })
    }
}

/// The sections, which must follow each other from the end of the head to that of the file.
fn places(rows: &[SectionRow], head_bytes: usize, length: u64) -> Result<Vec<Place>, Corruption> {
    let mut places: Vec<Place> = Vec::with_capacity(rows.len());
    let (mut end, mut block) = (head_bytes as u64, 0);
    for row in rows {
        let expected = end.next_multiple_of(SECTION_ALIGN as u64);
        end = row.offset.saturating_add(row.bytes);
        if row.offset != expected || end > length {
            return Err(Corruption::LengthOutOfRange { length: end, limit: length });
        }
        let name = unpadded(&row.name).filter(|name| places.iter().all(|place| place.name != *name));
        let (Some(name), Ok(bytes)) = (name, usize::try_from(row.bytes)) else {
            return Err(Corruption::BadArchive);
        };
        places.push(Place { name, version: row.version, offset: row.offset, bytes, block });
        block += blocks_of(bytes);
    }
    if end != length {
        return Err(Corruption::LengthOutOfRange { length: end, limit: length });
    }
    Ok(places)
}

impl Place {
    /// The section's bytes, every block of which is checked. `checks` are those of the whole file.
    fn read(&self, name: &str, file: &dyn File, checks: &[u32]) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.bytes];
        read_exact_at(file, self.offset, &mut bytes).map_err(io_at(name))?;
        for (index, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
            let (expected, found) = (checks[self.block + index], crc32c::crc32c(block));
            if expected != found {
                let offset = self.offset + (index * BLOCK_BYTES) as u64;
                return Err(corrupt(name, offset, Corruption::BadChecksum { expected, found }));
            }
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_padded_and_come_back() {
        for name in ["h", "hot list", "x".repeat(ADVICE_NAME_BYTES_MAX).as_str(), "é"] {
            assert_eq!(unpadded(&padded(name).unwrap()).as_deref(), Some(name));
        }
        for name in ["", "a\0b", "\0", "x".repeat(ADVICE_NAME_BYTES_MAX + 1).as_str()] {
            assert_eq!(padded(name), None, "{name:?}");
        }
        assert_eq!(unpadded(&[0; ADVICE_NAME_BYTES_MAX]), None);
        assert_eq!(unpadded(&[0xff; ADVICE_NAME_BYTES_MAX]), None);
    }

    #[test]
    fn the_largest_head_fits_its_bound() {
        let sections = (0..ADVICE_SECTIONS_MAX).map(|n| AdviceSection {
            name: n.to_string(),
            version: 1,
            // Of each byte beyond a block another checksum.
            bytes: vec![
                0;
                ADVICE_BYTES_MAX / ADVICE_SECTIONS_MAX / BLOCK_BYTES * BLOCK_BYTES - BLOCK_BYTES + 1
            ],
        });
        let advice = Advice { number: 1, sections: sections.collect(), ..Advice::default() };
        assert!(encode_head(&advice).unwrap().len() <= HEAD_BYTES_MAX);
    }
}
