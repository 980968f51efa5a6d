//! Whole clusters in one process: real nodes, storage threads and clients over a network in memory.

mod cluster;
mod calls;
mod failures;
mod stopping;
mod stores;
