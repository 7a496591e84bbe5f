//! Quantiles of Student's t distribution.

/// The quantile at `p`, between 0.5 and 1, with `df` degrees of freedom: bisection on the distribution function. Infinite where
/// there are none.
pub fn quantile(p: f64, df: f64) -> f64 {
    if df < 1.0 {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (0.0, 1e4);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if cumulative(middle, df) < p { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// Probability of a value up to `t`, which is not negative.
fn cumulative(t: f64, df: f64) -> f64 {
    1.0 - 0.5 * beta(df / 2.0, 0.5, df / (df + t * t))
}

/// The regularised incomplete beta function, by Lentz's continued fraction (Abramowitz and Stegun 26.5.8).
fn beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    // The fraction converges on this side only.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(a, b, x) / a
    } else {
        1.0 - front * fraction(b, a, 1.0 - x) / b
    }
}

fn fraction(a: f64, b: f64, x: f64) -> f64 {
    /// Instead of 0 in a denominator.
    const TINY: f64 = 1e-300;
    let bounded = |v: f64| if v.abs() < TINY { TINY } else { v };
    let (mut c, mut d) = (1.0, 1.0 / bounded(1.0 - (a + b) * x / (a + 1.0)));
    let mut value = d;
    for m in 1..300 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for term in [even, odd] {
            d = 1.0 / bounded(1.0 + term * d);
            c = bounded(1.0 + term / c);
            value *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-14 {
            break;
        }
    }
    value
}

/// Logarithm of the gamma function: Stirling's series, after the recurrence has made the argument large.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 10.0 {
        shift += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = (1.0 / 12.0 - inverse * (1.0 / 360.0 - inverse * (1.0 / 1260.0 - inverse / 1680.0))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn as_in_tables() {
        // Two-sided 95% and 99%, from printed tables of the distribution.
        let cases = [
            (0.975, 1.0, 12.706),
            (0.975, 2.0, 4.303),
            (0.975, 5.0, 2.571),
            (0.975, 19.0, 2.093),
            (0.975, 120.0, 1.980),
            (0.995, 10.0, 3.169),
            (0.8, 30.0, 0.854),
        ];
        for (p, df, expected) in cases {
            assert!((quantile(p, df) - expected).abs() < 6e-4, "{p} {df}: {}", quantile(p, df));
        }
        assert_eq!(quantile(0.975, 0.0), f64::INFINITY);
    }
}
