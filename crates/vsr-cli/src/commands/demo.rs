//! later
use crate::cli::DemoArgs;
use crate::error::{Failure, Outcome};
pub(crate) async fn run(_: &DemoArgs) -> Outcome {
    Err(Failure::not_supported("it"))
}
