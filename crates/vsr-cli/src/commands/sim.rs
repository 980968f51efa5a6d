//! later
use crate::cli::SimCommand;
use crate::error::{Failure, Outcome};
pub(crate) fn run(_: SimCommand) -> Outcome {
    Err(Failure::not_supported("it"))
}
