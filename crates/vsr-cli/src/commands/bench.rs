//! later
use crate::cli::BenchArgs;
use crate::error::{Failure, Outcome};
pub(crate) async fn run(_: BenchArgs) -> Outcome {
    Err(Failure::not_supported("it"))
}
