//! What the engine did, counted and measured. What is not known is `None`.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use warp_core::TableMemory;
use warp_io::Clock;
use warp_physics::{EntanglementStats, EntropyReport};

use crate::demon::DemonMetrics;
use crate::engine::WarpEngine;
use crate::fetching::FetchMetrics;
use crate::keyspace::{DEFAULT, DEFAULT_NAME};
use crate::latency::LatencyMetrics;
use crate::learned::LearnedMetrics;
use crate::learning::LearningMetrics;
use crate::read_ahead::ReadAheadMetrics;
use crate::reason::ReasonCounts;
use crate::recovery_report::RecoveryReport;
use crate::shared::Shared;
use crate::types::{LEVELS, Level, Seq, ShardId};
use crate::warm_start::WarmStartMetrics;
use crate::wormholes::WormholeMetrics;
use crate::worth::WorthMetrics;

/// Everything that the engine counts and measures, at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CosmicMetrics {
    /// Calls, by what they did.
    pub operations: OperationMetrics,
    /// Latency of sampled `get` calls; `None` before the first sample.
    pub reads: Option<LatencyMetrics>,
    /// Latency of sampled `put` and `write` calls; `None` before the first sample.
    pub writes: Option<LatencyMetrics>,
    /// Where entries are.
    pub regions: Vec<RegionMetrics>,
    /// The keyspaces, in the order of their names.
    pub keyspaces: Vec<KeyspaceMetrics>,
    /// Operations on each shard.
    pub shards: Vec<ShardMetrics>,
    /// Links between keys.
    pub entanglement: EntanglementMetrics,
    /// Evenness of the load of the shards.
    pub entropy: EntropyReport,
    /// Load of the levels hot, warm and cold, in this order: reads that found a value there. Gravity works for a load
    /// that is uneven, all of it in hot, which is an entropy of 0: its trend is above zero where less is read from
    /// memory than before.
    pub levels: EntropyReport,
    /// What was done about it.
    pub demon: DemonMetrics,
    /// Wormholes between regions.
    pub wormholes: WormholeMetrics,
    /// The log; `None` without files, or when open for reading only.
    pub log: Option<LogMetrics>,
    /// Checkpoints and their layers; `None` without files.
    pub checkpoints: Option<CheckpointMetrics>,
    /// What the open found; `None` without files.
    pub recovery: Option<RecoveryReport>,
    /// What was learned and is kept over restarts; `None` without files.
    pub learned: Option<LearnedMetrics>,
    /// What was hot before the open, and was brought into memory since; `None` without files.
    pub warm_start: Option<WarmStartMetrics>,
    /// What of the layers was read ahead after the open; `None` without files.
    pub read_ahead: Option<ReadAheadMetrics>,
    /// What all of this was worth.
    pub worth: WorthMetrics,
    /// Memory, in bytes.
    pub memory: MemoryMetrics,
    /// Who is in memory, and how that came about.
    pub residency: ResidencyMetrics,
    /// Threads of the engine's own.
    pub threads: usize,
    /// The last sequence number given.
    pub last_seq: Seq,
    /// The sequence number up to which every write survives a power loss; 0 without files.
    pub durable_seq: Seq,
}

/// Calls, by what they did.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct OperationMetrics {
    /// Keys that were looked up, by any call that reads.
    pub gets: u64,
    /// Of those, how many had a value.
    pub hits: u64,
    /// Of those, how many values came from a checkpoint layer.
    pub cold_hits: u64,
    /// Values that were brought from a layer into memory.
    pub promotions: u64,
    /// Values that were put, by any call.
    pub puts: u64,
    /// Keys that were deleted, by any call.
    pub deletes: u64,
    /// Entries whose deadline had passed, and whose memory was freed since the open. Those that had been in a layer
    /// only are not among them.
    pub expired: u64,
    /// Batches that were written.
    pub batches: u64,
    /// Swaps, updates and changes of links that had to try again, since the key had changed meanwhile.
    pub conflicts: u64,
}

/// The entries of one level.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct RegionMetrics {
    /// Which level.
    pub level: Level,
    /// Entries in it. In layers, versions that newer ones hide are counted, too.
    pub entries: u64,
    /// Bytes that they take: of memory, or of files.
    pub bytes: u64,
}

/// One keyspace.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct KeyspaceMetrics {
    /// Its name.
    pub name: String,
    /// Its number, which stands for it in the log and in layers, and which no other one ever gets.
    pub number: u32,
    /// When it was last cleared; `None` if never.
    pub cleared: Option<Seq>,
}

/// The load of one shard.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct ShardMetrics {
    /// Which shard.
    pub shard: ShardId,
    /// Changes made under its lock, values brought in from layers included, and reads as far as they are sampled,
    /// since the open.
    pub operations: u64,
}

/// Where entries are, and how the load falls on the shards.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SpacetimeMetrics {
    /// The levels: memory, and layers.
    pub regions: Vec<RegionMetrics>,
    /// The shards.
    pub shards: Vec<ShardMetrics>,
    /// What was done to spread the load evenly.
    pub demon: DemonMetrics,
}

/// What links between keys amounted to.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct EntanglementMetrics {
    /// Calls that read a key with its partners, and what they found.
    pub quantum: EntanglementStats,
    /// Partners found, of those looked up, in `0.0..=1.0`; `None` before the first.
    pub efficiency: Option<f64>,
    /// Rules in force.
    pub rules: usize,
    /// What was learned from reads; all zero where nothing is learned.
    pub learning: LearningMetrics,
    /// Partners that were brought into memory before they were read.
    pub fetching: FetchMetrics,
    /// Entries that checkpoints laid beside a related one in a layer.
    pub laid_out: u64,
    /// Partners that [`quantum_get`](crate::WarpEngine::quantum_get) read behind their key in its layer, without a look-up.
    pub read_behind: u64,
}

/// What the log did since the open. Counts are of this run.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct LogMetrics {
    /// Segments that were written to and are kept.
    pub segments: u64,
    /// Segments that are prepared for use.
    pub prepared: u64,
    /// Segments that are no longer needed and are kept to be written to again.
    pub spares: u64,
    /// Times that a new segment was made from such a one.
    pub reused: u64,
    /// Bytes of all segments on the disk.
    pub bytes_on_disk: u64,
    /// Bytes written, with headers and padding.
    pub bytes_written: u64,
    /// Bytes of records among them.
    pub record_bytes: u64,
    /// Entries written.
    pub entries: u64,
    /// Frames written, each of which is a whole or nothing after a crash.
    pub frames: u64,
    /// Syncs of the disk.
    pub syncs: u64,
    /// Times that a new segment was begun because the one before was full.
    pub rotations: u64,
    /// The longest time that one of them kept the log from being written to, in nanoseconds.
    pub longest_rotation_nanos: u64,
    /// Bytes of the values before compression.
    pub raw_value_bytes: u64,
    /// Bytes of the values as they were written.
    pub stored_value_bytes: u64,
    /// Times that a writer had to wait for room.
    pub waits: u64,
    /// Segments that were moved to the archive.
    pub archived: u64,
    /// Times that a segment could not be, and stayed in the log.
    pub archive_failures: u64,
    /// Whether the disk had no space for the next segment when that was last tried.
    pub full: bool,
    /// Watches of changes that there are at this moment.
    pub watches: usize,
    /// By how many sequence numbers the slowest of them is behind what is durable; 0 without any. Numbers leap where the
    /// database was not closed cleanly.
    pub watch_lag: u64,
}

/// What checkpoints did since the open, and what there is of them.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct CheckpointMetrics {
    /// Checkpoints that were taken.
    pub taken: u64,
    /// Checkpoints that failed.
    pub failed: u64,
    /// Why they were taken.
    pub reasons: ReasonCounts,
    /// Changed entries that they wrote.
    pub entries: u64,
    /// Times that they found a changed entry which was written lately, and left it to the log; see
    /// [`CheckpointReport::left_to_log`](crate::CheckpointReport::left_to_log).
    pub left_to_log: u64,
    /// Bytes that they wrote of them. All bytes that checkpoints wrote are these and `merged_bytes`.
    pub bytes: u64,
    /// Checkpoints that merged older layers into their own.
    pub merges: u64,
    /// Bytes that they wrote of what was in older layers.
    pub merged_bytes: u64,
    /// Merges that failed, so that the checkpoint was taken without.
    pub merge_failures: u64,
    /// Files that no kept checkpoint needed any more, and that were removed.
    pub removed_files: u64,
    /// Times that they were not, since somebody else was reading the directory.
    pub removals_held_back: u64,
    /// Whether that was so when it was last tried: the directory grows until those who read it are done.
    pub held_back: bool,
    /// Times that a writer was held up, so that the log did not grow too far beyond the newest checkpoint; see
    /// [`Options::replay_bytes_max`](crate::Options::replay_bytes_max).
    pub writers_held_up: u64,
    /// How long they were at least, in nanoseconds, all together.
    pub writers_held_up_nanos: u64,
    /// The number of the newest manifest.
    pub number: u64,
    /// Recovery replays the log from here on.
    pub replay_from: Seq,
    /// Layers of the newest checkpoint.
    pub layers: usize,
    /// Bytes of those layers.
    pub layer_bytes: u64,
    /// Lookups of keys in layers, by any call.
    pub lookups: u64,
    /// Layers whose filter they asked. That of the last layer is left out while nearly all keys are there.
    pub filters_asked: u64,
    /// Layers whose index they looked into, since the filter let the key pass or was not asked.
    pub layers_probed: u64,
    /// Of those, how many did not have the key after all.
    pub filter_false_positives: u64,
}

/// Memory that the engine holds, in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct MemoryMetrics {
    /// Keys, values and structure of the table: what was got from the system, in use or not.
    pub table_bytes: u64,
    /// The part of `table_bytes` that is free for new entries.
    pub table_free_bytes: u64,
    /// The part of `table_bytes` for which the system was asked for huge pages, and said yes. A small table does not
    /// ask.
    pub table_huge_bytes: u64,
    /// What was overwritten or removed, and is freed when nobody can be reading it any more; a reader that stays in the
    /// closure of a `with_value` holds it up.
    pub retired_bytes: u64,
    /// What says which keys to look at when their deadline comes: 8 bytes a key with a deadline, about.
    pub expiry_bytes: u64,
    /// The order of keys, for keyspaces that were scanned: what it holds, and the list of new keys that are yet to be
    /// put in their places. 0 before the first scan.
    pub order_bytes: u64,
    /// What a checkpoint holds that is being taken: lists of changed keys, and what it has not written yet.
    pub checkpoint_bytes: u64,
    /// The log's buffer; 0 without files.
    pub log_buffer_bytes: u64,
    /// What the engine may hold.
    pub budget_bytes: u64,
    /// What it holds, as the budget counts it: resident memory of the table and of values, and everything else here but
    /// what is mapped; of checkpoints the most that they needed lately; what scans have read ahead; for large writes their buffers, with an
    /// estimate of what the allocator keeps of those that were freed; and an allowance of at most 4 MiB for what is told nowhere.
    pub held_bytes: u64,
    /// The part of `held_bytes` that is free for new entries of the right size.
    pub spare_bytes: u64,
    /// The part of it that entries take which no checkpoint has, about: they cannot leave memory. 0 without files.
    pub dirty_bytes: u64,
    /// Values that no entry has any more, and that handles of the program keep alive, or that are about to be freed.
    pub pinned_bytes: u64,
    /// Layer files that are mapped; they are page cache, which the system takes back when it needs it.
    pub mapped_bytes: u64,
    /// Blocks of layers that were read into memory; 0 where layers are mapped.
    pub layer_cache_bytes: u64,
}

/// Who is in memory, and how that came about. Counts since the open.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct ResidencyMetrics {
    /// Of the reads that found a value, the part that found it in memory, in `0.0..=1.0`; `None` before the first.
    pub hit_ratio: Option<f64>,
    /// Entries that left memory to make room.
    pub evicted: u64,
    /// The memory that this freed, in bytes.
    pub evicted_bytes: u64,
    /// Entries that were compressed to make room: hot to warm.
    pub packed: u64,
    /// The memory that this freed, in bytes.
    pub packed_saved_bytes: u64,
    /// Reads of compressed values in memory.
    pub warm_reads: u64,
    /// Compressed values that were decompressed for good, since they are used much: warm to hot.
    pub unpacked: u64,
    /// Values that were read from a layer and did not come into memory, since others are worth more.
    pub kept_out: u64,
    /// Values that came into memory while it was full, and had been used before, as far as that is remembered.
    pub returned: u64,
    /// The price of memory: what entries that left last were worth, in nanoseconds of reading a byte, by nominal costs
    /// of reads that are the same on all machines. `None` before the first.
    pub price: Option<f64>,
    /// Memory that is taken by what is remembered of the uses of keys, in memory and not, in bytes.
    pub remembered_bytes: u64,
    /// Keys that puts have pinned.
    pub pinned_keys: u64,
    /// Times that a writer waited for memory.
    pub waits: u64,
    /// How long writers were slowed since what no checkpoint has took most of the budget, in nanoseconds, all together.
    pub slowed_nanos: u64,
}

impl WarpEngine {
    /// Everything that the engine counts and measures.
    #[must_use]
    pub fn cosmic_metrics(&self) -> CosmicMetrics {
        let shared = &self.shared;
        let table = shared.table.memory();
        let layers = shared.layers.load();
        let log = shared.log_metrics();
        let standing = shared.memory_standing();
        CosmicMetrics {
            operations: shared.operation_metrics(),
            reads: shared.latencies.reads.metrics(),
            writes: shared.latencies.writes.metrics(),
            regions: shared.region_metrics(&table),
            keyspaces: shared.keyspace_metrics(),
            shards: shared.shard_metrics(),
            entanglement: self.quantum_entanglement_metrics(),
            entropy: self.entropy_metrics(),
            levels: shared.load.report_levels(shared.level_reads(), shared.time.monotonic()),
            demon: shared.demon.metrics(),
            wormholes: self.wormhole_metrics(),
            checkpoints: shared.checkpoint_metrics(),
            recovery: shared.home.as_ref().map(|_| shared.recovery.clone()),
            learned: shared.learned_metrics(),
            warm_start: shared.home.as_ref().map(|_| shared.warm.metrics()),
            read_ahead: shared.home.as_ref().map(|_| shared.read_ahead.metrics()),
            worth: shared.worth_metrics(),
            memory: MemoryMetrics {
                table_bytes: table.total(),
                table_free_bytes: table.free_bytes,
                table_huge_bytes: table.huge_bytes,
                retired_bytes: table.retired_bytes,
                expiry_bytes: shared.expiry.bytes(),
                order_bytes: shared.order_bytes() as u64,
                checkpoint_bytes: shared.checkpoint_memory.load(Ordering::Relaxed)
                    + shared.aside_list_bytes.load(Ordering::Relaxed),
                log_buffer_bytes: shared.journal.log().map_or(0, |log| log.stats().ring_bytes),
                budget_bytes: shared.budget.limit(),
                held_bytes: standing.held,
                spare_bytes: standing.spare,
                dirty_bytes: if shared.home.is_some() { standing.dirty } else { 0 },
                pinned_bytes: table.pinned_bytes,
                mapped_bytes: if shared.options.map_layers { layers.bytes() } else { 0 },
                layer_cache_bytes: shared.layer_cache_bytes(),
            },
            residency: shared.residency_metrics(),
            log,
            threads: self.threads(),
            last_seq: self.last_seq(),
            durable_seq: self.durable_seq(),
        }
    }

    /// Where entries are, and how the load falls on the shards.
    #[must_use]
    pub fn spacetime_metrics(&self) -> SpacetimeMetrics {
        let shared = &self.shared;
        SpacetimeMetrics {
            regions: shared.region_metrics(&shared.table.memory()),
            shards: shared.shard_metrics(),
            demon: shared.demon.metrics(),
        }
    }

    /// The event horizon: who is in memory, what left it and came back, and what memory is worth.
    ///
    /// ```
    /// # fn main() -> warp_api::Result<()> {
    /// let engine = warp_api::WarpEngine::in_memory();
    /// engine.put("key", "value")?;
    /// assert_eq!(engine.event_horizon_metrics().hit_ratio, None);
    /// engine.get("key")?;
    /// assert_eq!(engine.event_horizon_metrics().hit_ratio, Some(1.0));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn event_horizon_metrics(&self) -> ResidencyMetrics {
        self.shared.residency_metrics()
    }

    /// How evenly the load falls on the shards.
    #[must_use]
    pub fn entropy_metrics(&self) -> EntropyReport {
        self.shared.load.report(&self.shared.table, self.shared.time.monotonic())
    }

    /// What links between keys amounted to.
    #[must_use]
    pub fn quantum_entanglement_metrics(&self) -> EntanglementMetrics {
        let shared = &self.shared;
        let counters = &shared.counters;
        let quantum = EntanglementStats {
            requests: counters.quantum_gets.sum(),
            partners_requested: counters.partners_requested.sum(),
            partners_found: counters.partners_found.sum(),
        };
        EntanglementMetrics {
            quantum,
            efficiency: quantum.efficiency(),
            rules: shared.entanglement.load().rules().len(),
            learning: shared.learning.metrics(),
            fetching: shared.fetching.metrics(),
            laid_out: counters.laid_out.sum(),
            read_behind: shared.behind.read.sum(),
        }
    }
}

impl Shared {
    fn operation_metrics(&self) -> OperationMetrics {
        let counters = &self.counters;
        let (gets, hits, cold_hits) = counters.reads.sums();
        OperationMetrics {
            gets,
            hits,
            cold_hits,
            promotions: counters.promotions.sum(),
            puts: counters.puts.sum(),
            deletes: counters.deletes.sum(),
            expired: counters.expired.sum(),
            batches: counters.batches.sum(),
            conflicts: counters.conflicts.sum(),
        }
    }

    /// Reads that found a value in each level: hot, warm, and cold.
    pub(crate) fn level_reads(&self) -> [u64; LEVELS] {
        let (_, found, cold) = self.counters.reads.sums();
        let warm = self.residency.warm_reads.load(Ordering::Relaxed);
        [found.saturating_sub(cold + warm), warm, cold]
    }

    fn residency_metrics(&self) -> ResidencyMetrics {
        let (residency, budget) = (&self.residency, &self.budget);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (_, found, cold) = self.counters.reads.sums();
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact to the read")]
        let hit_ratio = (found > 0).then(|| (found - cold) as f64 / found as f64);
        ResidencyMetrics {
            hit_ratio,
            evicted: count(&residency.evicted),
            evicted_bytes: count(&residency.evicted_bytes),
            packed: count(&residency.packed),
            packed_saved_bytes: count(&residency.packed_saved_bytes),
            warm_reads: count(&residency.warm_reads),
            unpacked: count(&residency.unpacked),
            kept_out: count(&residency.kept_out),
            returned: count(&residency.returned),
            price: Some(residency.price()).filter(|price| *price > 0.0),
            remembered_bytes: residency.bytes(),
            pinned_keys: self.pinned_keys(),
            waits: count(&budget.waits),
            slowed_nanos: count(&budget.slowed_nanos),
        }
    }

    fn region_metrics(&self, table: &TableMemory) -> Vec<RegionMetrics> {
        let layers = self.layers.load();
        let cold_entries = layers.layers.iter().map(|layer| layer.info().entries).sum();
        vec![
            RegionMetrics {
                level: Level::Hot,
                entries: table.entries.saturating_sub(table.packed_entries),
                bytes: table.total().saturating_sub(table.packed_bytes),
            },
            RegionMetrics { level: Level::Warm, entries: table.packed_entries, bytes: table.packed_bytes },
            RegionMetrics { level: Level::Cold, entries: cold_entries, bytes: layers.bytes() },
        ]
    }

    fn shard_metrics(&self) -> Vec<ShardMetrics> {
        (0..)
            .zip(self.load.totals(&self.table))
            .map(|(shard, operations)| ShardMetrics { shard: ShardId(shard), operations })
            .collect()
    }

    fn keyspace_metrics(&self) -> Vec<KeyspaceMetrics> {
        let names = self.names.load();
        let named = names.iter().map(|(name, number)| (name.to_string(), number));
        let mut all: Vec<_> = named.chain([(DEFAULT_NAME.to_owned(), DEFAULT)]).collect();
        all.sort_unstable();
        let metrics = |(name, number)| {
            let cleared = Some(Seq(self.floors.of(number))).filter(|floor| floor.0 != 0);
            KeyspaceMetrics { name, number, cleared }
        };
        all.into_iter().map(metrics).collect()
    }

    fn log_metrics(&self) -> Option<LogMetrics> {
        let stats = self.journal.log()?.stats();
        let (watches, slowest) = self.waiters.watches.slowest();
        let durable = self.journal.durable_seq();
        Some(LogMetrics {
            segments: stats.segments,
            prepared: stats.prepared,
            spares: stats.spares,
            reused: stats.reused,
            bytes_on_disk: stats.segment_bytes_on_disk,
            bytes_written: stats.bytes_written,
            record_bytes: stats.payload_bytes,
            entries: stats.entries,
            frames: stats.frames,
            syncs: stats.syncs,
            rotations: stats.rotations,
            longest_rotation_nanos: stats.longest_rotation_nanos,
            raw_value_bytes: stats.raw_value_bytes,
            stored_value_bytes: stats.stored_value_bytes,
            waits: stats.admission_waits,
            archived: self.counters.archived_segments.sum(),
            archive_failures: self.counters.archive_failures.sum(),
            full: stats.full,
            watches,
            watch_lag: slowest.map_or(0, |seq| durable.saturating_sub(seq)),
        })
    }

    fn checkpoint_metrics(&self) -> Option<CheckpointMetrics> {
        let home = self.home.as_ref()?;
        let counters = &self.counters;
        let manifest = home.current.load();
        let probes = self.layers.probes();
        Some(CheckpointMetrics {
            taken: counters.checkpoints.sum(),
            failed: counters.checkpoint_failures.sum(),
            entries: counters.checkpoint_entries.sum(),
            left_to_log: counters.left_to_log.sum(),
            bytes: counters.checkpoint_bytes.sum(),
            reasons: counters.checkpoint_reasons.counts(),
            merge_failures: counters.merge_failures.sum(),
            merges: counters.merges.sum(),
            merged_bytes: counters.merged_bytes.sum(),
            removed_files: counters.removed_files.sum(),
            removals_held_back: counters.removals_held_back.sum(),
            held_back: home.is_held_back.load(Ordering::Relaxed),
            writers_held_up: self.log_bound.waits(),
            writers_held_up_nanos: self.log_bound.waited_nanos(),
            number: manifest.number,
            replay_from: Seq(manifest.replay_from),
            layers: manifest.layers.len(),
            layer_bytes: manifest.layers.iter().map(|layer| layer.bytes).sum(),
            lookups: probes.lookups.sum(),
            filters_asked: probes.filters.sum(),
            layers_probed: probes.layers.sum(),
            filter_false_positives: probes.false_positives.sum(),
        })
    }
}
