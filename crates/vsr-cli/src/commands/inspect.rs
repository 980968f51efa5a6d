//! later
use crate::cli::InspectArgs;
use crate::error::{Failure, Outcome};
pub(crate) fn run(_: &InspectArgs) -> Outcome {
    Err(Failure::not_supported("it"))
}
