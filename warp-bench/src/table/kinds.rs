//! Which stores there are: ours, and with the feature `peers` the rivals.

use super::ours::Ours;
use super::pages::Pages;
#[cfg(feature = "peers")]
use super::peers;
use super::store::StorePass;
use crate::run::Outcome;

/// What a store is compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Ours,
    /// A map with keys and values of any length, in boxes.
    Rival,
    /// A map that can do less, and is shown without being compared with.
    #[cfg(feature = "peers")]
    Orientation,
}

/// A kind of store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    /// Makes an empty one.
    pub(crate) empty: fn() -> Box<dyn StorePass>,
}

/// All kinds, ours first.
const KINDS: &[Kind] = &[
    Kind { name: "ours", role: Role::Ours, empty: || Box::new(Ours::new()) },
    #[cfg(feature = "peers")]
    Kind { name: "papaya", role: Role::Rival, empty: || Box::new(peers::Papaya::new()) },
    #[cfg(feature = "peers")]
    Kind { name: "scc", role: Role::Rival, empty: || Box::new(peers::Scc::new()) },
    #[cfg(feature = "peers")]
    Kind { name: "dashmap", role: Role::Rival, empty: || Box::new(peers::Dashmap::new()) },
    #[cfg(feature = "peers")]
    Kind { name: "sharded", role: Role::Rival, empty: || Box::new(peers::Sharded::new()) },
    #[cfg(feature = "peers")]
    Kind { name: "inline", role: Role::Orientation, empty: || Box::new(peers::Inline::new()) },
];

/// Ours in pages of the size that rivals get from their allocator by default: compared where new memory is what takes time.
pub(crate) const OURS_IN_SMALL_PAGES: Kind =
    Kind { name: "ours-4k", role: Role::Ours, empty: || Box::new(Ours::in_pages(Pages::Small)) };

/// The kinds with these names, in their own order, and ours in any case; without names, all.
///
/// # Errors
/// A name that no kind has.
pub(crate) fn kinds(names: &[String]) -> Outcome<Vec<Kind>> {
    for name in names {
        kind(name)?;
    }
    let wanted = |kind: &&Kind| {
        kind.role == Role::Ours || names.is_empty() || names.iter().any(|name| name == kind.name)
    };
    Ok(KINDS.iter().filter(wanted).copied().collect())
}

/// The kind with this name.
///
/// # Errors
/// That there is none.
pub(crate) fn kind(name: &str) -> Outcome<Kind> {
    KINDS.iter().chain([&OURS_IN_SMALL_PAGES]).find(|kind| kind.name == name).copied().ok_or_else(|| {
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        format!("no store is called {name:?}; there are {} (rivals with the feature peers)", known.join(", "))
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_always_there_and_unknown_names_are_refused() {
        assert_eq!(kinds(&[]).unwrap().len(), KINDS.len());
        let only = kinds(&["ours".to_owned()]).unwrap();
        assert_eq!((only.len(), only[0].role), (1, Role::Ours));
        assert!(kinds(&["nobody".to_owned()]).is_err());
    }
}
