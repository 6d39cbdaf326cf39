//! The overlay as a graph, and the measures of it that papers on membership print.

use std::collections::VecDeque;

use crate::sim::Rng;

/// Who has whom in its active view, among the nodes that count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// Where the links of a node begin; one more than nodes.
    starts: Vec<u32>,
    links: Vec<u32>,
}

/// What a message that everybody hands on to all neighbours but its sender comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flood {
    /// Nodes that get it, with the one that sends it first.
    pub reached: usize,
    /// How often it is sent.
    pub messages: u64,
    /// The most hops to a node.
    pub last_hop: u32,
    /// The sum of hops to all nodes.
    pub hops: u64,
}

impl Graph {
    /// From the neighbours of each node; links that leave the graph and those to oneself are to be left out before.
    pub fn new(neighbours: &[Vec<u32>]) -> Self {
        let mut starts = Vec::with_capacity(neighbours.len() + 1);
        let mut links = Vec::new();
        starts.push(0);
        for each in neighbours {
            links.extend_from_slice(each);
            starts.push(links.len() as u32);
        }
        Self { starts, links }
    }

    /// How many nodes.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whom `node` has in its view.
    pub fn of(&self, node: usize) -> &[u32] {
        &self.links[self.starts[node] as usize..self.starts[node + 1] as usize]
    }

    /// How many links there are.
    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// The share of links that both ends have, 1 if there are none.
    pub fn symmetric(&self) -> f64 {
        let both = (0..self.len())
            .flat_map(|node| self.of(node).iter().map(move |peer| (node as u32, *peer)))
            .filter(|(node, peer)| self.of(*peer as usize).contains(node))
            .count();
        if self.links.is_empty() { 1.0 } else { both as f64 / self.links.len() as f64 }
    }

    /// In how many views each node is.
    pub fn in_degrees(&self) -> Vec<u32> {
        let mut degrees = vec![0; self.len()];
        self.links.iter().for_each(|peer| degrees[*peer as usize] += 1);
        degrees
    }

    /// The mean over all nodes of the share of pairs of neighbours that are neighbours themselves; a node with fewer than
    /// two counts as 0.
    pub fn clustering(&self) -> f64 {
        let linked =
            |one: u32, other: u32| self.of(one as usize).contains(&other) || self.of(other as usize).contains(&one);
        let of = |node: usize| {
            let around = self.of(node);
            let pairs = around.len() * around.len().saturating_sub(1) / 2;
            let closed = around
                .iter()
                .enumerate()
                .map(|(at, one)| around[at + 1..].iter().filter(|other| linked(*one, **other)).count())
                .sum::<usize>();
            if pairs == 0 { 0.0 } else { closed as f64 / pairs as f64 }
        };
        (0..self.len()).map(of).sum::<f64>() / self.len().max(1) as f64
    }

    /// A message of `source`, each hop as long as any other: breadth first.
    pub fn flood(&self, source: usize) -> Flood {
        let mut parent = vec![u32::MAX; self.len()];
        let mut depth = vec![0u32; self.len()];
        let mut queue = VecDeque::from([source as u32]);
        parent[source] = source as u32;
        let mut flood = Flood { reached: 0, messages: 0, last_hop: 0, hops: 0 };
        while let Some(node) = queue.pop_front() {
            let (from, hop) = (parent[node as usize], depth[node as usize]);
            flood.reached += 1;
            flood.hops += u64::from(hop);
            flood.last_hop = flood.last_hop.max(hop);
            for peer in self.of(node as usize).iter().filter(|peer| **peer != from) {
                flood.messages += 1;
                if parent[*peer as usize] == u32::MAX {
                    parent[*peer as usize] = node;
                    depth[*peer as usize] = hop + 1;
                    queue.push_back(*peer);
                }
            }
        }
        flood
    }

    /// Floods of `count` nodes drawn by chance; each node once if there are no more.
    pub fn floods(&self, count: usize, rng: &mut Rng) -> Vec<Flood> {
        let mut nodes: Vec<usize> = (0..self.len()).collect();
        rng.shuffle(&mut nodes);
        nodes.into_iter().take(count).map(|node| self.flood(node)).collect()
    }

    /// The sizes of the parts that no link joins, the largest first.
    pub fn components(&self) -> Vec<usize> {
        let mut root: Vec<u32> = (0..self.len() as u32).collect();
        fn find(root: &mut [u32], mut node: u32) -> u32 {
            while root[node as usize] != node {
                root[node as usize] = root[root[node as usize] as usize];
                node = root[node as usize];
            }
            node
        }
        for node in 0..self.len() {
            for peer in self.of(node) {
                let (one, other) = (find(&mut root, node as u32), find(&mut root, *peer));
                root[one.max(other) as usize] = one.min(other);
            }
        }
        let mut sizes = vec![0usize; self.len()];
        for node in 0..self.len() {
            sizes[find(&mut root, node as u32) as usize] += 1;
        }
        sizes.retain(|size| *size > 0);
        sizes.sort_unstable_by(|one, other| other.cmp(one));
        sizes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring of five, a triangle, and one alone.
    fn sample() -> Graph {
        let mut neighbours: Vec<Vec<u32>> = (0..5).map(|at| vec![(at + 1) % 5, (at + 4) % 5]).collect();
        neighbours.extend([vec![6, 7], vec![5, 7], vec![5, 6], vec![]]);
        Graph::new(&neighbours)
    }

    #[test]
    fn measures_of_a_ring_a_triangle_and_one_alone() {
        let graph = sample();
        assert_eq!((graph.len(), graph.links(), graph.is_empty()), (9, 16, false));
        assert_eq!(graph.components(), [5, 3, 1]);
        assert!((graph.clustering() - 3.0 / 9.0).abs() < 1e-12);
        assert!((graph.symmetric() - 1.0).abs() < 1e-12);
        assert_eq!(graph.in_degrees(), [2, 2, 2, 2, 2, 2, 2, 2, 0]);
        assert_eq!(graph.flood(0), Flood { reached: 5, messages: 6, last_hop: 2, hops: 1 + 1 + 2 + 2 });
        assert_eq!(graph.flood(6), Flood { reached: 3, messages: 4, last_hop: 1, hops: 2 });
        assert_eq!(graph.flood(8), Flood { reached: 1, messages: 0, last_hop: 0, hops: 0 });
        assert_eq!(graph.floods(100, &mut Rng::new(1, "test", 0)).len(), 9);
    }

    #[test]
    fn links_of_one_end_only_are_counted_as_such() {
        let graph = Graph::new(&[vec![1], vec![0, 2], vec![]]);
        assert!((graph.symmetric() - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!((graph.flood(2).reached, graph.flood(0).reached), (1, 3));
        assert_eq!(graph.components(), [3], "whichever way a link goes");
        assert_eq!(graph.clustering(), 0.0);
    }
}
