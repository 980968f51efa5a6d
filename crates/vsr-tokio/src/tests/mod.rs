//! The storage thread by itself, then whole clusters in one process: real nodes, storage threads and
//! clients over a network in memory.

mod storage_thread;
mod cluster;
mod calls;
mod reads;
mod predictions;
mod failures;
mod stopping;
mod stores;
