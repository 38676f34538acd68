//! todo
use super::Architecture;
use crate::error::{Error, Result};
/// x
/// # Errors
/// x
pub fn from_config_json(_name: &str, _text: &str) -> Result<Architecture> { Err(Error::bad_input("x")) }
