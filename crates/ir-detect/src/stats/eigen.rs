//! Eigenvectors of small symmetric matrices.

/// Sweeps after which a matrix is taken to be diagonal; seven or eight are usual.
const SWEEPS: usize = 30;

/// Eigenvalues and eigenvectors of a symmetric matrix of `n` times `n`, given by rows, largest value first. Rows that are too
/// short count as filled with 0; what is not finite counts as 0. O(n³) a sweep; meant for n up to about 100.
///
/// C. G. J. Jacobi (1846), cyclic by rows, as in G. Golub, C. Van Loan, "Matrix Computations", section 8.5.
///
/// # Examples
///
/// ```
/// # use ir_detect::stats::eigen;
/// let found = eigen(&[vec![2.0, 1.0], vec![1.0, 2.0]]);
/// assert!((found[0].0 - 3.0).abs() < 1e-12 && (found[1].0 - 1.0).abs() < 1e-12);
/// assert!((found[0].1[0] - found[0].1[1]).abs() < 1e-12); // along the diagonal
/// ```
#[must_use]
pub fn eigen(matrix: &[Vec<f64>]) -> Vec<(f64, Vec<f64>)> {
    let n = matrix.len();
    let cell =
        |row: usize, column: usize| matrix[row].get(column).copied().filter(|cell| cell.is_finite()).unwrap_or(0.0);
    let mut a: Vec<Vec<f64>> = (0..n).map(|row| (0..n).map(|column| cell(row, column)).collect()).collect();
    // Row k of `vectors` is the k-th eigenvector in the end.
    let mut vectors: Vec<Vec<f64>> =
        (0..n).map(|row| (0..n).map(|column| if row == column { 1.0 } else { 0.0 }).collect()).collect();
    let size: f64 = a.iter().flatten().map(|cell| cell * cell).sum();
    for _ in 0..SWEEPS {
        let rest: f64 =
            (0..n).flat_map(|row| (0..row).map(move |column| (row, column))).map(|(r, c)| a[r][c] * a[r][c]).sum();
        if rest <= 1e-24 * size {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q] != 0.0 {
                    let (cosine, sine) = rotation(a[p][p], a[q][q], a[p][q]);
                    for row in &mut a {
                        (row[p], row[q]) = (cosine * row[p] - sine * row[q], sine * row[p] + cosine * row[q]);
                    }
                    turn(&mut a, p, q, cosine, sine);
                    turn(&mut vectors, p, q, cosine, sine);
                }
            }
        }
    }
    let mut found: Vec<(f64, Vec<f64>)> =
        vectors.into_iter().enumerate().map(|(at, vector)| (a[at][at], vector)).collect();
    found.sort_by(|x, y| y.0.total_cmp(&x.0));
    found
}

/// Cosine and sine of the angle that makes the cell between `p` and `q` 0.
fn rotation(pp: f64, qq: f64, pq: f64) -> (f64, f64) {
    let theta = (qq - pp) / (2.0 * pq);
    let tangent = if theta >= 0.0 { 1.0 } else { -1.0 } / (theta.abs() + (theta * theta + 1.0).sqrt());
    let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
    (cosine, tangent * cosine)
}

/// Rotates rows `p` and `q`, `p` before `q`.
fn turn(rows: &mut [Vec<f64>], p: usize, q: usize, cosine: f64, sine: f64) {
    let (head, tail) = rows.split_at_mut(q);
    for (x, y) in head[p].iter_mut().zip(&mut tail[0]) {
        (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_matrix_is_put_together_again(n in 1..8_usize, cells in proptest::collection::vec(-10.0..10.0f64, 64)) {
            let matrix: Vec<Vec<f64>> =
                (0..n).map(|row| (0..n).map(|column| cells[row.min(column) * 8 + row.max(column)]).collect()).collect();
            let found = eigen(&matrix);
            prop_assert!(found.windows(2).all(|pair| pair[0].0 >= pair[1].0));
            for row in 0..n {
                for column in 0..n {
                    let sum: f64 = found.iter().map(|(value, vector)| value * vector[row] * vector[column]).sum();
                    prop_assert!((sum - matrix[row][column]).abs() < 1e-9, "{} {}", sum, matrix[row][column]);
                    let dot: f64 = (0..n).map(|at| found[row].1[at] * found[column].1[at]).sum();
                    let unit = f64::from(u8::from(row == column));
                    prop_assert!((dot - unit).abs() < 1e-9, "{} {}", dot, unit);
                }
            }
        }
    }

    #[test]
    fn nonsense_is_survived() {
        assert!(eigen(&[]).is_empty());
        let found = eigen(&[vec![f64::NAN, f64::INFINITY], vec![]]);
        assert!(found.iter().all(|(value, vector)| value.is_finite() && vector.iter().all(|cell| cell.is_finite())));
    }
}
