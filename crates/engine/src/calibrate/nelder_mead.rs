//! Nelder and Mead's simplex search (*The Computer Journal* 7, 1965).
//!
//! Our own: fifty lines do not justify an optimisation library.

/// Looks for a minimum of `f` near `start` with at most about `budget` evaluations.
pub(super) fn nelder_mead<const N: usize>(
    start: [f64; N],
    step: f64,
    budget: usize,
    f: &mut impl FnMut(&[f64; N]) -> f64,
) -> ([f64; N], f64) {
    let mut simplex: Vec<([f64; N], f64)> = vec![(start, f(&start))];
    for at in 0..N {
        let mut point = start;
        point[at] += step;
        simplex.push((point, f(&point)));
    }
    let mut used = simplex.len();
    while used < budget {
        simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (worst, worst_value) = simplex[N];
        if (worst_value - simplex[0].1).abs() < 1e-9 {
            break;
        }
        let mut center = [0.0; N];
        for (point, _) in &simplex[..N] {
            for (sum, value) in center.iter_mut().zip(point) {
                *sum += value / N as f64;
            }
        }
        // A point on the line from the worst one through the center of the others.
        let mut along = |factor: f64| {
            let mut point = center;
            for (value, &bad) in point.iter_mut().zip(&worst) {
                *value += factor * (*value - bad);
            }
            used += 1;
            (point, f(&point))
        };
        let reflected = along(1.0);
        let better = if reflected.1 < simplex[0].1 {
            let expanded = along(2.0);
            Some(if expanded.1 < reflected.1 {
                expanded
            } else {
                reflected
            })
        } else if reflected.1 < simplex[N - 1].1 {
            Some(reflected)
        } else {
            let contracted = along(if reflected.1 < worst_value { 0.5 } else { -0.5 });
            (contracted.1 < worst_value.min(reflected.1)).then_some(contracted)
        };
        if let Some(better) = better {
            simplex[N] = better;
            continue;
        }
        let best = simplex[0].0;
        for (point, value) in &mut simplex[1..] {
            for (own, &target) in point.iter_mut().zip(&best) {
                *own = f64::midpoint(*own, target);
            }
            *value = f(point);
        }
        used += N;
    }
    simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
    simplex[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simplex_finds_the_bottom_of_a_valley() {
        // Rosenbrock's function, whose minimum is at (1, 1).
        let mut f = |p: &[f64; 2]| (1.0 - p[0]).powi(2) + 100.0 * (p[1] - p[0] * p[0]).powi(2);
        let (point, value) = nelder_mead([-1.2, 1.0], 0.5, 400, &mut f);
        assert!(
            value < 1e-6 && (point[0] - 1.0).abs() < 0.01,
            "{point:?} {value}"
        );
    }
}
