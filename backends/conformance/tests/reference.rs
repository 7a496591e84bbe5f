//! The reference passes its own conformance: its f32 mode and its plugin against its f64 mode and its library, every
//! invariance, and every gradient against finite differences.

use tern_conformance::judge::Verdict;
use tern_conformance::report::{Options, Report};

#[test]
fn passes_everything() {
    let options = Options { finite: true, ..Options::default() };
    let report = Report::run(tern_reference::entry, &options).unwrap();
    assert_eq!(report.failed(), 0, "{}", report.text());
    let lacking: Vec<_> = report.lines.iter().filter(|l| matches!(l.verdict, Verdict::Unsupported(_))).collect();
    assert!(lacking.is_empty(), "{lacking:?}");
    // Every op, and every kind of check: an empty table would pass too.
    for section in ["forward", "gradient", "threads", "splits", "fusion", "differences", "states", "weights", "cancel"]
    {
        assert!(report.lines.iter().any(|l| l.section == section), "no check of {section}");
    }
    let ops: std::collections::BTreeSet<&str> =
        report.lines.iter().filter(|l| l.section == "forward").map(|l| l.op.as_str()).collect();
    assert_eq!(ops.len(), tern_abi::ops::COUNT as usize, "{ops:?}");
}
