//! Which keys to fetch together with one, and an order on disk in which they lie side by side.
//!
//! `cargo run -p warp-physics --example related_keys`

use std::error::Error;

use warp_physics::{Entanglement, Links, Origin, PARTNERS_DEFAULT, Rules, STRENGTH_MIN_DEFAULT, layout};

fn main() -> Result<(), Box<dyn Error>> {
    // Rules make links from names; a declared link joins two keys whose names say nothing.
    let mut rules = Rules::new();
    rules.add("user:{id}", &["profile:{id}", "cart:{id}:items"], 0.8)?;
    let mut declared = Links::new();
    declared.declare(0, b"team:red", 0.9)?;

    let graph = Entanglement::new(rules);
    let found = graph.partners(0, b"user:42", Some(&declared), PARTNERS_DEFAULT, STRENGTH_MIN_DEFAULT);
    for link in &found {
        println!("{:<16} {:.1} {:?}", String::from_utf8_lossy(&link.key), link.strength, link.origin);
    }
    assert_eq!(found[0].key, b"team:red");
    assert_eq!(found[0].origin, Origin::Declared);
    assert_eq!(found.len(), 3);

    // The same answer as an order in which to write entries.
    let mut keys: Vec<&[u8]> = vec![b"cart:42:items", b"other", b"profile:42", b"team:red", b"user:42"];
    keys.sort_by_key(|key| !key.starts_with(b"user:")); // Users first: they name the others.
    let order = layout(keys.len(), |at| {
        let declared = (keys[at] == b"user:42").then_some(&declared);
        let partners = graph.partners(0, keys[at], declared, PARTNERS_DEFAULT, STRENGTH_MIN_DEFAULT);
        partners.iter().filter_map(|link| keys.iter().position(|key| *key == link.key)).collect()
    });
    let laid_out: Vec<&[u8]> = order.iter().map(|&at| keys[at]).collect();
    assert_eq!(laid_out, [&b"user:42"[..], b"team:red", b"cart:42:items", b"profile:42", b"other"]);
    Ok(())
}
