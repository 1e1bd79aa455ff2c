//! What the parts of physics were worth, in words.

use indicatif::HumanBytes;
use warp_api::{Worth, WorthMetrics};

use crate::text::counted;

/// Width of what is said of each time but the last.
const CELL_WIDTH: usize = 52;

/// The rows of a table: a name, and what is said since the database was created and of the session that was last kept.
pub(super) fn rows(worth: &WorthMetrics) -> Vec<(&'static str, String)> {
    let (Some(total), Some(last)) = (worth.total, worth.last) else {
        return vec![("worth", "not known".to_owned())];
    };
    let row = |text: fn(&Worth) -> String| beside(&text(&total), &text(&last));
    vec![
        ("worth", beside("since creation", "last session")),
        ("  hits gained", row(hits)),
        ("  bytes saved", row(packing)),
        ("  partners", row(partners)),
        ("  prefetch", row(fetched)),
        ("  warm start", row(warm_start)),
        ("  imbalance", row(demon)),
    ]
}

fn beside(total: &str, last: &str) -> String {
    format!("{total:<CELL_WIDTH$}{last}")
}

fn hits(worth: &Worth) -> String {
    match worth.hit_share_gained {
        None => "memory was never full".to_owned(),
        Some(share) => format!(
            "{:+} hits beyond a plain cache, {:+.1} % of {}",
            worth.hits_gained,
            share * 100.0,
            counted(worth.reads, "read", "reads")
        ),
    }
}

fn packing(worth: &Worth) -> String {
    match worth.packed {
        0 => "nothing was packed".to_owned(),
        packed => {
            format!(
                "{} by {}",
                HumanBytes(worth.packed_saved_bytes),
                counted(packed, "packed value", "packed values")
            )
        }
    }
}

fn partners(worth: &Worth) -> String {
    match worth.partners_requested {
        0 => "none were asked for".to_owned(),
        requested => format!("{} of {requested} asked for had a value", worth.partners_found),
    }
}

fn fetched(worth: &Worth) -> String {
    match worth.fetched {
        0 => "nothing was fetched".to_owned(),
        fetched => {
            format!(
                "{} of {fetched} fetched were used, {}",
                worth.fetched_used,
                HumanBytes(worth.fetched_bytes)
            )
        }
    }
}

fn warm_start(worth: &Worth) -> String {
    match worth.warm_entries {
        0 => "nothing was brought in".to_owned(),
        entries => {
            format!(
                "{} of {entries} entries used (estimate), {}",
                worth.warm_used,
                HumanBytes(worth.warm_bytes)
            )
        }
    }
}

fn demon(worth: &Worth) -> String {
    match worth.slots_moved {
        0 => "no slots were moved".to_owned(),
        moved => format!(
            "{:.5} removed, heaviest over mean {:.2}, by {}",
            worth.imbalance_removed,
            worth.max_over_mean_removed,
            counted(moved, "slot", "slots")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_anything_each_part_says_so() {
        let mut worth = WorthMetrics::default();
        assert_eq!(rows(&worth), [("worth", "not known".to_owned())]);
        worth.total = Some(Worth::default());
        worth.last = Some(Worth::default());
        let texts: Vec<String> = rows(&worth).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts.len(), 7);
        assert!(
            texts[1].starts_with("memory was never full   ") && texts[1].ends_with("  memory was never full")
        );
        assert_eq!(texts[6].matches("no slots were moved").count(), 2);
    }

    #[test]
    fn what_there_was_is_said_with_its_sign() {
        let mut worth = Worth::default();
        (worth.reads, worth.hits_gained, worth.hit_share_gained) = (1_600, -80, Some(-0.05));
        assert_eq!(hits(&worth), "-80 hits beyond a plain cache, -5.0 % of 1600 reads");
        (worth.hits_gained, worth.hit_share_gained) = (160, Some(0.1));
        assert_eq!(hits(&worth), "+160 hits beyond a plain cache, +10.0 % of 1600 reads");
        (worth.packed, worth.packed_saved_bytes) = (1, 2048);
        assert_eq!(packing(&worth), "2.00 KiB by 1 packed value");
        (worth.fetched, worth.fetched_used, worth.fetched_bytes) = (4, 3, 1024);
        assert_eq!(fetched(&worth), "3 of 4 fetched were used, 1.00 KiB");
        (worth.warm_entries, worth.warm_used, worth.warm_bytes) = (9, 7, 512);
        assert_eq!(warm_start(&worth), "7 of 9 entries used (estimate), 512 B");
        (worth.slots_moved, worth.imbalance_removed, worth.max_over_mean_removed) = (2, 0.03, 1.5);
        assert_eq!(demon(&worth), "0.03000 removed, heaviest over mean 1.50, by 2 slots");
    }
}
