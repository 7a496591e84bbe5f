//! What must not change a result, bit for bit, on one plugin and tier.
//!
//! Mandatory for CPU plugins; a plugin that does not claim [`DETERMINISTIC`] is asked nothing here.
//!
//! [`DETERMINISTIC`]: tern_abi::table::device_flags::DETERMINISTIC

mod fusion;
mod pick;
mod states;
mod weights;

pub use fusion::decomposed;
pub use states::round_trip;
pub use weights::{read_rows, update_rows};

use crate::answer::Answer;
use crate::case::{Case, CaseError, Data, Result};
use crate::host::Device;
use crate::judge::Verdict;
use pick::Pick;
use tern_abi::graph::dim;
use tern_reference::Kernel;

/// Thread counts that must agree.
pub const THREADS: [u32; 4] = [1, 2, 3, 8];
/// Sizes of chunks that must agree with the whole.
const CHUNKS: [usize; 2] = [1, 7];

/// The same on every device (which differ in their threads).
pub fn threads(case: &Case, devices: &[Device]) -> Verdict {
    let mut answers = Vec::new();
    for device in devices {
        match case.run(device) {
            Ok(answer) => answers.push(answer),
            Err(error) => return Verdict::of_error(&error),
        }
    }
    let differs = answers.iter().position(|a| !same_bits(a, &answers[0]));
    match differs {
        Some(i) => Verdict::Failed(format!("{} threads differ from {}", THREADS[i], THREADS[0])),
        None => Verdict::Passed(0.0),
    }
}

/// The same with experts that stay where they are, whether there is room for one of them or for all. `None` for other ops.
pub fn paged(case: &Case, device: &Device) -> Option<Verdict> {
    let prepared = case.inputs.iter().flatten().any(|x| matches!(x.data, Data::Weight(..)));
    if !matches!(case.kernel, Kernel::ExpertLinear(_)) || !prepared {
        return None;
    }
    let check = || -> Result<Verdict> {
        let resident = case.run(device)?;
        for cache_bytes in [0, u64::MAX] {
            if !same_bits(&case.run_paged(device, cache_bytes)?, &resident) {
                return Ok(Verdict::Failed(format!("paged experts differ, with {cache_bytes} bytes of cache")));
            }
        }
        Ok(Verdict::Passed(0.0))
    };
    Some(check().unwrap_or_else(|error| Verdict::of_error(&error)))
}

fn same_bits(a: &Answer, b: &Answer) -> bool {
    a.bits == b.bits
}

/// The same in chunks of rows, and for sequences alone, as all at once. `None` where an op has no such thing.
pub fn splits(case: &Case, device: &Device) -> Option<Verdict> {
    if case.backward.is_some() {
        return None;
    }
    let stateful = case.inputs.iter().flatten().any(|x| matches!(x.data, Data::State(_)));
    let plans = match &case.kernel {
        // They mix rows, or have none.
        Kernel::Sum(_) | Kernel::Rows(_) => return None,
        Kernel::Attention(_) | Kernel::FastWeight(_) | Kernel::ShortConv(_) => sequence_plans(case, stateful),
        _ => row_plans(case),
    };
    let check = |plan: Plan| split(case, device, &plan).unwrap_or_else(|error| Verdict::of_error(&error));
    Some(plans.into_iter().map(check).fold(Verdict::Passed(0.0), Verdict::and))
}

/// Steps that together do what the case does at once.
struct Plan {
    name: String,
    steps: Vec<Vec<Pick>>,
}

/// Chunks of rows, for ops whose rows know nothing of each other.
fn row_plans(case: &Case) -> Vec<Plan> {
    let rows = (case.dims[dim::TOKENS as usize].max(case.dims[dim::OUTPUTS as usize])) as usize;
    let chunked = |n: usize| {
        let steps = (0..rows).step_by(n).map(|at| vec![Pick { sequence: 0, rows: at..(at + n).min(rows) }]);
        Plan { name: format!("chunks of {n} rows"), steps: steps.collect() }
    };
    CHUNKS.into_iter().filter(|&n| n < rows).map(chunked).collect()
}

/// Each sequence alone; with a state also in chunks, alone and round robin.
fn sequence_plans(case: &Case, stateful: bool) -> Vec<Plan> {
    let sequences = pick::sequences(case);
    let whole = |(sequence, rows): (usize, &std::ops::Range<usize>)| vec![Pick { sequence, rows: rows.clone() }];
    let mut plans = Vec::new();
    if sequences.len() > 1 {
        let steps = sequences.iter().enumerate().map(whole).collect();
        plans.push(Plan { name: "each sequence alone".into(), steps });
    }
    if !stateful {
        return plans;
    }
    for n in CHUNKS {
        let longest = sequences.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        if n >= longest {
            continue;
        }
        // One chunk of every sequence that still has rows, then the next.
        let round = |at: usize| -> Vec<Pick> {
            let part = |(sequence, rows): (usize, &std::ops::Range<usize>)| {
                let start = rows.start + at;
                (start < rows.end).then(|| Pick { sequence, rows: start..(start + n).min(rows.end) })
            };
            sequences.iter().enumerate().filter_map(part).collect()
        };
        let steps = (0..longest).step_by(n).map(round).collect();
        plans.push(Plan { name: format!("chunks of {n} per sequence"), steps });
    }
    plans
}

fn split(case: &Case, device: &Device, plan: &Plan) -> Result<Verdict> {
    let whole = case.run(device)?;
    let mut state: Option<Vec<Vec<u8>>> = None;
    for picks in &plan.steps {
        let part = pick::pick(case, picks, state.as_deref());
        let answer = part.run(device)?;
        let rows: Vec<usize> = picks.iter().flat_map(|p| p.rows.clone()).collect();
        for (i, t) in part.lower(false)?.1.iter().enumerate() {
            let (Some(t), Some(whole_t)) = (*t, case.lower(false)?.1[i]) else { continue };
            let (part, all) = (&answer.bits.outputs[t], &whole.bits.outputs[whole_t]);
            let width = if rows.is_empty() { 0 } else { part.len() / rows.len() };
            let differs = rows
                .iter()
                .enumerate()
                .position(|(n, &row)| part.get(n * width..(n + 1) * width) != all.get(row * width..(row + 1) * width));
            if let Some(n) = differs {
                let what = format!("{}: row {} of output {i} differs from all at once", plan.name, rows[n]);
                return Ok(Verdict::Failed(what));
            }
        }
        if !answer.state().is_empty() {
            state = Some(answer.state().to_vec());
        }
    }
    match state {
        Some(state) if state != whole.state() => {
            let unit = state.iter().zip(whole.state()).position(|(a, b)| a != b).unwrap_or(0);
            Ok(Verdict::Failed(format!("{}: unit {unit} of the state differs from all at once", plan.name)))
        }
        _ => Ok(Verdict::Passed(0.0)),
    }
}

/// A step whose caller has given up is refused as cancelled.
pub fn cancelled(case: &Case, device: &Device) -> Verdict {
    let run = || -> Result<()> {
        let (program, _) = case.lower(false)?;
        program.run_cancelled(device).map_err(CaseError::Plugin)?;
        Ok(())
    };
    match run() {
        Err(CaseError::Plugin(e)) if e.is_cancelled() => Verdict::Passed(0.0),
        Err(error) => Verdict::of_error(&error),
        Ok(()) => Verdict::Failed("a step ran to its end although its cancel flag was set before".into()),
    }
}
