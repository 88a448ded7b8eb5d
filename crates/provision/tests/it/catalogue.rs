//! The shipped workflow files.

use std::collections::BTreeSet;

use crate::world::World;

#[tokio::test]
async fn every_file_in_workflows_ships_and_passes_the_checker() {
    let world = World::new().await;
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../workflows");
    let names = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let on_disk: BTreeSet<String> = names
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let shipped = world
        .provisioner
        .catalogue()
        .all()
        .iter()
        .map(|entry| entry.workflow.name.clone())
        .collect();
    assert_eq!(on_disk, shipped);
}
