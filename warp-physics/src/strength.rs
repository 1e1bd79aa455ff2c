//! How strongly two keys belong together: a number in `0.0..=1.0`.

/// Refuses a strength that is not in `0.0..=1.0`; NaN is not.
///
/// # Errors
/// [`BadStrength`] with the number that was given.
///
/// ```
/// use warp_physics::check_strength;
///
/// assert!(check_strength(0.8).is_ok());
/// assert!(check_strength(1.01).is_err());
/// assert!(check_strength(f64::NAN).is_err());
/// ```
pub fn check_strength(strength: f64) -> Result<(), BadStrength> {
    if (0.0..=1.0).contains(&strength) { Ok(()) } else { Err(BadStrength { strength }) }
}

/// A strength outside of `0.0..=1.0`.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("strength {strength} is not in 0.0..=1.0")]
pub struct BadStrength {
    /// The number that was given.
    pub strength: f64,
}

/// The strength, checked, with the one zero that there is: `-0.0` is in the range, but has other bytes.
pub(crate) fn checked(strength: f64) -> Result<f64, BadStrength> {
    check_strength(strength)?;
    Ok(strength.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_in_the_range_and_their_neighbours_are_not() {
        for good in [0.0, -0.0, f64::MIN_POSITIVE, 0.5, 1.0] {
            assert_eq!(check_strength(good), Ok(()), "{good}");
        }
        for bad in [-f64::MIN_POSITIVE, 1.0 + f64::EPSILON, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            assert!(check_strength(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn negative_zero_becomes_zero() {
        assert_eq!(checked(-0.0).map(f64::to_bits), Ok(0.0_f64.to_bits()));
    }
}
