//! From an information matrix to the smallest possible standard deviations of its parameters.

/// A parameter counts as determined by earlier ones if its remaining fraction is below this; for moments summed in f32.
pub(crate) const DEPENDENT_SINGLE: f64 = 2e-6;

/// The same for moments summed in f64, where only the derivatives are rounded: each by about 1e-6, of which this is the
/// square, times a hundred.
pub(crate) const DEPENDENT_DOUBLE: f64 = 1e-10;

/// The minimum share of a parameter in a combination without information for it to be affected.
const SPOILED: f64 = 1e-3;

/// Square roots of the diagonal of the inverse of `matrix`, `n` x `n`; its lower triangle is read and overwritten.
///
/// Parameters without information (zero on the diagonal), and those that are only known in combination with others, get
/// infinity; the others follow from the rest of the matrix.
pub(crate) fn standard_deviations(matrix: &mut [f64], n: usize, dependent: f64) -> Vec<f64> {
    let scale: Vec<f64> =
        (0..n).map(|i| matrix[i * n + i]).map(|d| if d > 0.0 { d.sqrt().recip() } else { 0.0 }).collect();
    let mut free: Vec<bool> = scale.iter().map(|&s| s > 0.0 && s.is_finite()).collect();
    let mut known = free.clone();
    for i in 0..n {
        for j in 0..=i {
            matrix[i * n + j] *= scale[i] * scale[j];
        }
    }
    // Cholesky factor, row by row, of the parameters that are not held fixed
    for j in 0..n {
        if !free[j] {
            continue;
        }
        for k in (0..j).filter(|&k| free[k]) {
            let (above, row) = matrix.split_at_mut(j * n);
            let (pivot, row) = (&above[k * n..=k * n + k], &mut row[..=j]);
            let before: f64 =
                pivot[..k].iter().zip(&row[..k]).zip(&free).map(|((a, b), &f)| if f { a * b } else { 0.0 }).sum();
            row[k] = (row[k] - before) / pivot[k];
        }
        let row = &mut matrix[j * n..=j * n + j];
        let left = 1.0 - row[..j].iter().zip(&free).map(|(l, &f)| if f { l * l } else { 0.0 }).sum::<f64>();
        if left > dependent {
            row[j] = left.sqrt();
            continue;
        }
        // the combination without information: this parameter and those that determine it
        free[j] = false;
        known[j] = false;
        let mut combination: Vec<f64> = matrix[j * n..j * n + j].to_vec();
        for k in (0..j).rev().filter(|&k| free[k]) {
            combination[k] /= matrix[k * n + k];
            let part = combination[k];
            for i in (0..k).filter(|&i| free[i]) {
                combination[i] -= matrix[k * n + i] * part;
            }
            if part.abs() > SPOILED {
                known[k] = false;
            }
        }
    }
    // columns of the inverse of the factor
    let mut column = vec![0.0; n];
    (0..n)
        .map(|i| {
            if !known[i] {
                return f64::INFINITY;
            }
            let mut sum = 0.0;
            for k in (i..n).filter(|&k| free[k]) {
                let row = &matrix[k * n..=k * n + k];
                let before: f64 = (i..k).filter(|&j| free[j]).map(|j| row[j] * column[j]).sum();
                column[k] = (f64::from(u8::from(k == i)) - before) / row[k];
                sum += column[k] * column[k];
            }
            sum.sqrt() * scale[i]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The inverse by Gauss-Jordan elimination.
    fn inverse(matrix: &[f64], n: usize) -> Vec<f64> {
        let mut rows: Vec<Vec<f64>> = (0..n)
            .map(|i| {
                let unit = (0..n).map(|j| f64::from(u8::from(i == j)));
                matrix[i * n..][..n].iter().copied().chain(unit).collect()
            })
            .collect();
        for i in 0..n {
            let best = (i..n).max_by(|&a, &b| rows[a][i].abs().total_cmp(&rows[b][i].abs())).unwrap();
            rows.swap(i, best);
            let pivot = rows[i][i];
            rows[i].iter_mut().for_each(|v| *v /= pivot);
            let row = rows[i].clone();
            for (k, other) in rows.iter_mut().enumerate().filter(|(k, _)| *k != i) {
                let _ = k;
                let factor = other[i];
                other.iter_mut().zip(&row).for_each(|(v, r)| *v -= factor * r);
            }
        }
        rows.into_iter().flat_map(|row| row[n..].to_vec()).collect()
    }

    fn product(factor: &[f64], n: usize) -> Vec<f64> {
        let columns = factor.len() / n;
        let row = |i: usize| &factor[i * columns..][..columns];
        (0..n * n).map(|at| row(at / n).iter().zip(row(at % n)).map(|(a, b)| a * b).sum()).collect()
    }

    proptest! {
        #[test]
        fn they_are_roots_of_the_inverse(
            n in 1usize..7, values in prop::collection::vec(-1.0..1.0f64, 84), units in prop::collection::vec(-3.0..3.0f64, 7),
        ) {
            let factor: Vec<f64> = (0..n * 12).map(|at| values[at] * 10f64.powf(units[at / 12])).collect();
            let matrix = product(&factor, n);
            let exact = inverse(&matrix, n);
            for (i, found) in standard_deviations(&mut matrix.clone(), n, DEPENDENT_SINGLE).into_iter().enumerate() {
                let expected = exact[i * n + i].sqrt();
                prop_assert!((found / expected - 1.0).abs() < 1e-6, "{found} {expected}");
            }
        }

        /// One parameter has no information, two others only on their sum: the rest is as without them.
        #[test]
        fn what_is_not_known_spoils_nothing_else(values in prop::collection::vec(-1.0..1.0f64, 60), place in 0usize..5) {
            let plain = product(&values[..36], 3);
            let known = standard_deviations(&mut plain.clone(), 3, DEPENDENT_SINGLE);
            let mut rows: Vec<Vec<f64>> = values.chunks(12).map(<[f64]>::to_vec).take(3).collect();
            let twice = values[36..48].to_vec();
            // the rest may also depend on the sum
            let three = [&values[..36], &twice].concat();
            let with_sum = standard_deviations(&mut product(&three, 4), 4, DEPENDENT_SINGLE);
            rows.push(twice.clone());
            rows.push(twice);
            rows.insert(place, vec![0.0; 12]);
            let found = standard_deviations(&mut product(&rows.concat(), 6), 6, DEPENDENT_SINGLE);
            prop_assert!(found[place].is_infinite());
            let rest: Vec<f64> = found.iter().enumerate().filter(|(i, _)| *i != place).map(|(_, v)| *v).collect();
            prop_assert!(rest[3].is_infinite() && rest[4].is_infinite(), "{rest:?}");
            for i in 0..3 {
                prop_assert!(rest[i] >= known[i] * (1.0 - 1e-9));
                prop_assert!((rest[i] / with_sum[i] - 1.0).abs() < 1e-6, "{} {}", rest[i], with_sum[i]);
            }
        }
    }
}
