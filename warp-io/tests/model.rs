//! Random operations on the simulated disk agree with a model that copies everything.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use warp_io::{Dir, SimDisk, Survival};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Debug)]
enum Step {
    Create(&'static str),
    Write(&'static str, u64, Vec<u8>),
    Append(&'static str, Vec<u8>),
    Truncate(&'static str, u64),
    Allocate(&'static str, u64),
    SyncData(&'static str),
    SyncDir,
    Rename(&'static str, &'static str),
    Remove(&'static str),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || prop::sample::select(&NAMES[..]);
    // Around the edges of the chunks that the disk keeps its bytes in.
    let offset = || prop_oneof![0..10_u64, 2040..2060_u64, 0..9000_u64];
    let bytes = || (any::<u8>(), 0..5000_usize).prop_map(|(byte, len)| vec![byte; len]);
    prop_oneof![
        3 => name().prop_map(Step::Create),
        4 => (name(), offset(), bytes()).prop_map(|(name, offset, bytes)| Step::Write(name, offset, bytes)),
        4 => (name(), bytes()).prop_map(|(name, bytes)| Step::Append(name, bytes)),
        2 => (name(), offset()).prop_map(|(name, len)| Step::Truncate(name, len)),
        1 => (name(), offset()).prop_map(|(name, len)| Step::Allocate(name, len)),
        3 => name().prop_map(Step::SyncData),
        2 => Just(Step::SyncDir),
        2 => (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => name().prop_map(Step::Remove),
    ]
}

/// What each name leads to, and what each file ever made holds: live and durable.
#[derive(Clone, Default)]
struct Model {
    live: BTreeMap<&'static str, usize>,
    durable: BTreeMap<&'static str, usize>,
    files: Vec<(Vec<u8>, Vec<u8>)>,
}

type Files = BTreeMap<String, Vec<u8>>;

impl Model {
    fn apply(&mut self, step: &Step) -> bool {
        match step {
            Step::Create(name) => {
                if self.live.contains_key(name) {
                    return false;
                }
                self.live.insert(name, self.files.len());
                self.files.push((vec![], vec![]));
            }
            Step::SyncDir => self.durable = self.live.clone(),
            Step::Rename(from, to) => match self.live.remove(from) {
                Some(file) => _ = self.live.insert(to, file),
                None => return false,
            },
            Step::Remove(name) => return self.live.remove(name).is_some(),
            Step::Write(name, ..)
            | Step::Append(name, ..)
            | Step::Truncate(name, _)
            | Step::Allocate(name, _)
            | Step::SyncData(name) => match self.live.get(name) {
                Some(file) => change(&mut self.files[*file], step),
                None => return false,
            },
        }
        true
    }

    fn live(&self) -> Files {
        self.live.iter().map(|(name, file)| (name.to_string(), self.files[*file].0.clone())).collect()
    }

    fn durable(&self) -> Files {
        self.durable.iter().map(|(name, file)| (name.to_string(), self.files[*file].1.clone())).collect()
    }
}

fn change((live, durable): &mut (Vec<u8>, Vec<u8>), step: &Step) {
    let size = |len: u64| usize::try_from(len).unwrap();
    match step {
        Step::Write(_, offset, bytes) if !bytes.is_empty() => {
            let offset = size(*offset);
            live.resize(live.len().max(offset + bytes.len()), 0);
            live[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        Step::Append(_, bytes) => live.extend_from_slice(bytes),
        Step::Truncate(_, len) => live.resize(size(*len), 0),
        Step::Allocate(_, len) => live.resize(live.len().max(size(*len)), 0),
        Step::SyncData(_) => *durable = live.clone(),
        _ => {}
    }
}

fn apply(dir: &dyn Dir, step: &Step) -> std::io::Result<()> {
    let open = |name: &str| dir.open(name, true);
    match step {
        Step::Create(name) => dir.create_new(name).map(drop),
        Step::Write(name, offset, bytes) => open(name)?.write_at(*offset, bytes).map(drop),
        Step::Append(name, bytes) => open(name)?.append(bytes).map(drop),
        Step::Truncate(name, len) => open(name)?.truncate(*len),
        Step::Allocate(name, len) => open(name)?.allocate(*len).map(drop),
        Step::SyncData(name) => open(name)?.sync_data(),
        Step::SyncDir => dir.sync_dir(),
        Step::Rename(from, to) => dir.rename(from, to),
        Step::Remove(name) => dir.remove(name),
    }
}

fn contents(disk: &SimDisk) -> Files {
    disk.files().into_iter().map(|path| (path.clone(), disk.read(&path).unwrap())).collect()
}

/// What the interface shows, which must be what [`SimDisk::read`] shows.
fn through_the_interface(dir: &dyn Dir) -> Files {
    let map = |name: &str| dir.open(name, false).unwrap().map().unwrap().to_vec();
    dir.list().unwrap().into_iter().map(|name| (name.clone(), map(&name))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_model(steps in prop::collection::vec(step(), 1..40)) {
        let disk = SimDisk::new(0);
        disk.record();
        let mut model = Model::default();
        let mut history = Vec::new();
        for step in &steps {
            history.push((disk.operations(), model.clone()));
            prop_assert_eq!(apply(&disk.root(), step).is_ok(), model.apply(step), "{:?}", step);
        }
        history.push((disk.operations(), model.clone()));
        prop_assert_eq!(through_the_interface(&disk.root()), model.live());
        for (operation, model) in history {
            let image = |survival| contents(&disk.image_at(operation, survival));
            prop_assert_eq!(image(Survival::Everything), model.live());
            prop_assert_eq!(image(Survival::Nothing), model.durable());
            prop_assert_eq!(image(Survival::Exactly(vec![])), model.durable());
            let all = vec![true; disk.pending_count_at(operation)];
            prop_assert_eq!(image(Survival::Exactly(all)), model.live());
            prop_assert_eq!(contents(&disk.kill_at(operation)), model.live());
            let later = disk.kill_at(operation).crash(Survival::Nothing);
            prop_assert_eq!(contents(&later), model.durable());
        }
    }

    #[test]
    fn names_and_lengths_stay_whole(steps in prop::collection::vec(step(), 1..40), seed in 2..1000_u64) {
        let disk = SimDisk::new(0);
        for step in &steps {
            let _ = apply(&disk.root(), step);
        }
        let left = disk.crash(Survival::seeded(seed));
        let files = contents(&left);
        prop_assert_eq!(&through_the_interface(&left.root()), &files);
        prop_assert_eq!(left.used(), files.values().map(|bytes| bytes.len() as u64).sum::<u64>());
        prop_assert_eq!(left.digest(), left.crash(Survival::Nothing).digest());
        prop_assert_eq!(left.digest(), left.crash(Survival::Everything).digest());
    }
}

#[test]
fn a_long_list_of_pending_operations_is_dropped_without_a_deep_stack() {
    let disk = SimDisk::new(0);
    let file = disk.root().create_new("a").unwrap();
    for _ in 0..200_000 {
        file.write_at(0, b"x").unwrap();
    }
    assert_eq!(disk.pending_count_at(disk.operations()), 200_001);
    file.sync_data().unwrap();
    assert_eq!(disk.pending_count_at(disk.operations()), 1);
}
