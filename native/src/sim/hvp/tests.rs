//! The experiments at a small size, with bounds that a broken machine or network does not keep.

use super::hostile::fabricated;
use super::membership::{Crashed, crashes, eclipse, partition, rejoin, steady};
use super::trees::{healings, trees};
use super::{Detection, Latency, Overlay, Setup, Watch};

const NODES: u32 = 300;

fn setup(seed: u64) -> Setup {
    Setup::new(NODES, 10, seed).unwrap()
}

fn grown(setup: &Setup) -> Overlay {
    setup.overlay(Detection::ClosedConnections, &Watch::default()).unwrap()
}

#[test]
fn a_steady_overlay_is_one_part_with_full_symmetric_views() {
    let setup = setup(1);
    let overlay = grown(&setup);
    let steady = steady(&setup, &overlay);
    assert_eq!((steady.nodes, steady.components), (NODES, 1));
    assert!((steady.symmetric - 1.0).abs() < 1e-9, "{steady:?}");
    assert!(
        (4.5..=5.0).contains(&steady.in_degree.0) && steady.in_degree.1 >= 1 && steady.in_degree.2 == 5,
        "{steady:?}"
    );
    assert!((3.4..4.6).contains(&steady.shortest_path), "{steady:?}");
    assert!((2.5..=3.03).contains(&steady.flood_rmr), "{steady:?}");
    assert!(steady.passive > 20.0 && steady.messages > 1.0, "{steady:?}");
    assert!(overlay.isolated() <= 3, "alone for a moment while others join");
}

#[test]
fn closed_connections_save_what_found_on_send_loses() {
    let setup = setup(2);
    let overlay = grown(&setup);
    let shares = [(Detection::ClosedConnections, 50), (Detection::ClosedConnections, 80), (Detection::FoundOnSend, 80)];
    let all = crashes(&setup, &overlay, &shares, &Watch::default()).unwrap();
    let [half, most, blind]: [Crashed; 3] = all.try_into().unwrap();
    assert_eq!((half.left, most.left, blind.left), (150, 60, 60));
    assert!(half.reliability > 0.98, "{half:?}");
    assert!(most.reliability > 0.9, "{most:?}");
    assert!(blind.reliability < most.reliability - 0.1, "{blind:?}");
    assert_eq!(overlay.honest().len(), NODES as usize, "it crashed a copy");
}

#[test]
fn one_part_returns_after_most_have_crashed_and_after_a_partition() {
    let setup = setup(3);
    let overlay = grown(&setup);
    let returned = rejoin(&setup, &overlay, 95, 20, &Watch::default()).unwrap();
    assert_eq!((returned.nodes, returned.components), (15, 1), "{returned:?}");
    let returned = partition(&setup, &overlay, 10, 20, &Watch::default()).unwrap();
    assert_eq!((returned.components_then, returned.components), (2, 1), "{returned:?}");
}

#[test]
fn attackers_do_not_eclipse() {
    let row = eclipse(&Setup::new(1_000, 20, 4).unwrap(), 5, &Watch::default()).unwrap();
    assert_eq!((row.honest, row.attackers), (950, 50));
    assert!(row.eclipsed <= 4 && row.places < 0.4, "{row:?}");
    assert!(row.largest >= 945, "{row:?}");
    assert!(row.places > 0.0, "they do attack: {row:?}");
}

#[test]
fn the_first_broadcast_makes_the_tree_and_the_next_ones_use_it() {
    let setup = setup(5);
    let overlay = grown(&setup);
    let watch = Watch::default();
    let costs = trees(&setup, &overlay, 5, &watch).unwrap();
    for means in [costs.first, costs.single, costs.many] {
        assert!((means.reliability - 1.0).abs() < 1e-9, "{means:?}");
    }
    let flood = steady(&setup, &overlay).flood_rmr;
    assert!((costs.first.rmr - flood).abs() < 0.3, "{costs:?} beside {flood}");
    assert!(costs.single.rmr < 0.02, "{costs:?}");
    assert!((costs.single.last_us - costs.single.last_hop * 10_000.0).abs() < 1.0, "all hops take 10 ms: {costs:?}");
    let (done, total) = watch.seen();
    assert_eq!((done, total), (11, 11));
}

#[test]
fn a_tree_heals_after_half_has_crashed() {
    let setup = setup(6);
    let overlay = grown(&setup);
    let each = [(Detection::ClosedConnections, 50), (Detection::FoundOnSend, 50)];
    for healed in healings(&setup, &overlay, &each, &Watch::default()).unwrap() {
        assert_eq!(healed.left, 150);
        assert!(healed.last > 0.99 && healed.first <= healed.last, "{healed:?}");
    }
}

#[test]
fn what_neighbours_make_up_is_bounded_and_forgotten() {
    let setup = setup(7);
    let overlay = grown(&setup);
    let held = |count| fabricated(&setup, &overlay, count, &Watch::default()).unwrap();
    let (less, more) = (held(20_000), held(200_000));
    assert_eq!((less.announced, more.announced), (20_000, 200_000));
    assert!(more.awaited <= 10_000 && more.awaited == less.awaited, "{less:?} {more:?}");
    assert_eq!((more.seen, more.awaited_after), (less.seen, 0), "{less:?} {more:?}");
    assert_eq!(more.reached, (NODES, NODES), "{more:?}");
}

#[test]
fn the_same_seed_is_the_same_run_and_uneven_links_are_fifo_ones() {
    let uneven = |seed| Setup { latency: Latency { base_us: 5_000, spread_us: 20_000 }, ..setup(seed) };
    let run = |seed| {
        let overlay = grown(&uneven(seed));
        (overlay.graph(), *overlay.sent(), overlay.bytes(), overlay.refused().0)
    };
    let (graph, sent, bytes, refused) = run(8);
    assert_eq!((graph.clone(), sent, bytes, refused), run(8));
    assert_ne!(graph, run(9).0);
    assert_eq!(graph.components(), [NODES as usize]);
}

#[test]
fn what_nobody_is_there_for_fails_and_what_is_cut_heals() {
    let setup = Setup::new(2, 1, 1).unwrap();
    let mut overlay = grown(&setup);
    assert_eq!((overlay.active(0), overlay.active(1)), (vec![1], vec![0]));
    overlay.cut(vec![0, 1]);
    overlay.run(overlay.now() + 1_000_000);
    assert_eq!((overlay.active(0), overlay.active(1)), (vec![], vec![]));
    overlay.heal();
    overlay.run(overlay.now() + 120_000_000);
    assert_eq!((overlay.active(0), overlay.active(1)), (vec![1], vec![0]));
    overlay.crash(&[1]);
    overlay.run(overlay.now() + 1_000_000);
    assert_eq!((overlay.active(0), overlay.honest()), (vec![], vec![0]));
    assert!(overlay.broadcast(1, b"x").is_err());
    assert!(Setup::new(1, 0, 0).is_err() && Setup::new(2, 10_001, 0).is_err());
}
