//! The file of what was learned: it comes back as it was written, damage costs what it hit and no more, and a crash leaves
//! the old file or the new one.

use warp_checkpoint::{
    ADVICE_BYTES_MAX, ADVICE_NAME_BYTES_MAX, ADVICE_SECTIONS_MAX, Advice, AdviceSection, Corruption, Error,
    advice_name, list_advice, load_advice, newest_advice, newest_advice_section, remove_advice, write_advice,
};
use warp_io::{SimDisk, Survival};

const BLOCK: usize = 4096;
const DATABASE: u128 = 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100;

fn section(name: &str, version: u32, bytes: Vec<u8>) -> AdviceSection {
    AdviceSection { name: name.to_owned(), version, bytes }
}

fn advice(number: u64, sections: Vec<AdviceSection>) -> Advice {
    Advice { number, database_id: DATABASE, time: 1_700_000_000_000, sections }
}

fn noise(count: usize) -> Vec<u8> {
    (0..count as u64).map(|n| warp_checkpoint::hash(&n.to_le_bytes()).to_le_bytes()[0]).collect()
}

/// Several blocks, one that ends with a block, one without any, and one after it.
fn several(number: u64) -> Advice {
    let sections = vec![
        section("first", 1, noise(BLOCK + 17)),
        section("second", 7, noise(BLOCK)),
        section("empty", 3, Vec::new()),
        section("last", 2, noise(3)),
    ];
    advice(number, sections)
}

#[test]
fn what_is_written_comes_back() {
    for written in [several(1), advice(1, Vec::new()), advice(1, vec![section("empty", 0, Vec::new())])] {
        let disk = SimDisk::new(1);
        let bytes = write_advice(&disk.root(), &written).unwrap();
        assert_eq!(disk.read(&advice_name(1)).unwrap().len() as u64, bytes);
        let found = newest_advice(&disk.root(), DATABASE).unwrap();
        let loaded = found.loaded.unwrap();
        assert_eq!(loaded.advice, written);
        assert!(loaded.damaged.is_empty() && found.rejected.is_empty());
    }
}

#[test]
fn the_example_of_the_document_is_what_is_written() {
    const DOCUMENT: &str = include_str!("../../docs/format/advice.md");
    let fence = "```hex advice\n";
    let text = &DOCUMENT[DOCUMENT.find(fence).unwrap() + fence.len()..];
    let lines = text[..text.find("```").unwrap()].lines();
    let digits = lines.flat_map(|line| line.split('#').next().unwrap().split_whitespace());
    let example: Vec<u8> = digits.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    let disk = SimDisk::new(1);
    let written = advice(3, vec![section("hot", 1, b"sun".to_vec()), section("links", 2, b"moon!".to_vec())]);
    write_advice(&disk.root(), &written).unwrap();
    let bytes = disk.read("advice-3.warp").unwrap();
    let lines: Vec<String> = bytes.chunks(16).map(|line| format!("{line:02x?}").replace(',', "")).collect();
    assert!(example == bytes, "the crate writes\n{}", lines.join("\n"));
    disk.write("advice-3.warp", example);
    assert_eq!(load_advice(&disk.root(), 3).unwrap().advice, written);
}

/// Every section that is handed out is one that was written, and a section is lost for damage in itself only.
#[test]
fn every_flipped_bit() {
    let disk = SimDisk::new(1);
    let written = several(1);
    write_advice(&disk.root(), &written).unwrap();
    let name = advice_name(1);
    let length = disk.read(&name).unwrap().len() as u64;
    let (mut heads, mut of_sections, mut nothing) = (0, 0, 0);
    for bit in 0..length * 8 {
        disk.flip_bit(&name, bit);
        match load_advice(&disk.root(), 1) {
            Err(Error::Corrupt { file, .. }) => {
                assert_eq!(file, name);
                heads += 1;
            }
            Err(error) => panic!("bit {bit}: {error:?}"),
            Ok(loaded) => {
                assert!(loaded.damaged.len() <= 1, "bit {bit} costs {} sections", loaded.damaged.len());
                for damaged in &loaded.damaged {
                    let Error::Corrupt { offset, .. } = damaged.error else { panic!("{:?}", damaged.error) };
                    assert!(
                        (offset..offset + BLOCK as u64).contains(&(bit / 8)),
                        "bit {bit}, block at {offset}"
                    );
                }
                let left = written
                    .sections
                    .iter()
                    .filter(|one| loaded.damaged.iter().all(|damaged| damaged.name != one.name));
                assert!(left.eq(&loaded.advice.sections), "bit {bit}");
                *(if loaded.damaged.is_empty() { &mut nothing } else { &mut of_sections }) += 1;
            }
        }
        disk.flip_bit(&name, bit);
    }
    // A header, a directory of four, and four checksums; three sections with bytes; and what keeps them apart.
    let head = (32 + 32 + 4 * 48 + 4 * 4) * 8;
    let content = (BLOCK + 17 + BLOCK + 3) * 8;
    assert_eq!((heads, of_sections), (head, content));
    assert_eq!(nothing as u64, length * 8 - (head + content) as u64);
    assert_eq!(load_advice(&disk.root(), 1).unwrap().advice, written);
}

#[test]
fn every_other_length() {
    let disk = SimDisk::new(1);
    write_advice(&disk.root(), &several(1)).unwrap();
    let bytes = disk.read(&advice_name(1)).unwrap();
    for length in (0..bytes.len()).chain(bytes.len() + 1..bytes.len() + 100) {
        let mut damaged = bytes.clone();
        damaged.resize(length, 0);
        disk.write(&advice_name(1), damaged);
        let error = load_advice(&disk.root(), 1).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "length {length}: {error:?}");
    }
}

/// A head that somebody has made to match its checksum is still not believed to reach beyond the file.
#[test]
fn a_directory_with_a_good_checksum_is_still_validated() {
    let disk = SimDisk::new(1);
    write_advice(&disk.root(), &several(1)).unwrap();
    let good = disk.read(&advice_name(1)).unwrap();
    let head = 32 + 32 + 4 * 48 + 4 * 4;
    for offset in (20..28).chain(32..head) {
        for byte in [0, 0x7f, 0xff] {
            let mut bytes = good.clone();
            bytes[offset] = byte;
            let check = crc32c::crc32c_append(crc32c::crc32c(&bytes[..28]), &bytes[32..head]);
            bytes[28..32].copy_from_slice(&check.to_le_bytes());
            disk.write(&advice_name(1), bytes);
            match load_advice(&disk.root(), 1) {
                Ok(loaded) => assert!(loaded.advice.sections.len() + loaded.damaged.len() <= 4),
                Err(error) => assert!(matches!(error, Error::Corrupt { .. }), "{error:?}"),
            }
        }
    }
}

#[test]
fn another_version_is_not_damage() {
    let disk = SimDisk::new(1);
    let written = advice(1, Vec::new());
    write_advice(&disk.root(), &written).unwrap();
    let mut bytes = disk.read(&advice_name(1)).unwrap();
    bytes[16] = 2;
    let check = crc32c::crc32c_append(crc32c::crc32c(&bytes[..28]), &bytes[32..]);
    bytes[28..32].copy_from_slice(&check.to_le_bytes());
    disk.write(&advice_name(1), bytes);
    assert!(matches!(load_advice(&disk.root(), 1), Err(Error::Unsupported { version: 2, .. })));
    let found = newest_advice(&disk.root(), DATABASE).unwrap();
    assert!(found.loaded.is_none());
    assert!(matches!(found.rejected[0].error, Error::Unsupported { .. }));
}

#[test]
fn a_damaged_file_gives_way_to_the_one_before() {
    let disk = SimDisk::new(1);
    for number in 1..=3 {
        write_advice(&disk.root(), &several(number)).unwrap();
    }
    disk.flip_bit(&advice_name(3), 70);
    disk.write(&advice_name(2), Vec::new());
    let found = newest_advice(&disk.root(), DATABASE).unwrap();
    assert_eq!(found.loaded.unwrap().advice.number, 1);
    assert_eq!(found.rejected.iter().map(|rejected| rejected.number).collect::<Vec<_>>(), [3, 2]);
}

#[test]
fn advice_of_another_database_is_refused() {
    let disk = SimDisk::new(1);
    write_advice(&disk.root(), &several(1)).unwrap();
    let found = newest_advice(&disk.root(), DATABASE + 1).unwrap();
    assert!(found.loaded.is_none());
    assert!(matches!(found.rejected[0].error, Error::Corrupt { found: Corruption::WrongDatabase, .. }));
}

#[test]
fn what_is_out_of_bounds_is_refused_and_leaves_nothing() {
    let disk = SimDisk::new(1);
    let write = |sections| write_advice(&disk.root(), &advice(1, sections)).unwrap_err();
    let error = write(vec![section("large", 1, vec![0; ADVICE_BYTES_MAX])]);
    assert!(matches!(error, Error::AdviceTooLarge { .. }), "{error:?}");
    let many = (0..=ADVICE_SECTIONS_MAX).map(|n| section(&n.to_string(), 1, Vec::new()));
    assert!(matches!(write(many.collect()), Error::AdviceTooLarge { .. }));
    for name in ["", "a\0", &"x".repeat(ADVICE_NAME_BYTES_MAX + 1)] {
        assert!(matches!(write(vec![section(name, 1, Vec::new())]), Error::BadSectionName { .. }));
    }
    let twice = vec![section("same", 1, Vec::new()), section("same", 2, Vec::new())];
    assert!(matches!(write(twice), Error::BadSectionName { .. }));
    assert!(disk.files().is_empty());
    write_advice(&disk.root(), &several(5)).unwrap();
    for number in [4, 5] {
        let error = write_advice(&disk.root(), &several(number)).unwrap_err();
        assert!(matches!(error, Error::NotNewer { newest: 5, .. }));
    }
}

#[test]
fn older_files_and_unfinished_ones_are_removed() {
    let disk = SimDisk::new(1);
    for number in [1, 2, 9] {
        write_advice(&disk.root(), &several(number)).unwrap();
    }
    for name in ["advice-3.warp.tmp", "MANIFEST-1", "MANIFEST-2.tmp", "advice-x.warp"] {
        disk.write(name, vec![1]);
    }
    assert_eq!(remove_advice(&disk.root(), 9).unwrap(), 3);
    assert_eq!(list_advice(&disk.root()).unwrap(), [9]);
    assert_eq!(disk.files(), ["MANIFEST-1", "MANIFEST-2.tmp", "advice-9.warp", "advice-x.warp"]);
}

/// Whatever the step at which the machine stops, and whatever of it survives, the old file or the new one is read.
#[test]
fn a_crash_leaves_the_old_file_or_the_new_one() {
    let disk = SimDisk::new(3);
    write_advice(&disk.root(), &several(1)).unwrap();
    disk.record();
    write_advice(&disk.root(), &several(2)).unwrap();
    remove_advice(&disk.root(), 2).unwrap();
    let (mut old, mut new) = (0, 0);
    for point in disk.crash_points() {
        for survival in (0..20).map(Survival::seeded) {
            let disk = disk.image_at(point, survival);
            let found = newest_advice(&disk.root(), DATABASE).unwrap();
            assert!(found.rejected.is_empty(), "{point}: {:?}", found.rejected);
            let loaded = found.loaded.unwrap();
            assert!(loaded.damaged.is_empty());
            assert_eq!(loaded.advice, several(loaded.advice.number));
            *(if loaded.advice.number == 1 { &mut old } else { &mut new }) += 1;
            // What the attempt has left does not keep the next one from being written.
            write_advice(&disk.root(), &several(3)).unwrap();
            remove_advice(&disk.root(), 3).unwrap();
            assert_eq!(disk.files(), ["advice-3.warp"]);
        }
    }
    assert!(old > 20 && new > 20, "{old} times the old one, {new} times the new one");
}

#[test]
fn one_section_is_read_without_the_others() {
    let disk = SimDisk::new(1);
    let read = |section: &str| newest_advice_section(&disk.root(), DATABASE, section);
    assert_eq!(read("second").unwrap(), None, "there is no file");
    write_advice(&disk.root(), &several(1)).unwrap();
    write_advice(&disk.root(), &advice(2, vec![section("second", 8, noise(9))])).unwrap();
    assert_eq!(read("second").unwrap(), Some(section("second", 8, noise(9))));
    assert_eq!(read("first").unwrap(), None, "the newest file counts");
    // Where its head is damaged, the one before does.
    disk.flip_bit(&advice_name(2), 8 * 40);
    assert_eq!(read("second").unwrap(), Some(section("second", 7, noise(BLOCK))));
    assert_eq!(newest_advice_section(&disk.root(), DATABASE + 1, "second").unwrap(), None);
    // Damage of another section is nothing to this one.
    let length = disk.read(&advice_name(1)).unwrap().len() as u64;
    disk.flip_bit(&advice_name(1), 8 * (length - 1));
    assert_eq!(read("second").unwrap(), Some(section("second", 7, noise(BLOCK))));
    assert!(matches!(read("last"), Err(Error::Corrupt { .. })));
}
