//! Deterministic simulation of a Viewstamped Replication group.
//!
//! One [`World`](world::World) holds replicas, clients, links, disks and clocks. Three schedulers
//! drive it by the same choices: a [story] takes them from a file, the
//! [random simulator](simulate) from a seed; the [explorer](explore) takes all, on states that are cheap
//! to compare. Every safety invariant is checked after every step, and
//! a failing seed comes out as a short story.

pub mod explore;
pub mod invariants;
pub mod linearizability;
pub mod marks;
mod narrator;
pub mod prng;
pub mod service;
pub mod shrink;
pub mod simulate;
pub mod story;
pub mod trace;
pub mod world;
