use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the order of steps, crashes and heights: no shard does what another lets go, and when the faults stop all
    /// is let go.
    #[test]
    fn atomic_whatever_the_order_is(
        touches in prop::collection::vec(prop::collection::btree_set((1u16..4, 0usize..2), 1..4), 1..5),
        steps in prop::collection::vec((0usize..5, 0usize..4, 0u8..12), 0..50),
    ) {
        let mut shards = Shards::new(&[1, 2, 3]);
        let manifests: Vec<Manifest> = (0u8..).zip(&touches).map(|(body, touched)| {
            let (inputs, outputs): (Vec<_>, Vec<_>) = touched.iter().partition(|(_, number)| (number + usize::from(body)) % 3 != 2);
            shards.manifest(body, &inputs, &outputs)
        }).collect();
        let mut height = 0;
        for (which, choice, action) in steps {
            let manifest = &manifests[which % manifests.len()];
            match action {
                0 => { height += 3; let shard = [1, 2, 3][choice % 3]; shards.at(shard).tick(height); }
                1 => shards.at([1, 2, 3][choice % 3]).crash(),
                2 => {
                    let (shard, command) = shards.coordinator(manifest).expire(&shards.layout);
                    let _ = shards.at(shard).order(&command);
                }
                3 => {
                    let shard = [1, 2, 3][choice % 3];
                    let _ = shards.at(shard).order(&Command::Prepare { manifest: manifest.clone(), certificates: Certificates::default() });
                }
                _ => {
                    let next = shards.coordinator(manifest).next(&shards.layout, action % 2 == 0).unwrap();
                    if let Some((shard, command)) = next.get(choice % next.len().max(1)) {
                        let _ = shards.at(*shard).order(command);
                    }
                }
            }
            shards.check();
        }
        shards.tick(height + 20);
        for manifest in &manifests {
            let (shard, command) = shards.coordinator(manifest).expire(&shards.layout);
            let _ = shards.at(shard).order(&command);
            shards.drive(manifest, false);
        }
        shards.tick(height + 40);
        prop_assert!(shards.is_quiet(), "something hangs");
        prop_assert!(shards.shards.values().all(|shard| shard.machine.decisions().count() == 0));
    }
}
