//! Wormholes: links between regions that the program names, kept in the system keyspace, and the routes through them.

use parking_lot::Mutex;
use serde::Serialize;
use warp_physics::{
    BadWormholes, LearnReport, NetworkOptions, NetworkStats, Route, Topology, WormholeNetwork, Wormholes,
};

use crate::counters::Counter;
use crate::engine::WarpEngine;
use crate::error::{Error, Result};
use crate::learned::{BadSection, Learned};
use crate::shared::Shared;
use crate::system::SystemEntry;
use crate::types::Seq;
use crate::write::Terms;

impl SystemEntry for Wormholes {
    const KEY: &'static [u8] = b"wormholes";
    const NAME: &'static str = "wormholes";
    type Bad = BadWormholes;

    fn to_bytes(&self) -> Vec<u8> {
        Wormholes::to_bytes(self)
    }

    fn from_bytes(bytes: &[u8]) -> std::result::Result<Wormholes, BadWormholes> {
        Wormholes::from_bytes(bytes)
    }

    fn is_newer(bad: &BadWormholes) -> bool {
        matches!(bad, BadWormholes::UnknownVersion(_))
    }
}

/// The network of an engine.
#[derive(Debug)]
pub(crate) struct Network {
    network: WormholeNetwork,
    /// Held while the network is brought in step with what is stored: of two changes at once, the one that comes last reads
    /// the later state.
    following: Mutex<()>,
    learns: bool,
    learned: Mutex<Option<LearnReport>>,
    asked: Counter,
    found: Counter,
}

/// What the network of wormholes holds, and what it was asked.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct WormholeMetrics {
    /// Regions, wormholes, and what changes of them have cost.
    pub network: NetworkStats,
    /// Routes that were asked for since the open.
    pub routes_asked: u64,
    /// Those for which there was one.
    pub routes_found: u64,
    /// What the last choice of learned shortcuts came to; `None` before the first, and where none are learned.
    pub learned: Option<LearnReport>,
}

impl Network {
    pub(crate) fn new(learned_max: usize) -> Network {
        Network {
            network: WormholeNetwork::new(NetworkOptions { learned_max, ..NetworkOptions::default() }),
            following: Mutex::new(()),
            learns: learned_max > 0,
            learned: Mutex::new(None),
            asked: Counter::default(),
            found: Counter::default(),
        }
    }

    /// Whether shortcuts are learned from what is asked for.
    pub(crate) fn learns(&self) -> bool {
        self.learns
    }

    fn route(&self, a: &str, b: &str) -> Option<Route> {
        self.asked.add(1);
        if self.learns {
            // Not counted where others are counting at this moment: a sample is as good.
            let _ = self.network.traffic(a, b, 1.0);
        }
        let route = self.network.route(a, b);
        self.found.add(u64::from(route.is_some()));
        route
    }

    /// Chooses learned shortcuts anew, where any are to be learned.
    pub(crate) fn learn(&self) {
        if self.learns {
            *self.learned.lock() = Some(self.network.learn());
        }
    }
}

/// The part that keeps the traffic between regions, and the shortcuts that were learned from it.
pub(crate) struct KeptTraffic<'a> {
    pub(crate) shared: &'a Shared,
}

impl Learned for KeptTraffic<'_> {
    fn name(&self) -> &'static str {
        "traffic"
    }

    fn version(&self) -> u32 {
        1
    }

    fn save(&self, bytes_max: usize) -> Option<Vec<u8>> {
        self.shared.network.network.traffic_to_bytes(bytes_max)
    }

    fn load(&self, bytes: &[u8]) -> std::result::Result<(), BadSection> {
        self.shared.network.network.restore_traffic(bytes).map_err(|_| BadSection)
    }
}

impl Shared {
    fn change_wormholes<R>(
        &self,
        terms: Terms,
        change: impl Fn(&mut Wormholes) -> Result<R>,
    ) -> Result<(R, u64)> {
        let changed = self.change_stored(terms, change)?;
        self.load_wormholes()?;
        Ok(changed)
    }

    pub(crate) fn establish_wormhole(&self, a: &str, b: &str, strength: f64, terms: Terms) -> Result<u64> {
        let (_, seq) = self.change_wormholes(terms, |wormholes| {
            wormholes
                .establish(a, b, strength)
                .map_err(|error| Error::invalid("the wormhole is refused").caused_by(error))
        })?;
        Ok(seq)
    }

    /// Takes the wormholes that are stored into use.
    pub(crate) fn load_wormholes(&self) -> Result<()> {
        let _following = self.network.following.lock();
        let wormholes = self.stored::<Wormholes>()?;
        let replaced = self.network.network.replace(&wormholes);
        replaced.map_err(|error| Error::invalid("the wormholes are refused").caused_by(error))?;
        Ok(())
    }

    /// The declared wormholes.
    pub(crate) fn wormholes(&self) -> Result<Wormholes> {
        self.stored()
    }
}

impl WarpEngine {
    /// Links two regions, in both directions, as durably as any write: a region is a name of the program's own, and comes
    /// into being with its first wormhole. Establishing one again replaces its strength. One of strength `s` costs `1 / s`,
    /// to the 256th and at most 64.
    ///
    /// All wormholes are one stored value, at most [`WORMHOLES_MAX`](crate::WORMHOLES_MAX), which each change writes anew.
    ///
    /// ```
    /// use warp_api::WarpEngine;
    ///
    /// # fn main() -> warp_api::Result<()> {
    /// let engine = WarpEngine::in_memory();
    /// engine.establish_wormhole("oslo", "bern", 0.5)?;
    /// engine.establish_wormhole("bern", "rome", 1.0)?;
    /// let route = engine.route("oslo", "rome").unwrap();
    /// assert_eq!((route.hops, route.cost), (vec!["oslo".to_owned(), "bern".into(), "rome".into()], 3.0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`put`](WarpEngine::put); `Invalid` for an empty name or one of more than 255 bytes, a region linked with itself, a
    /// strength outside `0.0..=1.0`, or too many wormholes.
    pub fn establish_wormhole(&self, a: impl AsRef<str>, b: impl AsRef<str>, strength: f64) -> Result<Seq> {
        self.shared.check_writable()?;
        self.shared.establish_wormhole(a.as_ref(), b.as_ref(), strength, self.terms()).map(Seq)
    }

    /// Removes the wormhole between two regions; `false`, with nothing written, if there is none. A region leaves with its last
    /// one.
    ///
    /// # Errors
    /// As [`put`](WarpEngine::put).
    pub fn close_wormhole(&self, a: impl AsRef<str>, b: impl AsRef<str>) -> Result<bool> {
        self.shared.check_writable()?;
        let (a, b) = (a.as_ref(), b.as_ref());
        let (was_there, _) =
            self.shared.change_wormholes(self.terms(), |wormholes| Ok(wormholes.close(a, b)))?;
        Ok(was_there)
    }

    /// A cheapest way from one region to another through wormholes, of however many hops; `None` if there is none, or no such
    /// region. From memory alone, without waiting for anybody.
    #[must_use]
    pub fn route(&self, a: impl AsRef<str>, b: impl AsRef<str>) -> Option<Route> {
        self.shared.network.route(a.as_ref(), b.as_ref())
    }

    /// The regions and wormholes that there are, learned ones included.
    #[must_use]
    pub fn wormhole_topology(&self) -> Topology {
        self.shared.network.network.topology()
    }

    /// What the network of wormholes holds, and what it was asked.
    #[must_use]
    pub fn wormhole_metrics(&self) -> WormholeMetrics {
        let Network { network, asked, found, learned, .. } = &self.shared.network;
        WormholeMetrics {
            network: network.stats(),
            routes_asked: asked.sum(),
            routes_found: found.sum(),
            learned: *learned.lock(),
        }
    }
}
