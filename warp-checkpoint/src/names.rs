//! The only place where file names are made and read.

const LAYER_SUFFIX: &str = ".warp";
const PLACES_SUFFIX: &str = ".places";
const MANIFEST_PREFIX: &str = "MANIFEST-";
const ADVICE_PREFIX: &str = "advice-";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// The file name of a layer, in the directory `layers`: `<id>.warp`.
#[must_use]
pub fn layer_name(id: u64) -> String {
    format!("{id}{LAYER_SUFFIX}")
}

/// The id of the layer that has this file name; `None` for a name that [`layer_name`] does not make.
#[must_use]
pub fn parse_layer_name(name: &str) -> Option<u64> {
    parse_number(name.strip_suffix(LAYER_SUFFIX)?)
}

/// The file name of a manifest, in the directory of the database: `MANIFEST-<n>`.
#[must_use]
pub fn manifest_name(number: u64) -> String {
    format!("{MANIFEST_PREFIX}{number}")
}

/// The number of the manifest that has this file name; `None` for a name that [`manifest_name`] does not make.
#[must_use]
pub fn parse_manifest_name(name: &str) -> Option<u64> {
    parse_number(name.strip_prefix(MANIFEST_PREFIX)?)
}

/// The file name of what was learned, in the directory of the database: `advice-<n>.warp`.
#[must_use]
pub fn advice_name(number: u64) -> String {
    format!("{ADVICE_PREFIX}{number}{LAYER_SUFFIX}")
}

/// The number of the advice file that has this file name; `None` for a name that [`advice_name`] does not make.
#[must_use]
pub fn parse_advice_name(name: &str) -> Option<u64> {
    parse_number(name.strip_prefix(ADVICE_PREFIX)?.strip_suffix(LAYER_SUFFIX)?)
}

/// The name under which a file is written before it gets its own.
pub(crate) fn temporary_name(name: &str) -> String {
    format!("{name}{TEMPORARY_SUFFIX}")
}

/// Whether this is the temporary name of a manifest.
pub(crate) fn is_temporary_manifest(name: &str) -> bool {
    name.strip_suffix(TEMPORARY_SUFFIX).is_some_and(|own| parse_manifest_name(own).is_some())
}

/// The name that the places of a layer's entries have for a moment while it is written.
pub(crate) fn places_name(id: u64) -> String {
    format!("{id}{PLACES_SUFFIX}")
}

/// Whether this is a name from [`places_name`].
pub(crate) fn is_places_name(name: &str) -> bool {
    name.strip_suffix(PLACES_SUFFIX).is_some_and(|id| parse_number(id).is_some())
}

/// Whether this is the temporary name of an advice file.
pub(crate) fn is_temporary_advice(name: &str) -> bool {
    name.strip_suffix(TEMPORARY_SUFFIX).is_some_and(|own| parse_advice_name(own).is_some())
}

/// A decimal number as `Display` writes it: digits only, without leading zeros.
fn parse_number(digits: &str) -> Option<u64> {
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        for number in [0, 1, 9, 10, 4096, u64::MAX] {
            assert_eq!(parse_layer_name(&layer_name(number)), Some(number));
            assert_eq!(parse_manifest_name(&manifest_name(number)), Some(number));
            assert_eq!(parse_advice_name(&advice_name(number)), Some(number));
        }
    }

    #[test]
    fn other_names_are_refused() {
        for name in ["", ".warp", "01.warp", "+1.warp", "-1.warp", "1.warp.tmp", "18446744073709551616.warp"]
        {
            assert_eq!(parse_layer_name(name), None, "{name}");
        }
        for name in ["MANIFEST-", "MANIFEST-00", "MANIFEST-1.tmp", "manifest-1", "MANIFEST-+1", "MANIFEST- 1"]
        {
            assert_eq!(parse_manifest_name(name), None, "{name}");
        }
        for name in
            ["advice-.warp", "advice-01.warp", "advice-1", "1.warp", "advice-1.warp.tmp", "advice--1.warp"]
        {
            assert_eq!(parse_advice_name(name), None, "{name}");
        }
    }

    #[test]
    fn only_our_own_temporary_names_are_known() {
        assert!(is_temporary_manifest(&temporary_name(&manifest_name(7))));
        assert!(is_temporary_advice(&temporary_name(&advice_name(7))));
        for name in ["advice-7.warp", "advice-7.tmp", "MANIFEST-7.tmp", "7.warp.tmp"] {
            assert!(!is_temporary_advice(name), "{name}");
        }
        for name in ["notes.tmp", "MANIFEST-7", ".tmp", "MANIFEST-7.tmp.tmp", "7.warp.tmp"] {
            assert!(!is_temporary_manifest(name), "{name}");
        }
    }
}
