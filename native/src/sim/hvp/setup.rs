//! What experiments begin with: an overlay that has grown node by node and has shuffled for some cycles.

use std::sync::Arc;

use super::attack::Attacker;
use super::overlay::{Detection, Latency, NODES, Overlay};
use super::watch::Watch;
use crate::algorithms::hvp::Config;
use crate::error::{Error, Result};
use crate::sim::Rng;

/// The most cycles of an experiment.
pub const CYCLES_MAX: u32 = 10_000;

/// The time between two joins, µs.
const JOIN_GAP_US: u64 = 20_000;

/// How many cycles pass before attackers come.
const BEFORE_ATTACK: u32 = 10;

/// How many steps a watcher sees a growth take.
const GROWTH_STEPS: u64 = 10;

/// Refuses what is more than `most`.
pub(super) fn check(what: &str, value: u32, most: u32) -> Result<()> {
    if value > most {
        return Err(Error::input(format!("overlay: {value} {what}, at most {most} are allowed")));
    }
    Ok(())
}

/// What an experiment is made from. The same numbers give the same run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// How many nodes.
    pub nodes: u32,
    /// How many periods of SHUFFLE pass before anything is measured.
    pub cycles: u32,
    /// All chance.
    pub seed: u64,
    /// The network.
    pub latency: Latency,
}

impl Setup {
    /// As papers have it: all hops take the same time.
    ///
    /// # Errors
    /// [`Error::Input`] for numbers outside of [`NODES`], or more than [`CYCLES_MAX`] cycles.
    pub fn new(nodes: u32, cycles: u32, seed: u64) -> Result<Self> {
        if !NODES.contains(&nodes) {
            let (least, most) = (NODES.start(), NODES.end());
            return Err(Error::input(format!("overlay: {nodes} nodes, {least} to {most} are allowed")));
        }
        check("cycles", cycles, CYCLES_MAX)?;
        Ok(Self { nodes, cycles, seed, latency: Latency::default() })
    }

    /// The length of a cycle, µs.
    pub fn cycle_us(&self) -> u64 {
        Config::default().shuffle_us
    }

    /// An overlay of honest nodes, each of which joins over one node that came before it.
    ///
    /// # Errors
    /// As the machines', or if the watcher stops it.
    pub fn overlay(&self, detection: Detection, watch: &Watch) -> Result<Overlay> {
        watch.plan(GROWTH_STEPS + u64::from(self.cycles));
        let mut overlay = self.grown(detection, &[], watch)?;
        self.pass(&mut overlay, self.cycles, watch)?;
        Ok(overlay)
    }

    /// The same with attackers in some places: they come when the honest nodes have shuffled for some cycles, and attack for
    /// all of the setup's.
    ///
    /// # Errors
    /// As [`Setup::overlay`].
    pub(super) fn attacked(&self, attackers: &[u32], watch: &Watch) -> Result<Overlay> {
        watch.plan(GROWTH_STEPS + u64::from(BEFORE_ATTACK + self.cycles));
        let mut overlay = self.grown(Detection::ClosedConnections, attackers, watch)?;
        self.pass(&mut overlay, BEFORE_ATTACK, watch)?;
        let crowd: Arc<[u32]> = attackers.into();
        for place in attackers {
            overlay.enter_attacker(*place, Attacker::new(self.seed, *place, Arc::clone(&crowd)));
        }
        self.pass(&mut overlay, self.cycles, watch)?;
        Ok(overlay)
    }

    /// All nodes that are not `absent` join one after another.
    fn grown(&self, detection: Detection, absent: &[u32], watch: &Watch) -> Result<Overlay> {
        let mut overlay = Overlay::new(self.nodes, self.seed, Config::default(), self.latency, detection)?;
        let mut rng = Rng::new(self.seed, "hvp: growth", 0);
        let nodes: Vec<u32> = (0..self.nodes).filter(|node| !absent.contains(node)).collect();
        let step = (nodes.len() as u64 / GROWTH_STEPS).max(1);
        for (at, node) in nodes.iter().enumerate() {
            let contact = nodes.get(rng.below(at as u64) as usize).filter(|contact| *contact < node);
            overlay.enter(*node, contact.copied().as_slice())?;
            overlay.run(overlay.now() + JOIN_GAP_US);
            if at as u64 % step == step - 1 {
                watch.step()?;
            }
        }
        Ok(overlay)
    }

    /// Lets cycles pass.
    ///
    /// # Errors
    /// If the watcher stops it.
    pub(super) fn pass(&self, overlay: &mut Overlay, cycles: u32, watch: &Watch) -> Result<()> {
        for _ in 0..cycles {
            overlay.run(overlay.now() + self.cycle_us());
            watch.step()?;
        }
        Ok(())
    }

    /// A share of the nodes, drawn by chance, `spared` not among them; `number` tells draws apart.
    pub(super) fn draw(&self, percent: u32, number: u32, purpose: &str, spared: &[u32]) -> Vec<u32> {
        let mut nodes: Vec<u32> = (0..self.nodes).filter(|node| !spared.contains(node)).collect();
        Rng::new(self.seed, purpose, u64::from(number) << 32 | u64::from(percent)).shuffle(&mut nodes);
        nodes.truncate((u64::from(self.nodes) * u64::from(percent) / 100) as usize);
        nodes
    }
}
