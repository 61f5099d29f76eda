//! Exact counts, ties, and what rules for several layers do to each.

use super::*;
use crate::random::Purpose;

fn random(stream: u64) -> Random {
    Random::new(5, Purpose::Mask, stream)
}

/// Values among which there are ties.
fn values(n: usize, stream: u64) -> Vec<f32> {
    let value = |i: usize| random(stream).below(i as u64, 41) as f32 - 20.5;
    (0..n).map(value).collect()
}

fn subject<'a>(rule: &str, weights: &'a [f32], dims: &'a [usize], stream: u64) -> Subject<'a> {
    Subject {
        rule: Some(Rule::parse(rule).unwrap()),
        weights,
        dims,
        random: random(stream),
    }
}

#[test]
fn every_form_is_written_as_it_is_read() {
    for text in [
        "0.3",
        "std:0.5",
        "global:0.8",
        "erk:0.9",
        "random:0.5",
        "random:erk:0.9",
        "2:4",
        "1:1",
    ] {
        assert_eq!(Rule::parse(text).unwrap().to_string(), text);
    }
    for (bad, why) in [
        ("global:1", "[0, 1)"),
        ("erk:", "not a number"),
        ("random:x", "not a number"),
        ("5:4", "1 to M of M"),
        ("0:4", "1 to M of M"),
        ("2:1000000", "at most"),
        ("two:4", "N:M such as 2:4"),
        ("2:4:8", "N:M such as 2:4"),
        ("-2:4", "N:M such as 2:4"),
    ] {
        let error = format!("{:#}", Rule::parse(bad).unwrap_err());
        assert!(error.contains(why), "{bad}: {error}");
    }
}

#[test]
fn one_threshold_is_for_all_layers_of_the_rule() {
    let (a, b, c) = (values(300, 0), values(500, 1), values(200, 2));
    let small: Vec<f32> = b.iter().map(|w| w / 4.0).collect();
    let subjects = [
        subject("global:0.6", &a, &[300], 0),
        subject("0.5", &c, &[200], 1),
        subject("global:0.6", &small, &[500], 2),
    ];
    let masks = masks(&subjects);
    let alive: Vec<usize> = masks.iter().map(Mask::alive).collect();
    assert_eq!((alive[0] + alive[2], alive[1]), (320, 100));
    assert!(alive[0] > 220 && alive[2] < 100, "{alive:?}");
    let least = (0..300).filter(|&i| masks[0].get(i));
    let least = least.map(|i| a[i].abs()).fold(f32::INFINITY, f32::min);
    let most = (0..500).filter(|&i| !masks[2].get(i));
    let most = most.map(|i| small[i].abs()).fold(0.0, f32::max);
    assert!(most <= least, "{most} {least}");
}

#[test]
fn erk_gives_small_layers_more_and_the_sum_is_exact() {
    // Sums over products: 16/216, 38/2304, 704/40960.
    let dims: [&[usize]; 3] = [&[6, 4, 3, 3], &[16, 16, 3, 3], &[64, 640]];
    for part in [0.0, 0.3, 0.7, 0.9, 0.97, 0.999] {
        let alive = erk(&dims, part);
        let all = 216 + 2304 + 40960;
        let sum: usize = alive.iter().sum();
        assert_eq!(sum, all - pruned_count(part, all), "{part}");
        let density = |i: usize| alive[i] as f64 / dims[i].iter().product::<usize>() as f64;
        assert!(
            density(0) >= density(2) && density(2) >= density(1),
            "{alive:?}"
        );
    }
    let alive = erk(&dims, 0.7);
    // 13044 wanted; one factor for all would make the first's density more than 1.
    assert_eq!(alive[0], 216);
    let ratio = (alive[1] as f64 / 2304.0) / (alive[2] as f64 / 40960.0);
    let wanted = (38.0 / 2304.0) / (704.0 / 40960.0);
    assert!((ratio / wanted - 1.0).abs() < 3e-3, "{ratio} {wanted}");
    assert_eq!(erk(&[], 0.5), Vec::<usize>::new());
}

#[test]
fn chance_is_exact_repeats_and_has_no_regard_for_magnitude() {
    let mut w = values(1001, 3);
    for part in ["0", "0.5", "0.9"] {
        let rule = format!("random:{part}");
        let one = |stream| masks(&[subject(&rule, &w, &[1001], stream)]).remove(0);
        let k = pruned_count(part.parse().unwrap(), 1001);
        assert_eq!(one(0).alive(), 1001 - k);
        assert_eq!(one(0), one(0));
        assert!(k == 0 || one(0) != one(1));
        if part == "0.5" {
            let large = (0..1001).filter(|&i| w[i].abs() > 10.0);
            let (all, alive) =
                large.fold((0, 0), |(n, a), i| (n + 1, a + usize::from(one(0).get(i))));
            assert!(
                alive * 10 > all * 4 && alive * 10 < all * 6,
                "{alive} {all}"
            );
        }
    }
    // What is 0 stays so.
    w[..400].fill(0.0);
    let mask = masks(&[subject("random:0.5", &w, &[1001], 0)]).remove(0);
    assert!((0..400).all(|i| !mask.get(i)));
    assert_eq!(mask.alive(), 500);
    let erk = masks(&[subject("random:erk:0.5", &w, &[1001], 0)]).remove(0);
    assert_eq!(erk, mask);
}

#[test]
fn groups_run_along_the_input_channels() {
    // Two outputs, six channels, a kernel of 1 × 2.
    let dims = [2, 6, 1, 2];
    let w: Vec<f32> = [
        [1.0, 9.0, 2.0, 9.0, 3.0, 9.0, 4.0, 9.0, 5.0, 1.0, 6.0, 1.0],
        [4.0, 0.0, -3.0, 0.0, 2.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0],
    ]
    .concat();
    let mask = masks(&[subject("2:4", &w, &dims, 0)]).remove(0);
    let alive: Vec<usize> = (0..24).filter(|&i| mask.get(i)).collect();
    // Of each place's channels 0 to 3 the two largest, the last of equals; of channels 4 and 5 both.
    let first = [4, 5, 6, 7, 8, 9, 10, 11];
    let second = [12, 14, 17, 19, 20, 21, 22, 23];
    assert_eq!(alive, [first, second].concat());
    let ip = [0.5, -4.0, 3.0, 1.0, 2.0, 2.0, 2.0, 2.0];
    let mask = masks(&[subject("1:4", &ip, &[1, 8], 0)]).remove(0);
    assert_eq!((0..8).filter(|&i| mask.get(i)).collect::<Vec<_>>(), [1, 7]);
}

#[test]
fn a_quality_counts_what_is_below_its_share_of_the_deviation() {
    // Mean 0, deviation 2.
    let weights = [-3.0, -1.0, 1.0, 3.0, 2.0, -2.0, 0.0, 0.0, 2.0, -2.0];
    let deviation = (36.0f64 / 10.0).sqrt();
    assert!((super::deviation(&weights) - deviation).abs() < 1e-12);
    let pruned = |q: f64| Rule::Quality(q).pruned(&weights);
    assert_eq!(pruned(0.0), 0);
    assert_eq!(pruned(1e-9), 2);
    assert_eq!(pruned(1.0001 / deviation), 4);
    assert_eq!(pruned(2.1 / deviation), 8);
    assert_eq!(pruned(100.0), 10);
    // It is taken from the mean.
    assert_eq!(Rule::Quality(1.0).pruned(&[5.0, 5.0, 5.0]), 0);
    assert_eq!(Rule::Quality(1.0).pruned(&[]), 0);
    assert_eq!(Rule::Quality(1.0).pruned(&[f32::NAN, 1.0]), 0);
    assert_eq!(Rule::Fraction(0.25).pruned(&weights), 3);
}
