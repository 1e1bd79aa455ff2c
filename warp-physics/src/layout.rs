//! In which order to lay out entries.

/// The order in which to lay out entries so that related ones lie side by side: a permutation of `0..count`.
///
/// Goes through the entries as they are given. One that has no place yet gets the next one, and those of its
/// partners that have none yet follow it at once, in the order in which `partners` names them. `partners` is
/// asked at most once for each entry; a number outside of `0..count` is passed over.
///
/// ```
/// // Entry 0 belongs with 3, and 1 with 0 and 2.
/// let partners = |entry| match entry {
///     0 => vec![3],
///     1 => vec![0, 2],
///     _ => vec![],
/// };
/// assert_eq!(warp_physics::layout(4, partners), [0, 3, 1, 2]);
/// ```
pub fn layout(count: usize, mut partners: impl FnMut(usize) -> Vec<usize>) -> Vec<usize> {
    let mut order = Vec::with_capacity(count);
    let mut placed = vec![false; count];
    let mut place = |entry: usize| {
        let free = placed.get(entry) == Some(&false);
        if free {
            placed[entry] = true;
            order.push(entry);
        }
        free
    };
    for entry in 0..count {
        if place(entry) {
            for partner in partners(entry) {
                place(partner);
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::layout;

    #[test]
    fn partners_follow_and_everyone_is_placed_once() {
        let groups = [vec![4, 2], vec![4, 3], vec![0], vec![], vec![1]];
        assert_eq!(layout(5, |entry| groups[entry].clone()), [0, 4, 2, 1, 3]);
    }

    #[test]
    fn without_partners_the_order_stays() {
        assert_eq!(layout(3, |_| vec![]), [0, 1, 2]);
        assert_eq!(layout(0, |_| vec![0]), [0; 0]);
    }

    #[test]
    fn numbers_out_of_range_are_passed_over() {
        assert_eq!(layout(2, |_| vec![7, usize::MAX, 2, 1]), [0, 1]);
    }

    #[test]
    fn an_entry_that_has_a_place_is_not_asked_for_partners() {
        let mut asked = Vec::new();
        layout(4, |entry| {
            asked.push(entry);
            vec![entry + 1]
        });
        assert_eq!(asked, [0, 2]);
    }
}
