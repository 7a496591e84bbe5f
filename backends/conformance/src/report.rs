//! All checks of a plugin, and what came of them.

use crate::case::Case;
use crate::cases;
use crate::finite;
use crate::host::{Device, HostError};
use crate::invariance;
use crate::judge::{Verdict, judge};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use tern_abi::Entry;
use tern_abi::table::device_flags;

/// What to check.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Forced tier; empty lets the plugin choose.
    pub tier: String,
    /// Only cases whose title contains this.
    pub filter: String,
    /// Also check the reference's gradients against differences.
    pub finite: bool,
}

/// One check.
#[derive(Clone, Debug)]
pub struct Line {
    /// Kind of check: "forward", "threads" and so on.
    pub section: &'static str,
    /// The op; empty where a check is not about one.
    pub op: String,
    /// The case.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
}

/// All checks.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The tier that was forced, or else chosen.
    pub tier: String,
    /// In the order in which they ran.
    pub lines: Vec<Line>,
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    unsupported: usize,
    worst: f64,
}

impl Report {
    /// Runs everything on a plugin.
    pub fn run(entry: Entry, options: &Options) -> Result<Self, HostError> {
        let reference = Device::open(tern_reference::entry, 1, "")?;
        let devices: Vec<Device> =
            invariance::THREADS.iter().map(|&n| Device::open(entry, n, &options.tier)).collect::<Result<_, _>>()?;
        let device = &devices[1];
        // What the device says is what it would choose by itself.
        let tier = if options.tier.is_empty() { device.tier.clone() } else { options.tier.clone() };
        let mut report = Report { tier, lines: Vec::new() };
        let chosen = |case: &Case| case.title().contains(&options.filter);
        let forward: Vec<Case> = cases::forward().into_iter().filter(chosen).collect();
        let gradients: Vec<Case> = cases::gradients().into_iter().filter(chosen).collect();

        for (section, cases) in [("forward", &forward), ("gradient", &gradients)] {
            for case in cases {
                report.add(section, case, judge(case, device, &reference));
            }
        }
        if device.flags & device_flags::DETERMINISTIC != 0 {
            report.invariance(&forward, &gradients, device, &devices);
        }
        if let Some(case) = forward.first() {
            report.add("cancel", case, invariance::cancelled(case, device));
        }
        if options.filter.is_empty() {
            let (name, verdict) = invariance::update_rows(device);
            report.lines.push(Line { section: "weights", op: String::new(), name, verdict });
            for (section, checks) in
                [("states", invariance::round_trip(device)), ("weights", invariance::read_rows(device))]
            {
                let line = |(name, verdict)| Line { section, op: String::new(), name, verdict };
                report.lines.extend(checks.into_iter().map(line));
            }
        }
        if options.finite {
            for case in &gradients {
                report.add("differences", case, finite::check(case));
            }
        }
        Ok(report)
    }

    /// What must not change results, for plugins that claim so.
    fn invariance(&mut self, forward: &[Case], gradients: &[Case], device: &Device, devices: &[Device]) {
        for case in forward.iter().chain(gradients) {
            self.add("threads", case, invariance::threads(case, devices));
            if let Some(verdict) = invariance::paged(case, device) {
                self.add("paged", case, verdict);
            }
        }
        for case in forward {
            if let Some(verdict) = invariance::splits(case, device) {
                self.add("splits", case, verdict);
            }
            if let Some(verdict) = invariance::decomposed(case, device) {
                self.add("fusion", case, verdict);
            }
        }
    }

    fn add(&mut self, section: &'static str, case: &Case, verdict: Verdict) {
        let op = format!("{}{}", case.kernel.name(), if case.backward.is_some() { "'" } else { "" });
        self.lines.push(Line { section, op, name: case.name.clone(), verdict });
    }

    /// Number of failed checks.
    pub fn failed(&self) -> usize {
        self.lines.iter().filter(|l| matches!(l.verdict, Verdict::Failed(_))).count()
    }

    fn tallies(&self) -> BTreeMap<(&'static str, &str), Tally> {
        let mut out: BTreeMap<_, Tally> = BTreeMap::new();
        for line in &self.lines {
            let tally = out.entry((line.section, line.op.as_str())).or_default();
            match &line.verdict {
                Verdict::Passed(share) => {
                    tally.passed += 1;
                    tally.worst = tally.worst.max(*share);
                }
                Verdict::Failed(_) => tally.failed += 1,
                Verdict::Unsupported(_) => tally.unsupported += 1,
            }
        }
        out
    }

    /// For people: a line per kind of check and op, then what is unsupported and why, then every failure.
    pub fn text(&self) -> String {
        let mut out = format!("tier {}\n", self.tier);
        for ((section, op), t) in self.tallies() {
            let worst = if t.worst > 0.0 { format!("  worst {:.3} of its bound", t.worst) } else { String::new() };
            let Tally { passed, failed, unsupported, .. } = t;
            let _ = writeln!(
                out,
                "{section:11} {op:16} {passed:4} passed {failed:4} failed {unsupported:4} unsupported{worst}"
            );
        }
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for line in &self.lines {
            if let Verdict::Unsupported(why) = &line.verdict {
                *reasons.entry(why).or_default() += 1;
            }
        }
        for (why, n) in reasons {
            let _ = writeln!(out, "unsupported {n:4} times: {why}");
        }
        for line in &self.lines {
            if let Verdict::Failed(how) = &line.verdict {
                let _ = writeln!(out, "FAILED {} {} {}: {how}", line.section, line.op, line.name);
            }
        }
        let _ = writeln!(out, "{} checks, {} failed", self.lines.len(), self.failed());
        out
    }

    /// For machines: tallies, and every check.
    pub fn json(&self) -> Value {
        let tally = |((section, op), t): ((&str, &str), Tally)| {
            json!({ "section": section, "op": op, "passed": t.passed, "failed": t.failed,
                    "unsupported": t.unsupported, "worst_share_of_bound": t.worst })
        };
        let line = |l: &Line| {
            let (verdict, share, how) = match &l.verdict {
                Verdict::Passed(share) => ("passed", Some(*share), None),
                Verdict::Failed(how) => ("failed", None, Some(how)),
                Verdict::Unsupported(why) => ("unsupported", None, Some(why)),
            };
            json!({ "section": l.section, "op": l.op, "case": l.name, "verdict": verdict,
                    "share_of_bound": share, "how": how })
        };
        json!({
            "tier": self.tier,
            "checks": self.lines.len(),
            "failed": self.failed(),
            "ops": self.tallies().into_iter().map(tally).collect::<Vec<_>>(),
            "lines": self.lines.iter().map(line).collect::<Vec<_>>(),
        })
    }
}
