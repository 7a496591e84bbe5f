use super::*;
use std::f64::consts::LN_2;

/// Uniform numbers between 0 and 1.
fn uniform(seed: &mut u64) -> f64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 11) as f64 / (1_u64 << 53) as f64
}

/// `n` documents of 500 to 1500 bytes whose gain in bits per byte is `mean` with a standard deviation of about `deviation`.
fn documents(n: usize, mean: f64, deviation: f64, seed: u64) -> Vec<Measure> {
    let mut seed = seed.wrapping_mul(7919) + 1;
    let document = |_| {
        let bytes = 500 + (uniform(&mut seed) * 1000.0) as u64;
        let normal = (0..12).map(|_| uniform(&mut seed)).sum::<f64>() - 6.0;
        let before = 2.0 * bytes as f64 * LN_2;
        Measure { bytes, before, after: before - (mean + deviation * normal) * bytes as f64 * LN_2 }
    };
    (0..n).map(document).collect()
}

#[test]
fn the_interval_covers_what_it_should() {
    let runs = 2000;
    let covered = (0..runs).filter(|&seed| {
        let g = gain(&documents(12, 0.1, 0.2, seed));
        g.low <= 0.1 && 0.1 <= g.high
    });
    let share = covered.count() as f64 / runs as f64;
    // 95%, less a little since byte counts vary, too.
    assert!((0.92..0.97).contains(&share), "{share}");
}

#[test]
fn by_hand() {
    // Two documents of 100 bytes that gain 1 and 3 bits per byte: mean 2, deviation sqrt 2, half 12.706 * sqrt 2 / sqrt 2.
    let m = |gain: f64| Measure { bytes: 100, before: 500.0 * LN_2, after: (500.0 - 100.0 * gain) * LN_2 };
    let g = gain(&[m(1.0), m(3.0)]);
    assert!((g.before - 5.0).abs() < 1e-12 && (g.bits() - 2.0).abs() < 1e-12, "{g:?}");
    assert!((g.deviation - 2.0_f64.sqrt()).abs() < 1e-12 && (g.high - g.low - 2.0 * 12.706).abs() < 1e-2, "{g:?}");
}

#[test]
fn as_many_documents_as_are_said_to_be_needed_are() {
    for (bits, deviation) in [(0.1, 0.2), (0.05, 0.05), (0.3, 0.25)] {
        let need = needed(bits, deviation);
        let power =
            |n: usize| (0..500).filter(|&s| gain(&documents(n, bits, deviation, s)).low > 0.0).count() as f64 / 500.0;
        assert!(power(need) > 0.72, "{need}: {}", power(need));
        assert!(power(need / 2) < 0.75, "{need}: {}", power(need / 2));
    }
}

#[test]
fn verdicts() {
    let (bounds, harm) = (Bounds::default(), Harm::default());
    let of = |n, mean, deviation| judge(&gain(&documents(n, mean, deviation, 3)), &harm, &bounds);
    assert_eq!(of(40, 0.3, 0.1), Verdict::Commit);
    assert!(matches!(of(40, -0.3, 0.1), Verdict::Refused { bound: Bound::HeldOut, found, .. } if found < 0.0));
    assert!(matches!(of(400, 0.0, 0.05), Verdict::Refused { bound: Bound::HeldOut, .. }));
    assert!(matches!(of(4, 0.3, 0.4), Verdict::NotEnough { have: 4, need } if (5..60).contains(&need)));
    assert_eq!(of(1, 0.3, 0.4), Verdict::NotEnough { have: 1, need: MIN_DOCUMENTS });
    assert_eq!(of(0, 0.3, 0.4), Verdict::NotEnough { have: 0, need: MIN_DOCUMENTS });
    // Harm is told first, and a number that is none is harm.
    let good = gain(&documents(40, 0.3, 0.1, 3));
    let harm = Harm { anchor_rise: 0.021, ..harm };
    let expected = Verdict::Refused { bound: Bound::AnchorRise, found: 0.021, limit: 0.02 };
    assert_eq!(judge(&good, &harm, &bounds), expected);
    let harm = Harm { anchor_rise: 0.0, divergence: f64::NAN, norm: 0.0 };
    assert!(matches!(judge(&good, &harm, &bounds), Verdict::Refused { bound: Bound::Divergence, .. }));
    assert_eq!(harm.worst(&bounds), f64::INFINITY);
}

#[test]
fn no_gain_is_hardly_ever_committed() {
    let committed = (0..1000).filter(|&seed| gain(&documents(8, 0.0, 0.2, seed)).low > 0.0).count();
    assert!(committed < 45, "{committed} of 1000, 25 expected");
}

#[test]
fn a_shuffled_copy_has_the_same_words_in_the_same_places() {
    let text = "The ferry, at 7:30,\n  leaves (on Sundays) late.\n\nSie fährt.\n渡船在星期日早上七点半开，晚到了。";
    let other = shuffled(text, 1);
    fn sorted(text: &str) -> Vec<&str> {
        // A line without spaces has its words moved, and its marks where they were.
        let whole = |run: &&str| run.is_ascii() || run.contains('ä');
        let mut words: Vec<&str> = text.split_whitespace().filter(whole).collect();
        words.extend(text.split_whitespace().filter(|r| !whole(r)).flat_map(crate::learn::corpus::words));
        words.sort_unstable();
        words
    }
    assert_ne!(other, text);
    for (a, b) in text.lines().zip(other.lines()) {
        assert_eq!(sorted(a), sorted(b));
    }
    let spaces = |t: &str| t.chars().filter(|c| c.is_whitespace() || "，。".contains(*c)).collect::<String>();
    assert_eq!(spaces(&other), spaces(text));
    assert_eq!(shuffled(text, 1), other);
}

#[test]
fn repetition() {
    let line = "All work and no play makes Jack a dull boy.\n";
    assert!(distinct([line.repeat(500).as_str()]) < MIN_SHINGLES);
    // A new word now and then does not hide it.
    let numbered: String =
        (0..500).map(|i| format!("{line}{}", if i % 10 == 0 { format!("{i}\n") } else { String::new() })).collect();
    assert!(distinct([numbered.as_str()]) < MIN_SHINGLES, "{}", distinct([numbered.as_str()]));
    let own = include_str!("screen.rs");
    assert!(distinct([own]) > 0.8, "{}", distinct([own]));
}
