//! Passed, failed, or unsupported.

use crate::answer::Answer;
use crate::bounds;
use crate::case::{Case, CaseError, Data};
use crate::cases::stored;
use crate::host::Device;

/// What became of a check.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Right. The largest error as a share of its bound (0 where everything was equal).
    Passed(f64),
    /// The plugin lacks it: why, as far as it says.
    Unsupported(String),
    /// Wrong: how.
    Failed(String),
}

impl Verdict {
    /// The verdict on an error.
    pub fn of_error(error: &CaseError) -> Self {
        match error {
            CaseError::Plugin(e) if e.is_unsupported() => Self::Unsupported(e.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
    /// The worse of two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Failed(a), _) | (_, Self::Failed(a)) => Self::Failed(a),
            (Self::Unsupported(a), _) | (_, Self::Unsupported(a)) => Self::Unsupported(a),
            (Self::Passed(a), Self::Passed(b)) => Self::Passed(a.max(b)),
        }
    }
}

/// Runs a case on a plugin and on the reference.
pub fn judge(case: &Case, device: &Device, reference: &Device) -> Verdict {
    judged(case, device, reference).unwrap_or_else(|error| Verdict::of_error(&error))
}

fn judged(case: &Case, device: &Device, reference: &Device) -> Result<Verdict, CaseError> {
    let got = case.run(device)?;
    if case.backward.is_some() {
        let mut verdict = Verdict::Passed(0.0);
        for (i, gradient) in case.gradients()?.iter().enumerate() {
            if let Some(gradient) = gradient {
                let bound = bounds::gradient(case, i, gradient);
                verdict = verdict.and(compare(&format!("gradient {i}"), &got.real[i], &gradient.values, &bound));
            }
        }
        return Ok(verdict);
    }
    let want = case.expected(reference)?;
    let bounds = bounds::forward(case, &want.real);
    let mut verdict = Verdict::Passed(0.0);
    for (i, bound) in bounds.iter().enumerate().take(want.real.len()) {
        verdict = verdict.and(compare(&format!("output {i}"), &got.real[i], &want.real[i], bound));
        if got.int[i] != want.int[i] {
            let at = got.int[i].iter().zip(&want.int[i]).position(|(a, b)| a != b).unwrap_or(0);
            let (a, b) = (got.int[i].get(at), want.int[i].get(at));
            verdict = verdict.and(Verdict::Failed(format!("output {i} element {at}: {a:?}, expected {b:?}")));
        }
    }
    Ok(verdict.and(compare_states(case, &got, &want)))
}

/// Compares element by element.
pub fn compare(what: &str, got: &[f64], want: &[f64], bound: &[f64]) -> Verdict {
    if got.len() != want.len() || want.len() != bound.len() {
        return Verdict::Failed(format!(
            "{what}: {} elements, {} expected, {} bounds",
            got.len(),
            want.len(),
            bound.len()
        ));
    }
    let (mut worst, mut at) = (0.0, 0);
    for (i, ((got, want), bound)) in got.iter().zip(want).zip(bound).enumerate() {
        let error = (got - want).abs();
        let same = got == want || (got.is_nan() && want.is_nan());
        // A NaN error (one of the two is NaN) is no less than any bound.
        let share = if same {
            0.0
        } else if error.is_nan() || *bound == 0.0 {
            f64::INFINITY
        } else {
            error / bound
        };
        if share > worst {
            (worst, at) = (share, i);
        }
    }
    if worst <= 1.0 {
        return Verdict::Passed(worst);
    }
    let (got, want, bound) = (got[at], want[at], bound[at]);
    let error = (got - want).abs();
    Verdict::Failed(format!("{what} element {at}: {got:e}, expected {want:e}; off by {error:.3e}, bound {bound:.3e}"))
}

fn compare_states(case: &Case, got: &Answer, want: &Answer) -> Verdict {
    let mut verdict = Verdict::Passed(0.0);
    let state = case.inputs.iter().flatten().find_map(|x| match &x.data {
        Data::State(state) => Some(state),
        _ => None,
    });
    let Some(state) = state else { return verdict };
    for (unit, (got, want)) in got.state().iter().zip(want.state()).enumerate() {
        let ((got, got_scales), (want, want_scales)) = (stored(state, got), stored(state, want));
        let bound: Vec<f64> = want.iter().map(|&x| bounds::state(case, x, state.dtype)).collect();
        verdict = verdict.and(compare(&format!("state unit {unit}"), &got, &want, &bound));
        let bound: Vec<f64> = want_scales.iter().map(|&x| bounds::scale(case, x)).collect();
        verdict = verdict.and(compare(&format!("scales of state unit {unit}"), &got_scales, &want_scales, &bound));
    }
    verdict
}
