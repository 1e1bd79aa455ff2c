//! physics, and what stats says of it.

use serde_json::json;
use warp_api::{Demon, Laws, Level, Options, Physics, Strategy, WarpEngine};

use crate::Warp;

/// A database whose slots were moved since most writes fell on a few keys, so that the heaviest shard became lighter.
fn balanced() -> Option<(Warp, WarpEngine)> {
    let warp = Warp::new();
    let physics = Physics { demon: Demon::Manual, ..Physics::default() };
    let engine = warp.engine(Options::new().physics(physics));
    // Where a look comes in between, the writes since may be too few to tell from chance.
    let report = (0..50).find_map(|_| {
        for number in 0..20_000_u32 {
            engine.put(format!("hot:{}", number % 50), "value").unwrap();
        }
        let report = engine.trigger_entropy_rebalancing(Strategy::Aggressive).unwrap();
        (report.slots_moved > 0).then_some(report)
    });
    let report = report.expect("50 times nothing was moved");
    (report.max_over_mean_after < report.max_over_mean_before).then_some((warp, engine))
}

/// Links, rules, a wormhole, a law, and a demon that was of use.
fn filled() -> Warp {
    // Where keys of the heaviest shard share a slot it stays as heavy; in another database they have other hashes.
    let (warp, engine) = (0..10).find_map(|_| balanced()).expect("10 times no shard was made lighter");
    engine.put("user:1", "Ada").unwrap();
    engine.put("profile:1", "mathematician").unwrap();
    engine.entanglement_rule("user:{id}", &["profile:{id}", "settings:{id}"], 0.5).unwrap();
    engine.entangle("hot:1", &["hot:2", "nowhere"], 1.0).unwrap();
    engine.establish_wormhole("oslo", "bern", 0.5).unwrap();
    let laws = Laws { pace: 0.5, entropy_limit: Some(0.75), ..Laws::default() };
    engine.set_laws(Level::Warm, laws).unwrap();
    engine.close().unwrap();
    warp
}

#[test]
fn each_part_says_what_it_did_and_what_that_was_worth() {
    let warp = filled();
    let text = warp.text(&["physics", "--count"]);
    for line in [
        "entanglement    1 rule",
        "                3 of 52 keys have partners",
        "  declared      3 partners named, 2 there, 66.7 %",
        "  by rules      2 partners named, 1 there, 50.0 %",
        "wormholes       1 declared between 2 regions",
        "laws            warm: pace 0.5, entropy limit 0.75",
        "not stored      when single entries were used",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
    }
    let json = &warp.json(&["physics", "--json"])[0];
    assert_eq!(json["partners"], json!(null));
    let samples = json["demon"]["history"].as_array().unwrap();
    let moved: u64 = samples.iter().map(|sample| sample["moved"].as_u64().unwrap()).sum();
    assert!(moved > 0 && json["demon"]["slots_away"].as_u64().unwrap() > 0, "{json}");
    assert_eq!(json["evenness"]["moved"], moved);
    assert_eq!(json["evenness"]["samples"], samples.len());
    let worst = samples.iter().map(|sample| sample["entropy"].as_f64().unwrap()).fold(1.0, f64::min);
    assert_eq!(json["evenness"]["worst"]["entropy"], worst);
    assert_eq!(json["laws"][0]["level"], "warm");
    assert_eq!(json["learned"]["sections"][0]["name"], "hot");

    // What the program has moved is known to whoever looks afterwards.
    let worth = &json["worth"];
    assert_eq!(worth["total"]["slots_moved"], moved);
    assert_eq!(worth["last"], worth["total"]);
    assert_eq!(worth["session"]["slots_moved"], 0);
    let removed = worth["total"]["max_over_mean_removed"].as_f64().unwrap();
    assert!(removed > 0.0, "{worth}");
    let removed = format!("heaviest over mean {removed:.2}, by {moved} slots");

    let table = warp.text(&["stats"]);
    for (what, width) in [(&text, 16), (&table, 20)] {
        let row = |name: &str| {
            let found = what.lines().find(|line| line.starts_with(&format!("{name:<width$}")));
            found.unwrap_or_else(|| panic!("no {name:?} in\n{what}")).to_owned()
        };
        assert!(row("worth").contains("since creation") && row("worth").contains("last session"));
        assert_eq!(row("  hits gained").matches("memory was never full").count(), 2);
        assert_eq!(row("  imbalance").matches(&removed).count(), 2, "{what}");
        assert_eq!(row("  partners").matches("none were asked for").count(), 2, "{what}");
    }
    for start in
        ["wormholes           1 declared between 2 regions", "slots moved         ", "load of shards      "]
    {
        assert!(table.lines().any(|line| line.starts_with(start)), "no {start:?} in\n{table}");
    }
}

#[test]
fn a_directory_may_be_named_in_place_of_the_option() {
    let warp = filled();
    let other = warp.path("other").display().to_string();
    warp.engine(Options::new()).close().unwrap();
    Options::new().open(&other).unwrap().close().unwrap();
    let text = warp.text(&["physics", &other]);
    assert!(text.contains("\nwormholes       0 declared between 0 regions\n"), "{text}");
    assert!(warp.fails(2, &["physics", "/nowhere/at/all"]).contains("No such file"), "{text}");
}
