//! The best ternary scale.

/// The scale d for which the nearest of -d, 0, d to each element gives the smallest squared error,
/// weighted with `importance`.
///
/// The elements that become d or -d are those of largest magnitude, and d is their mean, so trying
/// every number of them finds the best.
pub(crate) fn fit_ternary<const N: usize>(x: &[f32; N], importance: Option<&[f32; N]>) -> f32 {
    let mut sorted: [(f32, f32); N] = core::array::from_fn(|i| (x[i].abs(), importance.map_or(1.0, |w| w[i])));
    sorted.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let (mut best, mut best_gain) = (0.0, 0.0);
    let (mut total, mut count) = (0.0f64, 0.0f64);
    for (magnitude, weight) in sorted {
        total += f64::from(weight) * f64::from(magnitude);
        count += f64::from(weight);
        // The residual is a constant minus the gain.
        let gain = total * total / count;
        if gain > best_gain {
            (best, best_gain) = (total / count, gain);
        }
    }
    best as f32
}
