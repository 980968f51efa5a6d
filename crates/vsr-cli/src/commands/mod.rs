//! One file a command.

pub(crate) mod bench;
pub(crate) mod cert;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod dump;
pub(crate) mod format;
pub(crate) mod inspect;
pub(crate) mod jsonl;
pub(crate) mod kv;
pub(crate) mod load;
pub(crate) mod shell;
pub(crate) mod sim;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod version;
