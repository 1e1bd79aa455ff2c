//! Writes a file of words, and reads it in place: nothing is loaded, and values are not copied.
//!
//! `cargo run -p warp-checkpoint --example read_in_place`

use std::error::Error;

use warp_checkpoint::{Layer, LayerEntry, LayerOptions, LayerWriter, hash};

const WORDS: [(&str, &str); 4] = [
    ("albedo", "the share of light that a body reflects"),
    ("parallax", "the apparent shift of a star as the earth moves"),
    ("redshift", "the stretching of light from what moves away"),
    ("syzygy", "three bodies in a line"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let path = scratch.path().join("words.warp");

    let mut writer = LayerWriter::create(&path, &LayerOptions::default())?;
    for (seq, (word, meaning)) in (1..).zip(WORDS) {
        let (key, value) = (word.as_bytes(), Some(meaning.as_bytes()));
        writer.add(&LayerEntry { hash: hash(key), keyspace: 0, key, seq, deadline: 0, value })?;
    }
    let info = writer.finish()?; // written, synced, read back and verified
    println!("{} entries in {} bytes", info.entries, info.bytes);

    let layer = Layer::open(&path)?;
    let look_up = |word: &str| -> Result<_, warp_checkpoint::Error> {
        let found = layer.get(hash(word.as_bytes()), 0, word.as_bytes())?;
        Ok(found.and_then(|found| found.value))
    };
    let syzygy = look_up("syzygy")?.ok_or("it was written")?;
    println!("syzygy: {}", String::from_utf8_lossy(&syzygy));
    for entry in &layer {
        let entry = entry?;
        println!("{:016x} {}", entry.hash, String::from_utf8_lossy(&entry.key));
    }

    assert_eq!(look_up("zenith")?, None);
    drop(layer);
    assert_eq!(syzygy, WORDS[3].1.as_bytes()); // the value keeps the map alive
    Ok(())
}
