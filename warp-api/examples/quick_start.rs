//! Open a database, write, read, and read related keys together; then open it again.

use warp_api::{Durability, Result, WarpEngine, WriteBatch};

fn main() -> Result<()> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = WarpEngine::open(directory.path())?;

    engine.put("user:1", "Ada")?;
    engine.put("profile:1", "mathematician")?;
    let mut batch = WriteBatch::new();
    batch.put("order:7", "3 books").put("user:2", "Grace");
    engine.with_durability(Durability::Sync).write(&batch)?; // on the disk when this returns

    // A rule for all users, and a link between two keys.
    engine.entanglement_rule("user:{id}", &["profile:{id}"], 0.8)?;
    engine.entangle("user:1", &["order:7"], 0.9)?;
    let user = engine.quantum_get("user:1")?.expect("it was put above");
    for partner in &user.partners {
        let value = partner.value.as_deref().map(String::from_utf8_lossy);
        println!("{} {:.1} {value:?}", String::from_utf8_lossy(&partner.key), partner.strength);
    }
    assert_eq!((user.found, user.requested), (2, 2));
    engine.close()?;

    let engine = WarpEngine::open(directory.path())?;
    println!("{:?}", engine.recovery_report());
    assert_eq!(engine.len()?, 4);
    engine.close()
}
