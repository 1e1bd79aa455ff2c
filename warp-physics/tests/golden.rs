//! The examples of `docs/format/stored.md` are the bytes that are written.

use warp_physics::{Balance, EntropySample, Links, Rules, Wormholes};

const DOCUMENT: &str = include_str!("../../docs/format/stored.md");

/// The bytes of a fence: two hexadecimal digits each, up to a `;` on a line, behind which it is explained.
fn fence(name: &str) -> Vec<u8> {
    let start = format!("```hex {name}\n");
    let (_, behind) = DOCUMENT.split_once(&start).expect("the document has the example");
    let (lines, _) = behind.split_once("```").expect("the example ends");
    let fields = lines.lines().filter_map(|line| line.split(';').next());
    let byte = |digits| u8::from_str_radix(digits, 16).expect("two hexadecimal digits");
    fields.flat_map(str::split_whitespace).map(byte).collect()
}

#[test]
fn links() {
    let mut links = Links::new();
    links.declare(3, b"order:7", 0.5).unwrap();
    links.declare(0, b"cart", 1.0).unwrap();
    assert_eq!(links.to_bytes(), fence("physics-links"));
    assert_eq!(Links::from_bytes(&fence("physics-links")), Ok(links));
}

#[test]
fn rules() {
    let mut rules = Rules::new();
    let removed = rules.add("x:{id}", &["y:{id}"], 0.1).unwrap();
    rules.add("user:{id}", &["profile:{id}"], 0.5).unwrap();
    rules.remove(removed);
    assert_eq!(rules.to_bytes(), fence("physics-rules"));
    assert_eq!(Rules::from_bytes(&fence("physics-rules")), Ok(rules));
}

#[test]
fn wormholes() {
    let mut wormholes = Wormholes::new();
    wormholes.establish("rome", "oslo", 0.5).unwrap();
    wormholes.establish("oslo", "bern", 1.0).unwrap();
    assert_eq!(wormholes.to_bytes(), fence("physics-wormholes"));
    assert_eq!(Wormholes::from_bytes(&fence("physics-wormholes")), Ok(wormholes));
}

#[test]
fn balance() {
    let mut balance = Balance::new();
    balance.place(7, 3);
    balance.sample(EntropySample::new(1_700_000_000_000, 0.5, 2.0, 1));
    assert_eq!(balance.to_bytes(), fence("physics-balance"));
    assert_eq!(Balance::from_bytes(&fence("physics-balance")), Ok(balance));
}
