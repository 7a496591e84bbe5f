//! Where the time goes, op by op, and how far each is from the roofs: what memory gives, what arithmetic can do.

use super::Bench;
use crate::failure::Result;
use crate::terminal::Out;
use serde::Serialize;
use tern::OpTime;

/// Ops of one round, longest first.
#[derive(Debug, Serialize)]
pub struct Profile {
    pub prefill: Vec<OpShare>,
    pub decode: Vec<OpShare>,
    /// Measured, in billions of multiplications and additions a second.
    pub peak_f32_gop_s: Option<f64>,
    pub peak_i8_gop_s: Option<f64>,
}

/// What is not known is null: ops without weights read none, and how many rows of logits were computed is not told.
#[derive(Debug, Default, Serialize)]
pub struct OpShare {
    pub op: String,
    pub share: f64,
    pub ms: f64,
    /// Weights read per second, in gigabytes; while decoding.
    pub gb_s: Option<f64>,
    pub share_of_bandwidth: Option<f64>,
    /// Multiplications and additions with weights per second, in billions; in prefill.
    pub gop_s: Option<f64>,
    /// Of the peak with floats where all weights are floats, else of the one with bytes.
    pub share_of_peak: Option<f64>,
}

impl Profile {
    /// One more round, with a clock at every op.
    pub fn measure(bench: &Bench<'_>) -> Result<Self> {
        let (session, args) = (&bench.session, bench.args);
        session.set_profiling(true);
        session.reset()?;
        let start = session.profile();
        if args.prompt > 0 {
            bench.forward(0, args.prompt)?;
        }
        let after = session.profile();
        let peaks = bench.model.peaks()?;
        let prefill = shares(&start, &after, |op, seconds| {
            let gop_s = rate(2 * op.multiply_adds, args.prompt, seconds);
            let peak = if op.floats { peaks.f32_ops } else { peaks.i8_ops };
            let share_of_peak = gop_s.zip(peak).map(|(gop, peak)| gop * 1e9 / peak);
            OpShare { gop_s, share_of_peak, ..OpShare::new(op, seconds) }
        });
        bench.fill()?;
        let start = session.profile();
        (0..args.tokens).try_for_each(|i| bench.forward(args.depth + i, 1))?;
        let decode = shares(&start, &session.profile(), |op, seconds| OpShare {
            gb_s: rate(op.weight_bytes, args.tokens, seconds),
            ..OpShare::new(op, seconds)
        });
        session.set_profiling(false);
        let giga = |ops: Option<f64>| ops.map(|ops| ops / 1e9);
        Ok(Self { prefill, decode, peak_f32_gop_s: giga(peaks.f32_ops), peak_i8_gop_s: giga(peaks.i8_ops) })
    }

    /// Adds how much of `bandwidth`, in bytes per second, each op draws.
    pub fn compare(&mut self, bandwidth: f64) {
        for op in &mut self.decode {
            op.share_of_bandwidth = op.gb_s.map(|gb| gb * 1e9 / bandwidth);
        }
    }

    /// The form for people.
    pub fn print(&self, out: &mut Out) -> Result<()> {
        for (title, ops) in [("prefill", &self.prefill), ("decode", &self.decode)] {
            if !ops.is_empty() {
                out.line(&format!("\nwhere {title} goes"))?;
            }
            if let ("prefill", Some(f32), Some(i8)) = (title, self.peak_f32_gop_s, self.peak_i8_gop_s) {
                out.line(&format!("(at best {i8:.0} Gop/s with bytes, {f32:.0} with floats)"))?;
            }
            for op in ops {
                let share = op.share_of_bandwidth.or(op.share_of_peak);
                let share = share.map_or(String::new(), |s| format!("{:>5.1} %", s * 100.0));
                let rate = match (op.gb_s, op.gop_s) {
                    (Some(gb), _) => format!("{gb:>7.1} GB/s {share}"),
                    (_, Some(gop)) => format!("{gop:>7.0} Gop/s {share}"),
                    _ => String::new(),
                };
                out.line(format!("{:>6.1} %  {:>9.2} ms  {:<28} {rate}", op.share * 100.0, op.ms, op.op).trim_end())?;
            }
        }
        Ok(())
    }
}

impl OpShare {
    fn new(op: &OpTime, seconds: f64) -> Self {
        Self { op: op.op.clone(), ms: seconds * 1e3, ..Self::default() }
    }
}

/// Billions per second of `each` done `times` times.
fn rate(each: u64, times: usize, seconds: f64) -> Option<f64> {
    (each > 0 && seconds > 0.0).then(|| each as f64 * times as f64 / seconds / 1e9)
}

/// What was added between two readings.
fn shares(before: &[OpTime], after: &[OpTime], of: impl Fn(&OpTime, f64) -> OpShare) -> Vec<OpShare> {
    let earlier = |op: &OpTime| before.iter().find(|b| b.op == op.op).map_or(0, |b| b.nanoseconds);
    let took = |op: &OpTime| op.nanoseconds.saturating_sub(earlier(op));
    let mut shares: Vec<OpShare> =
        after.iter().filter(|op| took(op) > 0).map(|op| of(op, took(op) as f64 / 1e9)).collect();
    let total: f64 = shares.iter().map(|s| s.ms).sum();
    shares.iter_mut().for_each(|s| s.share = s.ms / total);
    shares.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_what_was_added() {
        let one = |op: &str, nanoseconds, bytes| OpTime {
            op: op.to_owned(),
            nanoseconds,
            weight_bytes: bytes,
            multiply_adds: 0,
            floats: true,
        };
        let reading = |a, b| vec![one("a", a, 0), one("b", b, 600)];
        let of =
            |op: &OpTime, seconds| OpShare { gb_s: rate(op.weight_bytes, 2, seconds), ..OpShare::new(op, seconds) };
        let got = shares(&reading(10, 0), &reading(110, 300), of);
        let got: Vec<_> = got.iter().map(|s| (s.op.as_str(), s.share, s.gb_s)).collect();
        assert_eq!(got, [("b", 0.75, Some(4.0)), ("a", 0.25, None)]);
        assert!(shares(&reading(5, 5), &reading(5, 5), of).is_empty());
    }
}
