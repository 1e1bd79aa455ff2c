//! The limits of what a caller passes.

use crate::error::{Error, Result};
use crate::types::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Error::invalid(format!(
            "a key of {} bytes is longer than the limit of {KEY_BYTES_MAX}",
            key.len()
        )));
    }
    Ok(())
}

pub(crate) fn check_value(value: &[u8]) -> Result<()> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(Error::invalid(format!(
            "a value of {} bytes is longer than the limit of {VALUE_BYTES_MAX}",
            value.len()
        )));
    }
    Ok(())
}
